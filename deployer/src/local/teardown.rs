//! Removing a revision, whatever state it is in.

use super::client;
use super::revision::{self, Processes, Revision, open_alive};
use crate::DeployError;
use crate::lock::try_lock;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tranche_host::ProcessHandle;
use tranche_schema::Document;

/// How often is looked whether the supervisor has ended.
const POLL: Duration = Duration::from_millis(10);
/// How long a supervisor may take to hear that it is to stop: it may only be starting.
const HEARING: Duration = Duration::from_secs(3);
/// How long the killed may take to be gone, and a drained supervisor to clean up.
const GONE: Duration = Duration::from_secs(8);

/// What was there to remove.
pub(super) struct TornDown {
    pub functions: usize,
    /// Whether the supervisor ended by itself.
    pub drained: bool,
}

/// Whether the supervisor of the revision lives.
pub(super) fn is_supervised(folder: &Path) -> bool {
    let alive = folder.join("alive");
    File::open(&alive).is_ok_and(|file| try_lock(&file, &alive).is_ok_and(|free| !free))
}

/// Ends the revision's processes and removes all that was made for it.
pub(super) fn tear_down(folder: &Path) -> Result<TornDown, DeployError> {
    // Without a readable revision.json, what its id tells is the best guess.
    let revision = Revision::read_from(folder).unwrap_or_else(|_| Revision::guess(folder));
    let drained = stop_supervisor(folder, &revision)?;
    kill_functions(folder, &revision)?;
    revision.control_groups.remove_all(&revision.group_prefix(), GONE)?;
    revision::remove_folders(&revision)?;
    revision::remove_folder(folder)?;
    Ok(TornDown { functions: revision.functions.len(), drained })
}

/// Ends the supervisor; whether it did so by itself.
fn stop_supervisor(folder: &Path, revision: &Revision) -> Result<bool, DeployError> {
    let path = folder.join("alive");
    let alive = open_alive(folder)?;
    if try_lock(&alive, &path)? {
        return Ok(false);
    }
    let start = Instant::now();
    let mut heard = false;
    loop {
        heard = heard || client::stop(&revision.control_socket()).is_ok();
        let patience = if heard { revision.drain() + GONE } else { HEARING };
        if wait_for_lock(&alive, &path, POLL)? {
            return Ok(heard);
        }
        if start.elapsed() >= patience {
            break;
        }
    }
    for holder in holders(&path) {
        holder.kill()?;
    }
    // Its functions die with it.
    if wait_for_lock(&alive, &path, GONE)? {
        return Ok(false);
    }
    Err(DeployError::Remains {
        name: revision.name.clone(),
        remains: format!("the supervisor of {}", folder.display()),
    })
}

fn wait_for_lock(alive: &File, path: &Path, deadline: Duration) -> Result<bool, DeployError> {
    let start = Instant::now();
    loop {
        if try_lock(alive, path)? {
            return Ok(true);
        }
        if start.elapsed() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

/// Processes other than this that have the file as their standard input, as
/// supervisors have the file `alive`.
fn holders(path: &Path) -> Vec<ProcessHandle> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let holds = |process_id: u32| {
        std::fs::read_link(format!("/proc/{process_id}/fd/0")).is_ok_and(|target| target == path)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process_id| *process_id != std::process::id() && holds(*process_id))
        .filter_map(|process_id| ProcessHandle::find(process_id, tranche_host::start_ticks(process_id).ok()?))
        // Looked at again through the handle's process: the id may have been reused.
        .filter(|handle| holds(handle.process_id()) && handle.is_running())
        .collect()
}

/// Ends functions that outlived their supervisor: the kernel kills them with it,
/// but not at once.
fn kill_functions(folder: &Path, revision: &Revision) -> Result<(), DeployError> {
    let Ok(processes) = Processes::read(&Processes::path(folder)) else { return Ok(()) };
    for identity in processes.functions {
        let Some(process) = ProcessHandle::find(identity.process_id, identity.start_ticks) else { continue };
        process.kill()?;
        if !process.wait_gone(GONE) {
            return Err(DeployError::Remains {
                name: revision.name.clone(),
                remains: format!("process {}", identity.process_id),
            });
        }
    }
    Ok(())
}

/// Paths that should be gone after [`tear_down`] and are not.
pub(super) fn remains(revision: &Revision) -> Vec<PathBuf> {
    let groups = revision.control_groups.find(&revision.group_prefix());
    let groups = groups.iter().flat_map(|group| group.folders().iter().map(|folder| folder.path.clone()));
    let folders = [revision.runtime_folder.clone(), revision.shared_folder.clone()];
    groups.chain(folders.into_iter().filter(|folder| folder.exists())).collect()
}
