//! MiniStack and the program, as one place.

use crate::support::Place;
use crate::support::walk::{assert_same_as_whole, package};
use assert_cmd::Command;
use serde_json::Value;
use std::path::PathBuf;
use tranche_aws_peers::MiniStack;

/// The deployment.
const NAME: &str = "model";

/// A working folder and an account of its own.
pub struct Account {
    pub place: Place,
    aws: MiniStack,
}

impl Account {
    pub fn start() -> Self {
        Self { place: Place::new(), aws: MiniStack::start() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// The program with the account's keys in its environment.
    pub fn tranche(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.tranche(arguments);
        command.env_remove("AWS_PROFILE").envs(self.aws.environment());
        command
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.tranche(arguments).arg("--json").output().unwrap();
        let (text, log) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
        let code = output.status.code();
        assert!(
            output.status.success(),
            "{arguments:?} ended with {code:?}: {text}{log}\n{}",
            self.aws.log()
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Runs a verb that must fail, and gives its exit code and error.
    pub fn failure(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.tranche(arguments).arg("--json").output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document["error"].clone())
    }

    pub fn package(&self, model: &str, cuts: &[&str]) {
        package(&self.place, model, cuts);
    }

    pub fn deploy(&self, more: &[&str]) -> Value {
        self.json(&[&["deploy", "--target", "lambda", "--name", NAME], more].concat())
    }

    /// The deployed slices answer as the whole model does; gives what `invoke` printed.
    pub fn assert_answer(&self, model: &str, more: &[&str]) -> Value {
        let answer = self.json(&[&["invoke", NAME, "--random", "--output", "sliced.npz"], more].concat());
        assert_same_as_whole(&self.place, model, "sliced.npz");
        answer
    }

    /// Names of what there is in the account: functions, buckets, roles, state machines, layers, log groups.
    pub fn inventory(&self) -> Vec<String> {
        let script = include_str!("inventory.py");
        let output = std::process::Command::new(tranche_aws_peers::python())
            .args(["-c", script])
            .env_clear()
            .envs(self.aws.environment())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
