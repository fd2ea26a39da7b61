//! A folder of one user: what files in it are opened, made, renamed and removed through.

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::SharedError;

/// Prefix of files that are not complete yet.
pub(crate) const TEMPORARY_PREFIX: &str = "tmp-";
/// Characters of a name: 32 of 36 give 165 bits, which nobody guesses.
const NAME_BYTES: usize = 32;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// An open folder. Names are of its own files; links are never followed.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    descriptor: OwnedFd,
}

impl Folder {
    /// Opens a folder that belongs to this user and is open to no other.
    pub(crate) fn open(path: &Path) -> Result<Self, SharedError> {
        let refuse = |source| SharedError::Folder { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor =
            rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| refuse(errno.into()))?;
        let status = rustix::fs::fstat(&descriptor).map_err(|errno| refuse(errno.into()))?;
        if !is_private(&status) {
            return Err(refuse(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it must belong to this user and be open to no other (mode 0700)",
            )));
        }
        Ok(Self { path: path.to_owned(), descriptor })
    }

    /// Makes a file of mode 0600 that is not there yet.
    pub(crate) fn make(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.descriptor, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }

    /// Opens a file, with `access` beside the flags that keep links and waiting away.
    pub(crate) fn open_file(&self, name: &str, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.descriptor, name, flags, Mode::empty())?))
    }

    /// Gives a file its final name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let folder = &self.descriptor;
        match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
            // File systems without that flag: the name is random, so nothing is replaced.
            Err(Errno::INVAL | Errno::NOSYS) => Ok(rustix::fs::renameat(folder, from, folder, to)?),
            other => Ok(other?),
        }
    }

    /// Removes a file; one that is gone already is fine.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The regular files, with their status. Files that go away meanwhile are left out.
    pub(crate) fn files(&self) -> Result<Vec<(String, Stat)>, SharedError> {
        let listing = |errno: Errno| self.failed(".", errno.into());
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.descriptor).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(status) = rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if is_regular(&status) {
                files.push((name.to_owned(), status));
            }
        }
        Ok(files)
    }

    pub(crate) fn failed(&self, name: &str, source: io::Error) -> SharedError {
        SharedError::File { path: self.path.join(name), source }
    }
}

pub(crate) fn is_regular(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::RegularFile
}

/// Whether it belongs to this user and is open to no other.
pub(crate) fn is_private(status: &Stat) -> bool {
    status.st_uid == rustix::process::geteuid().as_raw() && status.st_mode & 0o077 == 0
}

/// 32 random characters `[a-z0-9]`.
pub(crate) fn random_name() -> io::Result<String> {
    let mut source = File::open("/dev/urandom")?;
    let mut name = String::with_capacity(NAME_BYTES);
    let mut pool = [0; 2 * NAME_BYTES];
    while name.len() < NAME_BYTES {
        source.read_exact(&mut pool)?;
        // 252 is the largest multiple of 36: above it, letters would not be equally likely.
        let letters = pool.iter().filter(|&&byte| byte < 252);
        let letters = letters.filter_map(|&byte| ALPHABET.get(usize::from(byte) % ALPHABET.len()));
        name.extend(letters.map(|&letter| char::from(letter)).take(NAME_BYTES - name.len()));
    }
    Ok(name)
}
