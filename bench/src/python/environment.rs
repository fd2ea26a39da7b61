//! A virtual environment with what the Python function needs.

use crate::BenchError;
use crate::program::run_to_end;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long making one may take: a slow network, two slow cores.
const DEADLINE: Duration = Duration::from_secs(900);

/// A virtual environment that no other process uses, so that what it maps can be
/// dropped from the page cache.
#[derive(Clone, Debug)]
pub struct Environment {
    folder: PathBuf,
    mapped: Vec<PathBuf>,
}

impl Environment {
    /// The environment in `folder`, made with `interpreter` and pip unless it is there with
    /// these very requirements.
    ///
    /// # Errors
    /// When Python or pip fail, or the folder cannot be written.
    pub fn prepare(folder: &Path, interpreter: &Path, requirements: &Path) -> Result<Self, BenchError> {
        let wanted = fs::read_to_string(requirements).map_err(BenchError::file("read", requirements))?;
        // Written last: what was interrupted has none.
        let done = folder.join("requirements.txt");
        if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
            if folder.exists() {
                fs::remove_dir_all(folder).map_err(BenchError::file("remove", folder))?;
            }
            let mut create = Command::new(interpreter);
            create.args(["-m", "venv", "--copies"]).arg(folder);
            run_to_end(create, DEADLINE)?;
            let mut install = Command::new(program(folder));
            install.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                "-r",
            ]);
            install.arg(requirements);
            run_to_end(install, DEADLINE)?;
            fs::write(&done, &wanted).map_err(BenchError::file("write", &done))?;
        }
        let mut mapped = vec![program(folder)];
        libraries(folder, &mut mapped)?;
        Ok(Self { folder: folder.to_owned(), mapped })
    }

    /// Its interpreter.
    #[must_use]
    pub fn interpreter(&self) -> PathBuf {
        program(&self.folder)
    }

    /// Drops its interpreter and libraries from the page cache: the next process in it
    /// pays for them.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn evict(&self) -> Result<(), BenchError> {
        self.mapped.iter().try_for_each(|path| Ok(tranche_host::evict(path)?))
    }
}

fn program(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

fn libraries(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), BenchError> {
    for entry in fs::read_dir(folder).map_err(BenchError::file("read", folder))?.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => libraries(&path, found)?,
            Ok(kind) if kind.is_file() && is_library(path.file_name()) => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// `name.so`, `name.so.1.2`
fn is_library(name: Option<&OsStr>) -> bool {
    let name = name.map(OsStr::to_string_lossy).unwrap_or_default();
    name.ends_with(".so") || name.contains(".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_by_their_names() {
        for name in ["a.so", "a.cpython-311-x86_64-linux-gnu.so", "libgfortran.so.5.0.0"] {
            assert!(is_library(Some(OsStr::new(name))), "{name}");
        }
        for name in ["a.py", "also", "a.so_"] {
            assert!(!is_library(Some(OsStr::new(name))), "{name}");
        }
    }
}
