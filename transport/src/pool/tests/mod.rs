//! What the protocol promises, with real files, locks and processes.

mod kill;
mod peers;

use crate::{PoolLimits, SharedFolder, SlotPool};
use std::time::Duration;
use tempfile::TempDir;

/// Four slots of 16 KiB and one of 64 KiB, and memory for four of the small ones.
const SMALL: PoolLimits = PoolLimits { total_bytes: 64 << 10, lease_lifetime: Duration::from_secs(3600) };

fn folder() -> (TempDir, SharedFolder) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
    (temporary, folder)
}

fn small_pool(folder: &SharedFolder) -> SlotPool {
    SlotPool::create(folder, SMALL).unwrap()
}

fn names(folder: &SharedFolder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
