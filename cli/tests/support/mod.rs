//! The program in a place of its own.

#[allow(dead_code)]
pub mod walk;

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A working folder with its own cache and state.
pub struct Place {
    folder: TempDir,
    measures_all: bool,
}

impl Place {
    /// An empty one, where neither other CPU shares nor memory limits are measured by running.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), measures_all: false }
    }

    /// An empty one, where all is measured that a user's would be.
    #[allow(dead_code)]
    pub fn measuring() -> Self {
        Self { measures_all: true, ..Self::new() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these arguments.
    pub fn tranche(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("tranche").unwrap();
        command
            .current_dir(self.folder.path())
            .env("TRANCHE_CACHE", self.path("cache"))
            .env("TRANCHE_STATE", self.path("state"))
            .env("NO_COLOR", "1")
            .env_remove("TRANCHE_ENGINE")
            .env_remove("TRANCHE_ONNXRUNTIME")
            .env_remove("ORT_DYLIB_PATH")
            .args(arguments)
            .timeout(std::time::Duration::from_secs(240));
        if !self.measures_all {
            command.env("TRANCHE_MEMORY_SEARCH", "false").env("TRANCHE_SHARES", "none");
        }
        command
    }

    /// Runs a verb that must go well, and gives its JSON document.
    #[allow(dead_code)]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.tranche(arguments).arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{arguments:?} ended with {:?}: {text}{}",
            output.status.code(),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Runs a verb that must fail, and gives its exit code and error.
    #[allow(dead_code)]
    pub fn failure(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.tranche(arguments).arg("--json").output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document["error"].clone())
    }
}

/// Every file below a folder with its bytes, by path.
#[allow(dead_code)]
pub fn contents(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(current) = pending.pop() {
        for entry in std::fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Every verb with its sub-verbs, as words of a command line.
#[allow(dead_code)]
pub fn verbs() -> Vec<Vec<String>> {
    use clap::CommandFactory as _;
    fn add(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
        {
            let path = [path, &[verb.get_name().to_owned()]].concat();
            found.push(path.clone());
            add(verb, &path, found);
        }
    }
    let mut found = Vec::new();
    add(&tranche_cli::arguments::CommandLine::command(), &[], &mut found);
    found
}
