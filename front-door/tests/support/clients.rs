//! Clients that others wrote, in Python: pip takes them from its index, at the versions and with
//! the digests of `tests/clients/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const REQUIREMENTS: &str = include_str!("../clients/requirements.txt");

/// Runs a program of `tests/clients`, beside the front door in this process. Its standard output.
pub async fn python(program: &str, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let program = folder().join(program);
    let run = move || Command::new(interpreter()).arg(program).args(arguments).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The Python of a virtual environment that has them, made by the first that asks.
fn interpreter() -> PathBuf {
    let digest = crc32fast::hash(REQUIREMENTS.as_bytes());
    let environments = &Path::new(env!("CARGO_TARGET_TMPDIR")).join("fetched");
    std::fs::create_dir_all(environments).unwrap();
    let made = environments.join(format!("clients-{digest:08x}"));
    let interpreter = made.join("bin/python");
    if interpreter.is_file() {
        return interpreter;
    }
    // Whole or not at all, whoever else makes one at the same time.
    let fresh = tempfile::tempdir_in(environments).unwrap().keep();
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&fresh));
    let requirements = folder().join("requirements.txt");
    let mut pip = Command::new(fresh.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args(["--require-hashes", "--only-binary", ":all:", "--requirement"]).arg(requirements);
    succeed(&mut pip);
    if std::fs::rename(&fresh, &made).is_err() {
        std::fs::remove_dir_all(&fresh).unwrap();
    }
    interpreter
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("python3 with venv, and pip's index, are needed");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}
