//! Following deployment.json.

use crate::door::Door;
use crate::read_deployment;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::AbortHandle;
use tracing::{info, warn};

/// How often files are looked at: an update leaves the old functions at least two seconds.
const PERIOD: Duration = Duration::from_millis(250);

/// What tells one version of a file from another; files are replaced by renaming.
type Stamp = Option<(u64, u64, SystemTime)>;

/// Reads each file again whenever it is replaced, until aborted. One that cannot be read or walked
/// is said once, and what served before goes on.
pub(crate) fn follow(door: Arc<Door>, files: &[PathBuf]) -> AbortHandle {
    let mut known: Vec<(PathBuf, Stamp)> = files.iter().map(|file| (file.clone(), stamp(file))).collect();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(PERIOD).await;
            for (file, last) in &mut known {
                let now = stamp(file);
                if now.is_none() || now == *last {
                    continue;
                }
                *last = now;
                let replaced = read_deployment(file, door.options.gateway.as_deref())
                    .and_then(|deployment| door.replace(deployment));
                match replaced {
                    Ok(()) => info!(file = %file.display(), "serving what was deployed anew"),
                    Err(failure) => warn!(file = %file.display(), "not taken over: {failure}"),
                }
            }
        }
    })
    .abort_handle()
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let found = file.metadata().ok()?;
    Some((found.ino(), found.len(), found.modified().ok()?))
}
