//! One change of a deployment at a time.

use crate::DeployError;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether the lock was free and is now held through `file`.
///
/// The kernel keeps it until the last process that has the open file closes it,
/// so a dead holder holds nothing.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool, DeployError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(DeployError::file("lock", path)(errno.into())),
    }
}

/// The right to change one deployment.
#[derive(Debug)]
pub(crate) struct DeploymentLock {
    path: PathBuf,
    _file: File,
}

impl DeploymentLock {
    /// Takes the lock of deployment `name`, or says who holds it.
    pub fn take(state: &Path, name: &str) -> Result<Self, DeployError> {
        std::fs::create_dir_all(state).map_err(DeployError::file("make", state))?;
        let path = state.join(format!("{name}.lock"));
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
                .map_err(DeployError::file("open", &path))?;
            if !try_lock(&file, &path)? {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "unknown" } else { holder }.to_owned();
                return Err(DeployError::Locked { name: name.to_owned(), holder });
            }
            // The former holder may have removed the file between opening and locking.
            let opened = file.metadata().map_err(DeployError::file("read", &path))?.ino();
            if std::fs::metadata(&path).is_ok_and(|found| found.ino() == opened) {
                let _ = file.set_len(0);
                let _ = writeln!(file, "{}", std::process::id());
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for DeploymentLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
