use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Something the machine refused.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file of the kernel's or the user's could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write`, `remove`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the kernel's does not hold what it should.
    #[error("{} holds no `{field}`", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        field: &'static str,
    },
    /// A name that cannot name a control group.
    #[error("`{name}` cannot name a control group")]
    GroupName {
        /// The name.
        name: String,
    },
    /// The control group exists and holds processes.
    #[error("control group {} is in use", path.display())]
    GroupInUse {
        /// Its folder.
        path: PathBuf,
    },
    /// The control group did not become empty in time.
    #[error("control group {} still holds processes after {waited:?}", path.display())]
    GroupBusy {
        /// Its folder.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A process could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// There is no such process.
    #[error("there is no process {process_id}")]
    NoProcess {
        /// Its id.
        process_id: u32,
    },
    /// A process could not be signalled or waited for.
    #[error("cannot {action} process {process_id}: {source}")]
    Process {
        /// `signal` or `wait for`.
        action: &'static str,
        /// Its id.
        process_id: u32,
        /// Why.
        source: io::Error,
    },
}

impl HostError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "check the path and its permissions",
            Self::Field { .. } => "/proc and /sys/fs/cgroup must be those of a Linux kernel (4.4 or newer)",
            Self::GroupName { .. } => "use letters, digits, `-`, `_` and `.`",
            Self::GroupInUse { .. } => "stop what runs in it, or destroy the deployment that made it",
            Self::GroupBusy { .. } => {
                "a process in it cannot be killed (uninterruptible sleep?); try again later"
            }
            Self::Spawn { .. } => "check that the program exists and may be executed",
            Self::NoProcess { .. } => "it has ended; look at its log",
            Self::Process { .. } => "the process may belong to another user",
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
