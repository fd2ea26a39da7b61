//! The double as a program. Needs root, docker-registry and skopeo.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::image::function_layout;
use support::registry::{Registry, Running};
use support::{call, wait_until};
use tempfile::TempDir;
use tranche_host::ProcessHandle;

/// The program, and a function that it runs.
struct Place {
    program: Running,
    /// Its id and start time.
    function: (u32, u64),
    _cache: TempDir,
    _registry: Registry,
}

impl Place {
    fn new() -> Self {
        let registry = Registry::start();
        let cache = TempDir::new().unwrap();
        let layout = TempDir::new().unwrap();
        function_layout(layout.path(), "function");
        let image = registry.push(layout.path(), "function", "tests/function:1");
        let mut program = Command::new(env!("CARGO_BIN_EXE_openfaas-gateway-double"))
            .args(["--cache".as_ref(), cache.path().as_os_str()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim();
        let description = json!({ "service": "a", "image": image }).to_string();
        assert_eq!(call("POST", &format!("{url}/system/functions"), &[], description).status, 200);
        let environment = format!("{url}/function/a/env");
        wait_until(|| call("GET", &environment, &[], "").status == 200);
        let text = call("GET", &environment, &[], "").text();
        let function = text.split("pid=").nth(1).unwrap().trim().parse().unwrap();
        let ticks = tranche_host::start_ticks(function).unwrap();
        Self { program: Running(program), function: (function, ticks), _cache: cache, _registry: registry }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.program.0), signal).unwrap();
    }

    fn function_runs(&self) -> bool {
        ProcessHandle::find(self.function.0, self.function.1).is_some()
    }
}

#[test]
fn it_ends_with_its_functions_at_sigterm() {
    let mut place = Place::new();
    assert!(place.function_runs());
    place.signal(Signal::TERM);
    assert!(place.program.0.wait().unwrap().success());
    assert!(!place.function_runs());
}

#[test]
fn functions_end_also_when_it_is_killed() {
    let mut place = Place::new();
    place.signal(Signal::KILL);
    place.program.0.wait().unwrap();
    wait_until(|| !place.function_runs());
    let prefix = format!("tranche-double-{}-", place.program.0.id());
    tranche_host::Cgroups::detect().remove_all(&prefix, Duration::from_secs(10)).unwrap();
}
