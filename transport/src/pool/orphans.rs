//! What dead owners left.

use rustix::fs::Stat;
use std::time::Duration;

use super::layout::POOL_PREFIX;
use super::now_ms;
use super::reader::ReaderPool;
use crate::folder::{Folder, TEMPORARY_PREFIX};
use crate::shared::Swept;

/// Removes pools without an owner of which no lease is younger than `older_than`, and files that
/// were begun that long ago and never finished. Never fails: it is nobody's duty.
pub(super) fn sweep(folder: &Folder, older_than: Duration) -> Swept {
    let mut swept = Swept::default();
    for (name, status) in folder.files().unwrap_or_default() {
        let forgotten = match name.strip_prefix(POOL_PREFIX) {
            Some(pool) => is_forgotten(folder, pool, &status, older_than),
            None => name.starts_with(TEMPORARY_PREFIX) && is_older(&status, older_than),
        };
        if forgotten && folder.remove(&name).is_ok() {
            swept.files += 1;
            swept.bytes += memory_bytes(&status);
        }
    }
    swept
}

/// Whether nobody will write to this pool or need a lease on it any more.
pub(crate) fn is_forgotten(folder: &Folder, pool: &str, status: &Stat, older_than: Duration) -> bool {
    match ReaderPool::open(folder, pool) {
        Ok(pool) => {
            let age = |published: u64| Duration::from_millis(now_ms().saturating_sub(published));
            !pool.is_owned() && pool.leased().all(|published| age(published) >= older_than)
        }
        // A file that only has the name of a pool.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => is_older(status, older_than),
        Err(_) => false,
    }
}

/// Leases on slots of this pool that have not ended.
pub(crate) fn leases(folder: &Folder, pool: &str) -> u64 {
    ReaderPool::open(folder, pool).map_or(0, |pool| pool.leased().count() as u64)
}

/// Whether it was last written at least that long ago.
pub(crate) fn is_older(status: &Stat, than: Duration) -> bool {
    let written = u64::try_from(status.st_mtime).unwrap_or(0).saturating_mul(1000);
    Duration::from_millis(now_ms().saturating_sub(written)) >= than
}

/// What a sparse file really takes.
pub(crate) fn memory_bytes(status: &Stat) -> u64 {
    u64::try_from(status.st_blocks).unwrap_or(0).saturating_mul(512)
}
