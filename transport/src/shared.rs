//! Files that functions of one host map instead of sending their bytes.

use bytes::Bytes;
use memmap2::MmapOptions;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::folder::{Folder, TEMPORARY_PREFIX, is_regular, random_name};
use crate::pool::{self, POOL_PREFIX, PoolLimits, Readers, SlotName, SlotPool, SlotWriter};

/// Bytes of a file, or of a slot of a pool, in a [`SharedFolder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseReference {
    /// The file's name, `[a-z0-9-]`; or the pool's characters, the slot and its generation, as in
    /// `…-1f-2a` (docs/formats/shared-memory.md).
    pub name: String,
    /// First byte meant, from the beginning of the file or the slot.
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

/// A folder of one user whose files are mapped by others: slots of pools, which are used again,
/// and files that are written once and removed.
#[derive(Debug)]
pub struct SharedFolder {
    folder: Arc<Folder>,
    /// This process's own pool, made when it is first needed.
    pool: Mutex<Option<SlotPool>>,
    readers: Readers,
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
        let folder = Arc::new(Folder::open(path)?);
        Ok(Self { folder, pool: Mutex::new(None), readers: Readers::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// A slot of this process's pool, to be written in place and published. The pool is made
    /// when it is first asked for, with [`PoolLimits::default`].
    ///
    /// # Errors
    /// As [`SlotPool::create`] and [`SlotPool::reserve`]. [`SharedFolder::write`] may work still.
    pub fn reserve(&self, bytes: usize) -> Result<SlotWriter, SharedError> {
        self.pool()?.reserve(bytes)
    }

    /// Copies `bytes` into a slot of this process's pool, or to a new file where there is none.
    ///
    /// # Errors
    /// When the folder is full or not writable.
    pub fn place(&self, bytes: &[u8]) -> Result<LeaseReference, SharedError> {
        match self.pool().and_then(|pool| pool.write(bytes)) {
            Ok(lease) => Ok(lease),
            Err(_) => self.write(bytes),
        }
    }

    fn pool(&self) -> Result<SlotPool, SharedError> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        match &*pool {
            Some(made) if made.is_reachable() => Ok(made.clone()),
            _ => {
                let made = SlotPool::create(self, PoolLimits::default())?;
                *pool = Some(made.clone());
                Ok(made)
            }
        }
    }

    /// Writes `bytes` to a new file with an unguessable name and mode 0600; it appears
    /// under that name whole.
    ///
    /// # Errors
    /// When the folder is full or not writable.
    pub fn write(&self, bytes: &[u8]) -> Result<LeaseReference, SharedError> {
        let name = random_name().map_err(|source| self.folder.failed("/dev/urandom", source))?;
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        let written = self.folder.make(&temporary);
        let written = written
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| self.folder.rename(&temporary, &name));
        if let Err(source) = written {
            let _ = self.folder.remove(&temporary);
            return Err(self.folder.failed(&name, source));
        }
        Ok(LeaseReference { name, offset: 0, length: bytes.len() as u64 })
    }

    /// Maps the bytes of a lease, read-only.
    ///
    /// The bytes stay valid after the lease is released: the map, or the hold on the slot,
    /// keeps them.
    ///
    /// # Errors
    /// When the name is not one that [`SharedFolder::place`] gives, the file is gone or the
    /// lease on the slot has ended, it is not a regular file, or is shorter than the lease says.
    pub fn map(&self, lease: &LeaseReference) -> Result<Bytes, SharedError> {
        if !lease.is_valid() {
            return Err(SharedError::Name { name: lease.name.clone() });
        }
        if let Some(name) = SlotName::parse(&lease.name) {
            return self.readers.map(&self.folder, name, lease);
        }
        let failed = |source| self.folder.failed(&lease.name, source);
        let file = self.folder.open_file(&lease.name, OFlags::RDONLY).map_err(failed)?;
        let status = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        if !is_regular(&status) || lease.offset.saturating_add(lease.length) > size {
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
        #[expect(unsafe_code, reason = "mapping a file is unsafe because others may change it")]
        // SAFETY: the range lies within the file, whose size was read from this very
        // descriptor. Files get their name by a rename after the last write and are never
        // written or truncated under it; `open` made sure that no other user can reach the
        // folder, so only this program's own functions, which keep that rule, could.
        let map = unsafe { options.map_copy_read_only(&file) };
        map.map(Bytes::from_owner).map_err(failed)
    }

    /// Ends a lease: its file is removed, its slot may be used again once nobody reads it. A
    /// lease that has ended already is fine.
    ///
    /// # Errors
    /// When the name is not one that [`SharedFolder::place`] gives, or removal fails.
    pub fn release(&self, name: &str) -> Result<(), SharedError> {
        if !valid_name(name) {
            return Err(SharedError::Name { name: name.to_owned() });
        }
        let released = match SlotName::parse(name) {
            Some(slot) => self.readers.release(&self.folder, slot),
            None => self.folder.remove(name),
        };
        released.map_err(|source| self.folder.failed(name, source))
    }

    /// Removes files last written longer ago than `older_than`: those of requests whose
    /// driver died; and pools without an owner whose leases are all that old. A living owner
    /// ends old leases itself. Files with other names than this folder gives are left alone.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn sweep(&self, older_than: Duration) -> Result<Swept, SharedError> {
        let mut swept = Swept::default();
        for (name, status) in self.folder.files()? {
            let (forgotten, bytes) = match name.strip_prefix(POOL_PREFIX) {
                Some(pool) => {
                    (pool::is_forgotten(&self.folder, pool, &status, older_than), pool::memory_bytes(&status))
                }
                None => (
                    valid_name(&name) && pool::is_older(&status, older_than),
                    u64::try_from(status.st_size).unwrap_or(0),
                ),
            };
            if forgotten && self.folder.remove(&name).is_ok() {
                swept.files += 1;
                swept.bytes += bytes;
            }
        }
        self.readers.prune();
        Ok(swept)
    }

    /// How many leases have not ended: files, and slots of all pools.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn leases(&self) -> Result<u64, SharedError> {
        let files = self.folder.files()?;
        let leases = files.iter().map(|(name, _)| match name.strip_prefix(POOL_PREFIX) {
            Some(pool) => pool::leases(&self.folder, pool),
            None => u64::from(valid_name(name) && !name.starts_with(TEMPORARY_PREFIX)),
        });
        Ok(leases.sum())
    }
}

/// `[a-z0-9-]`, so neither a path nor a hidden file; and no pool, which is never mapped or
/// removed whole at somebody's word.
fn valid_name(name: &str) -> bool {
    (1..=LeaseReference::MAX_NAME_BYTES as usize).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with(POOL_PREFIX)
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
    /// A lease on a slot that has ended, or never was.
    #[error("the lease `{name}` has ended")]
    Released {
        /// The lease.
        name: String,
    },
    /// No slot is free that can take so much.
    #[error("no slot of the pool is free for {bytes} bytes")]
    PoolFull {
        /// What was asked for.
        bytes: u64,
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
            Self::Released { .. } => "its request has ended, or took too long; run the request again",
            Self::PoolFull { .. } => {
                "send it in a file of its own, or inline; slots come free as requests end"
            }
            Self::File { .. } => {
                "check that the shared folder has space; a file that is gone was released, so run the request again"
            }
        }
    }
}
