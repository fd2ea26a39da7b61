use super::{Launcher, Pending, Prepared, Program, Start};
use crate::DoubleError;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// Programs of this machine in place of images: no registry, no root folder.
#[derive(Debug, Default)]
pub struct CommandLauncher {
    commands: Mutex<BTreeMap<String, Vec<OsString>>>,
}

impl CommandLauncher {
    /// Knows no image yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `image` stands for this program and its arguments.
    pub fn add<S: Into<OsString>>(&self, image: &str, command: impl IntoIterator<Item = S>) {
        let command = command.into_iter().map(Into::into).collect();
        self.lock().insert(image.to_owned(), command);
    }

    /// From now on `image` cannot be pulled.
    pub fn remove(&self, image: &str) {
        self.lock().remove(image);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<OsString>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Launcher for CommandLauncher {
    fn pull<'a>(&'a self, image: &'a str) -> Pending<'a, Result<Arc<dyn Program>, DoubleError>> {
        let found = self.lock().get(image).cloned();
        Box::pin(async move {
            let words = found.filter(|words| !words.is_empty()).ok_or_else(|| DoubleError::Reference {
                image: image.to_owned(),
                reason: "not found".to_owned(),
            })?;
            Ok(Arc::new(PlainCommand { words }) as Arc<dyn Program>)
        })
    }
}

struct PlainCommand {
    words: Vec<OsString>,
}

impl Program for PlainCommand {
    fn prepare(&self, start: &Start) -> Result<Prepared, DoubleError> {
        let (program, arguments) = self.words.split_first().map_or((None, &[][..]), |(p, a)| (Some(p), a));
        let mut command = Command::new(program.map_or(std::ffi::OsStr::new(""), OsString::as_os_str));
        command.args(arguments).envs(&start.environment);
        start.set_address(&mut command);
        Ok(Prepared { command, folder: None })
    }
}
