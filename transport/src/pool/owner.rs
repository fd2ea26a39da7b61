//! The writing side: the one process that fills a pool's slots.

use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::layout::{self, Field, OWNER_BYTE, PAGE, POOL_PREFIX, Slot, SlotName, slot_byte, slot_state};
use super::memory::{ClaimedBytes, Header, Lock, Memory, is_locked, set_lock};
use super::word::{self, Claim, Phase};
use super::{now_ms, step};
use crate::folder::{Folder, TEMPORARY_PREFIX, random_name};
use crate::{LeaseReference, SharedError, SharedFolder};

/// How much a pool may hold, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Most memory that its slots take together, in bytes.
    pub total_bytes: u64,
    /// A lease older than this may be ended when no slot is free: its request's driver died.
    /// No request may take longer.
    pub lease_lifetime: Duration,
}

impl Default for PoolLimits {
    /// 64 MiB, and 15 minutes: the longest that AWS Lambda lets a function run.
    fn default() -> Self {
        Self { total_bytes: 64 << 20, lease_lifetime: Duration::from_secs(15 * 60) }
    }
}

/// Reusable slots in one file of a [`SharedFolder`], filled by this process alone.
///
/// Cloning is cheap. With the last clone and the last [`SlotWriter`] the pool is given up: its
/// file goes with its last lease.
#[derive(Clone, Debug)]
pub struct SlotPool {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    folder: Arc<Folder>,
    /// 32 random characters.
    name: String,
    file: File,
    header: Header,
    memory: Arc<Memory>,
    slots: Vec<Slot>,
    limits: PoolLimits,
    books: Mutex<Books>,
}

/// What only the owner needs to know.
#[derive(Debug)]
struct Books {
    /// Bytes that each slot has of the file system.
    allocated: Vec<u64>,
    /// Their sum.
    total: u64,
    /// When each slot was last published.
    published: Vec<Option<Instant>>,
}

impl SlotPool {
    /// Makes an empty pool in `folder`, and removes what dead owners left there.
    ///
    /// # Errors
    /// When the folder is full, or its file system or the kernel has neither `fallocate` nor
    /// locks of open files.
    pub fn create(folder: &SharedFolder, limits: PoolLimits) -> Result<Self, SharedError> {
        let folder = folder.folder();
        let name = random_name().map_err(|source| folder.failed("/dev/urandom", source))?;
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        let made = Owner::make(folder, &temporary, name, limits);
        if made.is_err() {
            let _ = folder.remove(&temporary);
        }
        let owner = Arc::new(made.map_err(|source| folder.failed(&temporary, source))?);
        super::orphans::sweep(folder, limits.lease_lifetime);
        Ok(Self { owner })
    }

    /// A slot for `bytes` bytes, to be written in place. What it holds until then is undefined
    /// but initialised: bytes of an earlier tensor, or zeros.
    ///
    /// # Errors
    /// When no slot is free that is large enough, or the folder's file system is full.
    pub fn reserve(&self, bytes: usize) -> Result<SlotWriter, SharedError> {
        let owner = &self.owner;
        let full = || SharedError::PoolFull { bytes: bytes as u64 };
        let needed = (bytes.max(1) as u64).checked_next_multiple_of(PAGE).ok_or_else(full)?;
        let found = owner.take(&mut owner.books(), needed);
        let found = found.map_err(|source| owner.folder.failed(&owner.file_name(), source))?;
        let (number, slot, claim) = found.ok_or_else(full)?;
        let offset = usize::try_from(slot.offset).map_err(|_| full())?;
        let bytes = ClaimedBytes::new(Arc::clone(&owner.memory), offset, bytes, claim).ok_or_else(full)?;
        step::reached("reserved");
        Ok(SlotWriter { owner: Arc::clone(owner), number, bytes, published: false })
    }

    /// Copies `bytes` into a slot and publishes it.
    ///
    /// # Errors
    /// As [`SlotPool::reserve`].
    pub fn write(&self, bytes: &[u8]) -> Result<LeaseReference, SharedError> {
        let mut writer = self.reserve(bytes.len())?;
        writer.copy_from_slice(bytes);
        Ok(writer.publish())
    }

    /// Bytes of memory that the slots take, in use or not.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.owner.books().total
    }

    /// Whether its file still has its name: cleaners of temporary folders remove what they take
    /// for forgotten, and readers could not open it.
    pub(crate) fn is_reachable(&self) -> bool {
        rustix::fs::fstat(&self.owner.file).is_ok_and(|status| status.st_nlink > 0)
    }
}

impl Owner {
    fn make(folder: &Arc<Folder>, temporary: &str, name: String, limits: PoolLimits) -> io::Result<Self> {
        let (slots, header_bytes) = layout::slots(limits.total_bytes);
        let end = slots.last().map_or(header_bytes, |slot| slot.offset.saturating_add(slot.capacity));
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidInput, "the pool is larger than memory");
        let file = folder.make(temporary)?;
        step::reached("made");
        file.set_len(end)?;
        // A page that the file system has no room for would end the process when it is touched.
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, header_bytes)?;
        let header = Header::map(&file, usize::try_from(header_bytes).map_err(too_large)?)?;
        layout::write_header(&header, &slots);
        let memory = Arc::new(Memory::writable(&file)?);
        // Before the file has its name: under that name, no lock means no owner.
        set_lock(&file, OWNER_BYTE, Lock::Exclusive)?;
        step::reached("locked");
        folder.rename(temporary, &format!("{POOL_PREFIX}{name}"))?;
        step::reached("named");
        let count = slots.len();
        let books = Books { allocated: vec![0; count], total: 0, published: vec![None; count] };
        Ok(Self {
            folder: Arc::clone(folder),
            name,
            file,
            header,
            memory,
            slots,
            limits,
            books: Mutex::new(books),
        })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing that holds the lock leaves the books wrong on its way out.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_name(&self) -> String {
        format!("{POOL_PREFIX}{}", self.name)
    }

    /// The smallest free slot that can take `needed` bytes and for which there is memory, claimed
    /// and with that memory. Where there is none, leases that are too old end for it.
    fn take(&self, books: &mut Books, needed: u64) -> io::Result<Option<(usize, Slot, Claim)>> {
        let first = self.slots.partition_point(|slot| slot.capacity < needed);
        for old_too in [false, true] {
            for (number, &slot) in self.slots.iter().enumerate().skip(first) {
                let Some(claim) = self.claim(books, number, old_too) else { continue };
                step::reached("claimed");
                let provided = self.provide(books, number, needed, old_too);
                if matches!(provided, Ok(true)) {
                    return Ok(Some((number, slot, claim)));
                }
                self.abandon(number, &claim);
                provided?;
            }
        }
        Ok(None)
    }

    /// Claims a slot that is free, or one whose lease is too old, and that nobody reads.
    fn claim(&self, books: &Books, number: usize, old_too: bool) -> Option<Claim> {
        let word = self.header.word(layout::index(number, Field::State))?;
        let found = word::state(word);
        // A lease whose reader still reads is left as it is.
        let old =
            || old_too && found.is(Phase::Leased) && self.is_old(books, number) && !self.is_held(number);
        (found.is(Phase::Free) || old()).then(|| word::claim(word, found, || self.is_held(number))).flatten()
    }

    fn abandon(&self, number: usize, claim: &Claim) {
        if let Some(word) = self.header.word(layout::index(number, Field::State)) {
            word::abandon(word, claim);
        }
    }

    /// Whether a reader holds the slot; one that cannot be asked about is taken for held.
    fn is_held(&self, number: usize) -> bool {
        is_locked(&self.file, slot_byte(number)).unwrap_or(true)
    }

    fn is_old(&self, books: &Books, number: usize) -> bool {
        let published = books.published.get(number).copied().flatten();
        published.is_some_and(|published| published.elapsed() >= self.limits.lease_lifetime)
    }

    /// Takes memory for the first `needed` bytes of a claimed slot. `false` where the pool would
    /// hold more than it may, even after others have given back what they do not use.
    fn provide(&self, books: &mut Books, number: usize, needed: u64, old_too: bool) -> io::Result<bool> {
        let (Some(&has), Some(slot)) = (books.allocated.get(number), self.slots.get(number)) else {
            return Ok(false);
        };
        let more = needed.saturating_sub(has);
        if more == 0 {
            return Ok(true);
        }
        let fits = |books: &Books| books.total.saturating_add(more) <= self.limits.total_bytes;
        for other in (0..self.slots.len()).rev() {
            if fits(books) {
                break;
            }
            self.give_back(books, other, old_too);
        }
        if !fits(books) {
            return Ok(false);
        }
        rustix::fs::fallocate(&self.file, FallocateFlags::empty(), slot.offset + has, more)?;
        books.set(number, needed);
        Ok(true)
    }

    /// Returns the memory of a slot that nobody uses.
    fn give_back(&self, books: &mut Books, number: usize, old_too: bool) {
        let has = books.allocated.get(number).copied().unwrap_or(0);
        let (Some(slot), true) = (self.slots.get(number), has > 0) else { return };
        let Some(claim) = self.claim(books, number, old_too) else { return };
        step::reached("giving back");
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&self.file, flags, slot.offset, has).is_ok() {
            books.set(number, 0);
        }
        self.abandon(number, &claim);
    }
}

impl Books {
    fn set(&mut self, number: usize, bytes: u64) {
        if let Some(allocated) = self.allocated.get_mut(number) {
            self.total = self.total - *allocated + bytes;
            *allocated = bytes;
        }
    }
}

impl Drop for Owner {
    /// The owner is gone before it looks for leases, and whoever ends the last lease looks for
    /// the owner after that: one of the two removes the file.
    fn drop(&mut self) {
        let _ = set_lock(&self.file, OWNER_BYTE, Lock::Unlock);
        step::reached("given up");
        fence(Ordering::SeqCst);
        let leased = |slot| slot_state(&self.header, slot).is_some_and(|state| state.is(Phase::Leased));
        if !(0..self.slots.len()).any(leased) {
            let _ = self.folder.remove(&self.file_name());
        }
    }
}

/// A slot that is being written. It is given back when dropped without [`SlotWriter::publish`].
#[derive(Debug)]
#[must_use = "the slot is given back at once"]
pub struct SlotWriter {
    owner: Arc<Owner>,
    number: usize,
    bytes: ClaimedBytes,
    published: bool,
}

impl SlotWriter {
    /// Lets others read the slot. Whoever ends the request releases the lease.
    #[must_use = "a lease that nobody releases keeps its slot until it is old"]
    pub fn publish(mut self) -> LeaseReference {
        let owner = &self.owner;
        if let Some(published) = owner.books().published.get_mut(self.number) {
            *published = Some(Instant::now());
        }
        if let Some(published) = owner.header.word(layout::index(self.number, Field::Published)) {
            published.store(now_ms(), Ordering::Relaxed);
        }
        let claim = self.bytes.claim();
        let name = SlotName { pool: &owner.name, slot: self.number, generation: claim.generation() };
        let lease = LeaseReference { name: name.to_string(), offset: 0, length: self.len() as u64 };
        step::reached("written");
        // Once the slot is published it is not this writer's any more, whatever happens here.
        self.published = true;
        if let Some(word) = owner.header.word(layout::index(self.number, Field::State)) {
            word::publish(word, claim);
        }
        step::reached("published");
        lease
    }
}

impl Deref for SlotWriter {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.bytes()
    }
}

impl DerefMut for SlotWriter {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.bytes_mut()
    }
}

impl Drop for SlotWriter {
    fn drop(&mut self) {
        if !self.published {
            self.owner.abandon(self.number, self.bytes.claim());
            step::reached("abandoned");
        }
    }
}
