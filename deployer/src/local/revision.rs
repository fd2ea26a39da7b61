//! One revision of a deployment on disk.

use crate::DeployError;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tranche_host::Cgroups;
use tranche_schema::{Digest, Document, FunctionSize, Header};

/// No function gets longer than this to end.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

/// revision.json: what a supervisor runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Revision {
    pub header: Header,
    /// Name of the deployment.
    pub name: String,
    /// Eight hexadecimal digits, in the name of everything that is made.
    pub id: String,
    /// Digest of everything that, when it changes, asks for a new revision.
    pub fingerprint: Digest,
    pub bundle_digest: Digest,
    /// Folder of the sockets.
    pub runtime_folder: PathBuf,
    /// Folder of mapped files.
    pub shared_folder: PathBuf,
    /// Where control groups are made.
    pub control_groups: Cgroups,
    /// How long functions may take to end when they are stopped.
    pub drain_ms: u64,
    /// Functions in plan order.
    pub functions: Vec<FunctionSpec>,
}

/// One function to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FunctionSpec {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub socket: PathBuf,
    /// What it is held to; `None` for no limits.
    pub size: Option<FunctionSize>,
    /// Whether the supervisor keeps its socket and starts it with the first connection.
    #[serde(default)]
    pub activated: bool,
    /// How long such a start may take.
    #[serde(default)]
    pub start_deadline_ms: u64,
}

impl FunctionSpec {
    pub fn start_deadline(&self) -> Duration {
        Duration::from_millis(self.start_deadline_ms)
    }
}

/// processes.json: who runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Processes {
    pub header: Header,
    pub supervisor: ProcessIdentity,
    pub functions: Vec<ProcessIdentity>,
}

/// A process for as long as the machine is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessIdentity {
    pub process_id: u32,
    pub start_ticks: u64,
}

impl Document for Revision {
    const FORMAT: &'static str = "tranche-local-revision";
    const VERSION: u32 = 1;
}

impl Document for Processes {
    const FORMAT: &'static str = "tranche-local-processes";
    const VERSION: u32 = 1;
}

impl Revision {
    pub fn read_from(folder: &Path) -> Result<Self, DeployError> {
        Ok(Self::read(&folder.join("revision.json"))?)
    }

    pub fn write_to(&self, folder: &Path) -> Result<(), DeployError> {
        Ok(self.write(&folder.join("revision.json"))?)
    }

    pub fn control_socket(&self) -> PathBuf {
        self.runtime_folder.join("control")
    }

    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms).min(LONGEST_DRAIN)
    }

    /// Prefix of its control groups' names.
    pub fn group_prefix(&self) -> String {
        format!("tranche-{}-", self.id)
    }
}

impl Processes {
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("processes.json")
    }
}

pub(super) fn log_folder(folder: &Path) -> PathBuf {
    folder.join("logs")
}

pub(super) fn log_file(folder: &Path, function: &str) -> PathBuf {
    log_folder(folder).join(format!("{function}.log"))
}

/// What the supervisor writes when it cannot write its log: panics, mostly.
pub(super) fn supervisor_output(folder: &Path) -> PathBuf {
    log_folder(folder).join("supervisor.stderr")
}

/// The file that is locked for as long as the supervisor of the revision lives,
/// made if need be.
pub(super) fn open_alive(folder: &Path) -> Result<File, DeployError> {
    let path = folder.join("alive");
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(DeployError::file("open", &path))
}

/// Eight hexadecimal digits that no other deployment is likely to have.
pub(super) fn new_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    // Its keys come from the system's random numbers.
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{:08x}", random as u32)
}

/// Longest path of a Unix socket that the kernel takes.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where sockets go: below XDG_RUNTIME_DIR where there is one and its path is
/// short enough for a socket, else below /tmp.
pub(super) fn runtime_folder(id: &str) -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let preferred = given.filter(|path| path.is_absolute() && path.is_dir()).map(|path| path.join("tranche"));
    preferred
        .map(|path| path.join(id))
        .filter(|path| path.as_os_str().len() + "/function-9999".len() <= LONGEST_SOCKET_PATH)
        .unwrap_or_else(|| {
            PathBuf::from(format!("/tmp/tranche-{}/{id}", rustix::process::geteuid().as_raw()))
        })
}

/// Where mapped files go: memory where there is some to be had, else beside the
/// sockets.
pub(super) fn shared_folder(id: &str, runtime_folder: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() && rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok() {
        memory.join(format!("tranche-{id}"))
    } else {
        runtime_folder.join("shared")
    }
}

/// Makes the folders of sockets and of mapped files. They must not exist: the
/// id is new.
pub(super) fn make_folders(revision: &Revision) -> Result<(), DeployError> {
    let parent = revision.runtime_folder.parent().unwrap_or(Path::new("/"));
    // The end of the last deployment removes the parent, perhaps at this moment.
    let mut attempts = 3;
    loop {
        let made = make_private(parent).and_then(|()| make_private(&revision.runtime_folder));
        attempts -= 1;
        match made {
            Err(DeployError::File { source, .. })
                if attempts > 0 && source.kind() == std::io::ErrorKind::NotFound => {}
            other => break other?,
        }
    }
    make_private(&revision.shared_folder)
}

/// Makes a folder that only this user may enter. Where it exists it must be
/// exactly that: /tmp is everyone's, and a link there leads anywhere.
fn make_private(path: &Path) -> Result<(), DeployError> {
    if let Err(source) = DirBuilder::new().mode(0o700).create(path)
        && source.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(DeployError::file("make", path)(source));
    }
    let found = std::fs::symlink_metadata(path).map_err(DeployError::file("read", path))?;
    let mine = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && mine && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(DeployError::NotPrivate { path: path.to_owned() })
    }
}

/// Folders of the revisions below a deployment's folder, in order of name.
pub(super) fn revisions(deployment: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(deployment).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && path.file_name().is_some_and(|name| is_id(&name.to_string_lossy())))
        .collect();
    folders.sort();
    folders
}

fn is_id(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Removes the folders of sockets and of mapped files; missing ones are no error.
pub(super) fn remove_folders(revision: &Revision) -> Result<(), DeployError> {
    for folder in [&revision.shared_folder, &revision.runtime_folder] {
        // A damaged revision.json must not point at something else.
        let named =
            |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&revision.id));
        if is_id(&revision.id) && (named(folder) || folder.parent().is_some_and(named)) {
            remove_folder(folder)?;
        }
    }
    // The folder of all deployments' sockets, if this was the last.
    if let Some(parent) = revision.runtime_folder.parent() {
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}

/// Removes a folder and all in it; a missing one is no error.
pub(super) fn remove_folder(folder: &Path) -> Result<(), DeployError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DeployError::file("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

impl Revision {
    /// What the id in the folder's name tells of a revision whose file is lost.
    pub fn guess(folder: &Path) -> Self {
        let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = name_of(folder);
        let runtime_folder = runtime_folder(&id);
        Self {
            header: Self::header(),
            name: folder.parent().map(name_of).unwrap_or_default(),
            fingerprint: Digest::of(b""),
            bundle_digest: Digest::of(b""),
            shared_folder: shared_folder(&id, &runtime_folder),
            runtime_folder,
            control_groups: Cgroups::detect(),
            drain_ms: 10_000,
            functions: Vec::new(),
            id,
        }
    }
}
