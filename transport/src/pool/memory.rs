//! Everything of the pool that the compiler cannot check: mapped bytes, atomics in them, and
//! the kernel's locks. The rest of the pool is safe code over this file.
//!
//! What all of it stands on, as [`crate::SharedFolder::map`] does: the folder belongs to one
//! user and is open to no other, and that user's functions keep the protocol of
//! [`super`]. Nothing truncates a pool's file.

use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::reader::Hold;
use super::word::Claim;

/// The words at the beginning of a pool's file, mapped to be read and written.
#[derive(Debug)]
pub(super) struct Header(MmapRaw);

impl Header {
    /// Maps the first `bytes` bytes, which the file must have.
    pub(super) fn map(file: &File, bytes: usize) -> io::Result<Self> {
        Ok(Self(MmapOptions::new().len(bytes).map_raw(file)?))
    }

    /// The word at eight times `index`.
    pub(super) fn word(&self, index: usize) -> Option<&AtomicU64> {
        let fits = index.checked_mul(8)?.checked_add(8)? <= self.0.len();
        #[expect(unsafe_code, reason = "atomics in mapped memory are made from a pointer")]
        // SAFETY: the word lies within the map, which lives as long as the reference; maps
        // begin at a page, so multiples of eight are aligned; and no process ever reaches the
        // header but through these atomics.
        fits.then(|| unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast::<u64>().add(index)) })
    }
}

/// A pool's whole file, mapped.
#[derive(Debug)]
pub(super) struct Memory(MmapRaw);

impl Memory {
    /// For its owner.
    pub(super) fn writable(file: &File) -> io::Result<Self> {
        Ok(Self(MmapOptions::new().map_raw(file)?))
    }

    /// For readers: a write through it ends the process.
    pub(super) fn read_only(file: &File) -> io::Result<Self> {
        Ok(Self(MmapOptions::new().map_raw_read_only(file)?))
    }

    fn holds(&self, offset: usize, length: usize) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.0.len())
    }
}

/// The bytes of a slot that its owner has claimed.
#[derive(Debug)]
pub(super) struct ClaimedBytes {
    memory: Arc<Memory>,
    offset: usize,
    length: usize,
    claim: Claim,
}

impl ClaimedBytes {
    /// `None` where they do not lie in `memory`, which must be mapped by [`Memory::writable`];
    /// `offset` must be that of the slot that `claim` is for, `length` within its capacity.
    pub(super) fn new(memory: Arc<Memory>, offset: usize, length: usize, claim: Claim) -> Option<Self> {
        memory.holds(offset, length).then_some(Self { memory, offset, length, claim })
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn bytes(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "mapped bytes are reached through a pointer")]
        // SAFETY: within the map (`new`), which lives as long as `self`. The claim says that
        // no reader holds the slot and that none will be let in, and there is one claim a
        // slot at a time: nobody else reads or writes these bytes.
        unsafe {
            std::slice::from_raw_parts(self.memory.0.as_ptr().add(self.offset), self.length)
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        #[expect(unsafe_code, reason = "mapped bytes are reached through a pointer")]
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively; the map is writable (`new`).
        unsafe {
            std::slice::from_raw_parts_mut(self.memory.0.as_mut_ptr().add(self.offset), self.length)
        }
    }
}

/// The bytes of a slot that a reader holds.
#[derive(Debug)]
pub(super) struct HeldBytes {
    memory: Arc<Memory>,
    offset: usize,
    length: usize,
    // Let go after the last use of the bytes: fields are dropped when `self` is gone.
    _hold: Hold,
}

impl HeldBytes {
    /// `None` where they do not lie in `memory`; they must lie in the slot that `hold` is for.
    pub(super) fn new(memory: Arc<Memory>, offset: usize, length: usize, hold: Hold) -> Option<Self> {
        memory.holds(offset, length).then_some(Self { memory, offset, length, _hold: hold })
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "mapped bytes are reached through a pointer")]
        // SAFETY: within the map (`new`), which lives as long as `self`. The hold was admitted:
        // the slot was published, and its owner claims it anew only when nobody holds it, so
        // nobody writes these bytes as long as `self` lives.
        unsafe {
            std::slice::from_raw_parts(self.memory.0.as_ptr().add(self.offset), self.length)
        }
    }
}

/// What is done to a lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock {
    Shared,
    Exclusive,
    Unlock,
}

/// Changes the lock that this open file has on one byte; never waits.
///
/// These locks belong to the open file description (fcntl(2), `F_OFD_SETLK`): the kernel drops
/// them when its last descriptor is closed, however the process ends.
///
/// # Errors
/// `WouldBlock` when another open file's lock is in the way; others where the file system or
/// the kernel has no such locks.
pub(super) fn set_lock(file: &File, byte: u64, lock: Lock) -> io::Result<()> {
    control(file, libc::F_OFD_SETLK, byte, lock).map(drop)
}

/// Whether another open file has any lock on the byte.
pub(super) fn is_locked(file: &File, byte: u64) -> io::Result<bool> {
    Ok(control(file, libc::F_OFD_GETLK, byte, Lock::Exclusive)? != libc::F_UNLCK)
}

fn control(file: &File, command: libc::c_int, byte: u64, lock: Lock) -> io::Result<libc::c_int> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::Unlock => libc::F_UNLCK,
    };
    // Of the platform's widths; the process id must be 0 for these locks.
    let mut range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::try_from(byte).map_err(io::Error::other)?,
        l_len: 1,
        l_pid: 0,
    };
    #[expect(unsafe_code, reason = "rustix has locks of whole files only")]
    // SAFETY: the descriptor is open as long as `file` is borrowed, and both commands read and
    // write one `flock`, which lives through the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut range) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(range.l_type.into()) }
}
