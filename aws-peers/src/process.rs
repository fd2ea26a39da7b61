//! A server that a test starts and that ends with it, with everything it started.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);
/// How long a server may take to end by itself.
const ENDING: Duration = Duration::from_secs(3);

/// A running server with a folder of its own.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    name: &'static str,
    pub folder: tempfile::TempDir,
}

impl Server {
    /// Starts `command` with its output in a file of `folder`.
    pub fn start(name: &'static str, mut command: Command, folder: tempfile::TempDir) -> Self {
        let log = std::fs::File::create(log_file(&folder)).expect("the server's folder can be written");
        let errors = log.try_clone().expect("a file can be opened twice");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { child, name, folder }
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(log_file(&self.folder)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `ready`; whether it was so before the server ended by itself, as
    /// it does when another took its port first.
    pub fn wait_until(&mut self, deadline: Duration, ready: impl Fn() -> bool) -> bool {
        let end = Instant::now() + deadline;
        loop {
            if ready() {
                return true;
            }
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return false;
            }
            let (name, log) = (self.name, self.log());
            assert!(Instant::now() < end, "{name} was not ready within {deadline:?}; it wrote:\n{log}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Its processes: those that descend from it.
    fn processes(&self) -> BTreeSet<i32> {
        let Ok(root) = i32::try_from(self.child.id()) else { return BTreeSet::new() };
        let parents = parents();
        let mut found = BTreeSet::from([root]);
        loop {
            let more: Vec<i32> = parents
                .iter()
                .filter(|(process, parent)| found.contains(parent) && !found.contains(process))
                .map(|(process, _)| *process)
                .collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let all = self.processes();
        let signal = |process: i32, signal| {
            if let Some(process) = rustix::process::Pid::from_raw(process) {
                let _ = rustix::process::kill_process(process, signal);
            }
        };
        if let Ok(root) = i32::try_from(self.child.id()) {
            signal(root, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + ENDING;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        let later = self.processes();
        // Those of before the end have another parent now.
        for process in all.union(&later) {
            signal(*process, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn log_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("log")
}

/// Every process with its parent (`/proc/PID/stat`, proc(5)).
fn parents() -> Vec<(i32, i32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let of = |name: std::ffi::OsString| {
        let process: i32 = name.to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The program's name is in brackets and may hold anything.
        let rest = stat.rsplit_once(')')?.1;
        Some((process, rest.split_whitespace().nth(1)?.parse().ok()?))
    };
    entries.filter_map(|entry| of(entry.file_name())).collect()
}

/// Ports of loopback that nothing listens on now, all different.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners =
        [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports"));
    listeners.map(|listener| listener.local_addr().expect("a listener has an address").port())
}
