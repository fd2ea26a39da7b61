//! Starting a revision and waiting until it serves.

use super::revision::{FunctionSpec, Revision, log_file, log_folder, open_alive, supervisor_output};
use super::target::FunctionCommand;
use super::{client, log};
use crate::lock::try_lock;
use crate::{DeployError, DeployEvent, DeployOptions, FunctionState, FunctionStatus};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tranche_host::{Placement, ProcessHandle};

/// How often functions are looked at.
const POLL: Duration = Duration::from_millis(15);
/// How much later than told functions end at the latest.
const GRACE: Duration = Duration::from_secs(1);
/// Lines of a log in an error.
const TAIL: usize = 20;

/// Starts the supervisor of the revision in `folder` in a session of its own, so
/// that it outlives this process and its terminal.
///
/// The locked file `alive` is its standard input: the kernel keeps the lock from
/// before it starts until it is dead, without any action of its own.
pub(super) fn start_supervisor(
    command: &FunctionCommand,
    folder: &Path,
) -> Result<ProcessHandle, DeployError> {
    let alive = open_alive(folder)?;
    if !try_lock(&alive, folder)? {
        return Err(DeployError::Remains {
            name: folder.display().to_string(),
            remains: "another supervisor".to_owned(),
        });
    }
    let path = supervisor_output(folder);
    let output =
        OpenOptions::new().create(true).append(true).open(&path).map_err(DeployError::file("open", &path))?;
    let errors = output.try_clone().map_err(DeployError::file("open", &path))?;
    let mut supervisor = Command::new(&command.program);
    supervisor.args(&command.leading_arguments).arg("--folder").arg(folder);
    // Not the caller's folder: it could not be unmounted.
    supervisor.current_dir("/").stdin(alive).stdout(output).stderr(errors);
    let placement = Placement { new_session: true, ..Placement::default() };
    let mut spawned = tranche_host::spawn(supervisor, placement)?;
    // Collected when it ends before this process does.
    std::thread::spawn(move || spawned.child.wait());
    Ok(spawned.handle)
}

/// Waits until every function answers.
pub(super) fn wait_until_ready(
    revision: &Revision,
    folder: &Path,
    supervisor: &ProcessHandle,
    options: &DeployOptions,
    progress: &mut dyn FnMut(DeployEvent),
) -> Result<Vec<FunctionStatus>, DeployError> {
    let start = Instant::now();
    let mut told: Vec<String> = Vec::new();
    loop {
        let functions = client::status(&revision.control_socket()).unwrap_or_default();
        // One that starts with its first request is all that it is to be.
        let there = |state| matches!(state, FunctionState::Ready | FunctionState::Idle);
        for function in functions.iter().filter(|function| there(function.state)) {
            if !told.contains(&function.name) {
                told.push(function.name.clone());
                progress(DeployEvent::Ready { function: function.name.clone() });
            }
        }
        // One that ends before it ever answers will most likely do so again.
        if let Some(failed) = functions.iter().find(|function| function.last_exit.is_some()) {
            return Err(did_not_start(folder, failed));
        }
        if told.len() == revision.functions.len() {
            tell_notices(&functions, progress);
            return Ok(functions);
        }
        if !supervisor.is_running() {
            return Err(ended_early(revision, folder));
        }
        if options.interrupted.is_some_and(|interrupted| interrupted.load(Ordering::SeqCst)) {
            return Err(DeployError::Interrupted { name: revision.name.clone() });
        }
        if start.elapsed() >= options.ready_timeout {
            return Err(not_ready(revision, folder, &told, start.elapsed()));
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until functions that scale to zero run, or rest.
pub(super) fn wait_until_scaled(
    revision: &Revision,
    folder: &Path,
    function: Option<&str>,
    run: bool,
) -> Result<(), DeployError> {
    let start = Instant::now();
    let starts = revision.functions.iter().map(FunctionSpec::start_deadline).max().unwrap_or_default();
    let patience = if run { starts } else { revision.drain() } + GRACE;
    loop {
        let functions = client::status(&revision.control_socket())?;
        let asked = || {
            let named = |status: &&FunctionStatus| function.is_none_or(|name| status.name == name);
            functions.iter().filter(named)
        };
        let done = |status: &FunctionStatus| match run {
            true => status.state == FunctionState::Ready,
            false => status.process_id.is_none(),
        };
        if asked().all(done) {
            return Ok(());
        }
        if let Some(failed) = asked().find(|status| run && status.state == FunctionState::Failed) {
            return Err(did_not_start(folder, failed));
        }
        if start.elapsed() >= patience {
            let done: Vec<String> =
                functions.iter().filter(|status| done(status)).map(|status| status.name.clone()).collect();
            return Err(not_ready(revision, folder, &done, start.elapsed()));
        }
        std::thread::sleep(POLL);
    }
}

fn tell_notices(functions: &[FunctionStatus], progress: &mut dyn FnMut(DeployEvent)) {
    let mut notices: Vec<&String> =
        functions.iter().filter_map(|function| function.notice.as_ref()).collect();
    notices.dedup();
    for text in notices {
        progress(DeployEvent::Notice { text: text.clone() });
    }
}

fn did_not_start(folder: &Path, function: &FunctionStatus) -> DeployError {
    DeployError::Function {
        function: function.name.clone(),
        reason: function.last_exit.map(|exit| exit.to_string()).unwrap_or_default(),
        log_tail: log::tail(&log_file(folder, &function.name), Some(TAIL)).join("\n"),
    }
}

fn ended_early(revision: &Revision, folder: &Path) -> DeployError {
    let mut lines = log::tail(&log_folder(folder).join("supervisor.log"), Some(TAIL));
    lines.extend(log::tail(&supervisor_output(folder), Some(TAIL)));
    DeployError::Supervisor { name: revision.name.clone(), reason: lines.join("\n") }
}

fn not_ready(revision: &Revision, folder: &Path, ready: &[String], waited: Duration) -> DeployError {
    let names: Vec<&str> = revision
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .filter(|name| !ready.iter().any(|known| known == name))
        .collect();
    let log_tail = names.first().map(|name| log::tail(&log_file(folder, name), Some(TAIL)).join("\n"));
    DeployError::NotReady { functions: names.join(", "), waited, log_tail: log_tail.unwrap_or_default() }
}
