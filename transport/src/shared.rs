//! Files that functions of one host map instead of sending their bytes.

use bytes::Bytes;
use memmap2::MmapOptions;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Characters of a name: 32 of 36 give 165 bits, which nobody guesses.
const NAME_BYTES: usize = 32;
const TEMPORARY_PREFIX: &str = "tmp-";
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Bytes of a file in a [`SharedFolder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseReference {
    /// The file's name, `[a-z0-9-]`.
    pub name: String,
    /// First byte meant.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

impl LeaseReference {
    /// Longest name.
    pub const MAX_NAME_BYTES: u32 = 64;

    /// Whether it can name bytes of a file: no path separators, no dots, no overflow.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        valid_name(&self.name) && self.offset.checked_add(self.length).is_some()
    }
}

/// What [`SharedFolder::sweep`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A folder of one user whose files are written once, mapped by others, and removed.
#[derive(Debug)]
pub struct SharedFolder {
    path: PathBuf,
    folder: OwnedFd,
}

impl SharedFolder {
    /// Makes the folder, readable by its owner alone, or opens it when it is there.
    ///
    /// # Errors
    /// When it cannot be made, or is there and [`SharedFolder::open`] refuses it.
    pub fn create(path: &Path) -> Result<Self, SharedError> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Self::open(path),
            Err(errno) => Err(SharedError::Folder { path: path.to_owned(), source: errno.into() }),
        }
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// When it is not a folder, is a symbolic link, or belongs to or is open to others:
    /// a map of a file that somebody else can shorten is a crash waiting.
    pub fn open(path: &Path) -> Result<Self, SharedError> {
        let refuse = |source| SharedError::Folder { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder =
            rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| refuse(errno.into()))?;
        let status = rustix::fs::fstat(&folder).map_err(|errno| refuse(errno.into()))?;
        if status.st_uid != rustix::process::geteuid().as_raw() || status.st_mode & 0o077 != 0 {
            return Err(refuse(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it must belong to this user and be open to no other (mode 0700)",
            )));
        }
        Ok(Self { path: path.to_owned(), folder })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` to a new file with an unguessable name and mode 0600; it appears
    /// under that name whole.
    ///
    /// # Errors
    /// When the folder is full or not writable.
    pub fn write(&self, bytes: &[u8]) -> Result<LeaseReference, SharedError> {
        let name = random_name().map_err(|source| self.failed("/dev/urandom", source))?;
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&self.folder, &temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).write_all(bytes))
            .and_then(|()| self.rename(&temporary, &name));
        if let Err(source) = written {
            let _ = rustix::fs::unlinkat(&self.folder, &temporary, AtFlags::empty());
            return Err(self.failed(&name, source));
        }
        Ok(LeaseReference { name, offset: 0, length: bytes.len() as u64 })
    }

    /// Maps the bytes of a lease, read-only.
    ///
    /// The bytes stay valid after the file is released: the map holds them.
    ///
    /// # Errors
    /// When the name is not one that [`SharedFolder::write`] gives, the file is gone, is
    /// not a regular file, or is shorter than the lease says.
    pub fn map(&self, lease: &LeaseReference) -> Result<Bytes, SharedError> {
        if !lease.is_valid() {
            return Err(SharedError::Name { name: lease.name.clone() });
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &lease.name, flags, Mode::empty())
            .map_err(|errno| self.failed(&lease.name, errno.into()))?;
        let status = rustix::fs::fstat(&file).map_err(|errno| self.failed(&lease.name, errno.into()))?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        let regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        if !regular || lease.offset.saturating_add(lease.length) > size {
            return Err(SharedError::Length {
                name: lease.name.clone(),
                size,
                expected: lease.offset.saturating_add(lease.length),
            });
        }
        let length = usize::try_from(lease.length).map_err(|_| SharedError::Length {
            name: lease.name.clone(),
            size,
            expected: lease.length,
        })?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut options = MmapOptions::new();
        options.offset(lease.offset).len(length);
        let file = File::from(file);
        #[expect(unsafe_code, reason = "mapping a file is unsafe because others may change it")]
        // SAFETY: the range lies within the file, whose size was read from this very
        // descriptor. Files get their name by a rename after the last write and are never
        // written or truncated under it; `open` made sure that no other user can reach the
        // folder, so only this program's own functions, which keep that rule, could.
        let map = unsafe { options.map_copy_read_only(&file) };
        map.map(Bytes::from_owner).map_err(|source| self.failed(&lease.name, source))
    }

    /// Removes a file; a file that is gone already is fine.
    ///
    /// # Errors
    /// When the name is not one that [`SharedFolder::write`] gives, or removal fails.
    pub fn release(&self, name: &str) -> Result<(), SharedError> {
        if !valid_name(name) {
            return Err(SharedError::Name { name: name.to_owned() });
        }
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed(name, errno.into())),
        }
    }

    /// Removes files last written longer ago than `older_than`: those of requests whose
    /// driver died. Files with other names than this folder gives are left alone.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn sweep(&self, older_than: Duration) -> Result<Swept, SharedError> {
        let listing = |errno: Errno| self.failed(".", errno.into());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut swept = Swept::default();
        for entry in Dir::read_from(&self.folder).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !valid_name(name) {
                continue;
            }
            let Ok(status) = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue; // Released since it was listed.
            };
            let written = Duration::from_secs(u64::try_from(status.st_mtime).unwrap_or(0));
            let regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
            if regular
                && now.saturating_sub(written) >= older_than
                && rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()).is_ok()
            {
                swept.files += 1;
                swept.bytes += u64::try_from(status.st_size).unwrap_or(0);
            }
        }
        Ok(swept)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match rustix::fs::renameat_with(&self.folder, from, &self.folder, to, RenameFlags::NOREPLACE) {
            // File systems without that flag: the name is random, so nothing is replaced.
            Err(Errno::INVAL | Errno::NOSYS) => {
                Ok(rustix::fs::renameat(&self.folder, from, &self.folder, to)?)
            }
            other => Ok(other?),
        }
    }

    fn failed(&self, name: &str, source: io::Error) -> SharedError {
        SharedError::File { path: self.path.join(name), source }
    }
}

/// `[a-z0-9-]`, so neither a path nor a hidden file.
fn valid_name(name: &str) -> bool {
    (1..=LeaseReference::MAX_NAME_BYTES as usize).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn random_name() -> io::Result<String> {
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

/// A shared folder or file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The folder cannot be made or opened.
    #[error("shared folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that no shared file has.
    #[error("`{name}` is not the name of a shared file")]
    Name {
        /// The name.
        name: String,
    },
    /// A file that is not as long as its lease.
    #[error("shared file `{name}` has {size} bytes, its lease ends at {expected}")]
    Length {
        /// The file.
        name: String,
        /// Its size.
        size: u64,
        /// Where the lease ends.
        expected: u64,
    },
    /// A file cannot be written, mapped or removed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SharedError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "make it with mode 0700, owned by the user that runs the functions",
            Self::Name { .. } => "the frame was made by something else than tranche; refuse its sender",
            Self::Length { .. } => {
                "something changed the file after it was written; only functions may write here"
            }
            Self::File { .. } => {
                "check that the shared folder has space; a file that is gone was released, so run the request again"
            }
        }
    }
}
