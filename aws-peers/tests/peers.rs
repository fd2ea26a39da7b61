//! The peers start, do what they are there for, and leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tranche_aws_peers::{MiniStack, RuntimeInterfaceEmulator, cargo_lambda, python_tool, toy_bootstrap};

/// cargo-lambda wants a project also where it builds nothing.
const PROJECT: &str =
    "[package]\nname = \"toy\"\nedition = \"2021\"\n[[bin]]\nname = \"toy\"\npath = \"main.rs\"\n";

/// Whether a process runs, or has ended within a moment.
fn is_gone(process: u64) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while PathBuf::from(format!("/proc/{process}")).exists() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// The number at `process` in a JSON text.
fn process_in(text: &str) -> u64 {
    let rest = text.split_once("\"process\":").unwrap().1;
    rest.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn a_function_answers_under_the_runtime_interface_emulator() {
    let emulator = RuntimeInterfaceEmulator::start(&toy_bootstrap(), &[("TRANCHE_SLICE", "a")], 1769, 5);
    let (status, body) = emulator.invoke(br#"{"a": 1}"#, Duration::from_secs(20));
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{text}");
    assert!(text.contains(r#""event":{"a": 1}"#) && text.contains(r#""slice":"a""#), "{text}");
    assert!(emulator.log().contains("REPORT RequestId"), "{}", emulator.log());
    drop(emulator);
    assert!(is_gone(process_in(&text)));
}

#[test]
fn a_function_answers_on_ministack_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let aws = MiniStack::start();
    fs::write(folder.path().join("Cargo.toml"), PROJECT).unwrap();
    fs::write(folder.path().join("main.rs"), "fn main() {}").unwrap();
    let client = |arguments: &[&str]| {
        let mut command = Command::new(cargo_lambda());
        command.arg("lambda").args(arguments).env_clear().envs(aws.environment());
        // It asks cargo.
        let kept = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
        command.envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.current_dir(folder.path());
        let output = command.output().unwrap();
        let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success(), "{texts:?}\n{}", aws.log());
        texts[0].clone()
    };
    // cargo-lambda writes its zip file beside it.
    let bootstrap = folder.path().join("bootstrap");
    fs::copy(toy_bootstrap(), &bootstrap).unwrap();
    let role = "arn:aws:iam::000000000000:role/any";
    let endpoint = aws.endpoint();
    client(&[
        "deploy",
        "--binary-path",
        bootstrap.to_str().unwrap(),
        "--endpoint-url",
        &endpoint,
        "--iam-role",
        role,
        "toy",
    ]);
    let text =
        client(&["invoke", "--remote", "--endpoint-url", &endpoint, "--data-ascii", "{\"a\": 1}", "toy"]);
    assert!(text.contains("\"process\":"), "{text}");
    drop(aws);
    assert!(is_gone(process_in(&text)));
}

#[test]
fn the_checkers_are_there() {
    for (tool, argument) in [("cfn-lint", "--version"), ("statelint", "--help")] {
        let output = Command::new(python_tool(tool)).arg(argument).output().unwrap();
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
