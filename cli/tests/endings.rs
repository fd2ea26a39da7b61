//! Commands and functions that are ended from outside leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::Place;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn an_interrupted_run_removes_what_it_deployed() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let mut running = Running::start(&place);
        running.wait_for(&place, "deployment.json");
        let made = Made::by(&place);
        assert_eq!(running.end_by(signal), Some(130));
        made.assert_gone(&place);
        assert_eq!(place.json(&["status"]), serde_json::json!([]));
    }
}

#[test]
fn an_interrupted_deploy_is_undone() {
    let place = Place::new();
    let mut running = Running::start(&place);
    running.wait_for(&place, "*/revision.json");
    let made = Made::by(&place);
    assert_eq!(running.end_by(Signal::INT), Some(130));
    made.assert_gone(&place);
}

#[test]
fn an_interrupted_measurement_ends_too() {
    let place = Place::new();
    let mut running = Running::start_with(&place, &["--repeats", "1000000"]);
    wait_until("a measuring process", || processes_of(&place).len() > 1);
    assert_eq!(running.end_by(Signal::TERM), Some(130));
    wait_until("no measuring process", || processes_of(&place).is_empty());
}

#[test]
fn destroy_removes_all_that_a_killed_run_left() {
    for stage in ["*/revision.json", "deployment.json"] {
        let place = Place::new();
        let mut running = Running::start(&place);
        running.wait_for(&place, stage);
        let made = Made::by(&place);
        running.end_by(Signal::KILL);
        place.json(&["destroy", "--all"]);
        made.assert_gone(&place);
        assert_eq!(place.json(&["status"]), serde_json::json!([]));
    }
}

#[test]
fn a_killed_function_is_started_again() {
    let place = Place::new();
    place.json(&["profile", "gcn_cora", "--repeats", "1"]);
    place.json(&["partition", "gcn_cora", "--min-slices", "2"]);
    place.json(&["package", "gcn_cora"]);
    place.json(&["verify", "gcn_cora"]);
    place.json(&["deploy", "--name", "gcn"]);
    let before = place.json(&["invoke", "gcn", "--random"]);
    let process = place.json(&["status", "gcn"])[0]["functions"][1]["process_id"].as_u64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), Signal::KILL).unwrap();
    let after = place.json(&["invoke", "gcn", "--random"]);
    let status = place.json(&["status", "gcn"]);
    place.json(&["destroy", "gcn"]);
    assert_eq!(before["outputs"], after["outputs"]);
    assert_eq!(status[0]["functions"][1]["restarts"], 1);
    assert_eq!(status[0]["functions"][1]["last_exit"]["signal"], 9);
}

/// A `run` that would go on for hours.
struct Running(Child);

impl Running {
    fn start(place: &Place) -> Self {
        Self::start_with(place, &["--repeats", "1"])
    }

    fn start_with(place: &Place, more: &[&str]) -> Self {
        let arguments = ["run", "gcn_cora", "--name", "gcn", "--min-slices", "2", "--requests", "100000000"];
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("tranche"));
        command.current_dir(place.path(""));
        // Marks this process and, since they inherit it, all that it starts.
        command.env("TRANCHE_CACHE", place.path("cache")).env("TRANCHE_STATE", place.path("state"));
        command.args(arguments).args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Until a file of the deployment is there; `*` stands for its revision.
    fn wait_for(&mut self, place: &Place, file: &str) {
        wait_until(file, || {
            assert_eq!(self.0.try_wait().unwrap(), None, "it ended before there was {file}");
            match file.strip_prefix("*/") {
                Some(file) => revision(place).is_some_and(|folder| folder.join(file).is_file()),
                None => place.path("state/local/gcn").join(file).is_file(),
            }
        });
    }

    fn end_by(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        let mut status = None;
        wait_until("its end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a deployment has outside of its own folder.
struct Made {
    id: String,
    folders: Vec<PathBuf>,
}

impl Made {
    fn by(place: &Place) -> Self {
        let folder = revision(place).unwrap();
        let revision: Value =
            serde_json::from_slice(&std::fs::read(folder.join("revision.json")).unwrap()).unwrap();
        let path = |key: &str| PathBuf::from(revision[key].as_str().unwrap());
        let folders = ["runtime_folder", "shared_folder"].map(path).to_vec();
        Self { id: revision["id"].as_str().unwrap().to_owned(), folders }
    }

    fn assert_gone(&self, place: &Place) {
        for folder in &self.folders {
            assert!(!folder.exists(), "{} is left", folder.display());
        }
        assert_eq!(groups(Path::new("/sys/fs/cgroup"), &self.id), Vec::<PathBuf>::new());
        // The kernel ends what was measuring when its parent ends, and takes a moment.
        wait_until("no process", || processes_of(place).is_empty());
        let state = place.path("state/local");
        let left: Vec<_> = std::fs::read_dir(state).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The folder of the only revision of the deployment.
fn revision(place: &Place) -> Option<PathBuf> {
    let entries = std::fs::read_dir(place.path("state/local/gcn")).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.join("revision.json").is_file())
}

/// Control groups below a folder with `id` in their names.
fn groups(folder: &Path, id: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .flat_map(|entry| {
            let path = entry.path();
            let own = entry.file_name().to_string_lossy().contains(id);
            groups(&path, id).into_iter().chain(own.then_some(path))
        })
        .collect()
}

/// Command lines of the processes that run with the place's cache.
fn processes_of(place: &Place) -> Vec<String> {
    let mark = format!("TRANCHE_CACHE={}", place.path("cache").display()).into_bytes();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark)
    });
    folders
        .map(|path| String::from_utf8_lossy(&std::fs::read(path.join("cmdline")).unwrap_or_default()).into())
        .collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
