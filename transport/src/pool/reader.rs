//! The reading side: pools of other processes, mapped once and kept.

use bytes::Bytes;
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::layout::{self, Field, OWNER_BYTE, POOL_PREFIX, Slot, SlotName, slot_byte, slot_state};
use super::memory::{Header, HeldBytes, Lock, Memory, is_locked, set_lock};
use super::step;
use super::word::{self, Phase, State};
use crate::folder::{Folder, is_private, is_regular};
use crate::{LeaseReference, SharedError};

/// Most pools that are kept mapped: more than functions run beside each other on one host.
const MOST_KEPT: usize = 64;

/// The pools that this folder's leases named last.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Used last, last.
    kept: Mutex<Vec<Arc<ReaderPool>>>,
}

impl Readers {
    /// The bytes of a lease on a slot, and the hold on it as long as they live.
    pub(crate) fn map(
        &self,
        folder: &Folder,
        name: SlotName<'_>,
        lease: &LeaseReference,
    ) -> Result<Bytes, SharedError> {
        let failed = |source| folder.failed(&lease.name, source);
        let released = || SharedError::Released { name: lease.name.clone() };
        let pool = self.pool(folder, name.pool).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => released(),
            _ => failed(source),
        })?;
        let slot = pool.slots.get(name.slot).copied().ok_or_else(released)?;
        let end = lease.offset.saturating_add(lease.length);
        let too_long =
            || SharedError::Length { name: lease.name.clone(), size: slot.capacity, expected: end };
        if end > slot.capacity {
            return Err(too_long());
        }
        let hold = pool.hold(name).map_err(failed)?.ok_or_else(released)?;
        step::reached("held");
        let offset = usize::try_from(slot.offset.saturating_add(lease.offset)).map_err(|_| too_long())?;
        let length = usize::try_from(lease.length).map_err(|_| too_long())?;
        let held = HeldBytes::new(Arc::clone(&pool.memory), offset, length, hold).ok_or_else(too_long)?;
        Ok(Bytes::from_owner(held))
    }

    /// Ends a lease; one that has ended, or whose pool is gone, is fine.
    pub(crate) fn release(&self, folder: &Folder, name: SlotName<'_>) -> io::Result<()> {
        let pool = match self.pool(folder, name.pool) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if let Some(word) = pool.header.word(layout::index(name.slot, Field::State))
            && name.slot < pool.slots.len()
        {
            word::release(word, name.generation);
        }
        step::reached("released");
        // See `Drop` of the owner.
        fence(Ordering::SeqCst);
        if !pool.is_owned() && !pool.leased().any(|_| true) {
            self.kept().retain(|kept| kept.name != name.pool);
            folder.remove(&format!("{POOL_PREFIX}{}", name.pool))?;
            step::reached("removed");
        }
        Ok(())
    }

    /// The pool, opened where it is not kept. Then those whose files are gone are forgotten.
    fn pool(&self, folder: &Folder, name: &str) -> io::Result<Arc<ReaderPool>> {
        let mut kept = self.kept();
        if let Some(position) = kept.iter().rposition(|pool| pool.name == name) {
            let pool = kept.remove(position);
            kept.push(Arc::clone(&pool));
            return Ok(pool);
        }
        self.forget_removed(&mut kept);
        let pool = Arc::new(ReaderPool::open(folder, name)?);
        step::reached("opened");
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push(Arc::clone(&pool));
        Ok(pool)
    }

    fn forget_removed(&self, kept: &mut Vec<Arc<ReaderPool>>) {
        kept.retain(|pool| rustix::fs::fstat(&pool.file).is_ok_and(|status| status.st_nlink > 0));
    }

    /// Forgets pools whose files are gone, so that their memory is free.
    pub(crate) fn prune(&self) {
        self.forget_removed(&mut self.kept());
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Arc<ReaderPool>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool as its readers see it.
#[derive(Debug)]
pub(super) struct ReaderPool {
    /// 32 random characters.
    name: String,
    file: File,
    header: Header,
    memory: Arc<Memory>,
    slots: Vec<Slot>,
    /// How many holds this process has on each slot: its lock is one.
    holds: Mutex<Vec<u32>>,
}

impl ReaderPool {
    /// Opens the pool of these random characters.
    pub(super) fn open(folder: &Folder, name: &str) -> io::Result<Self> {
        let file = folder.open_file(&format!("{POOL_PREFIX}{name}"), OFlags::RDWR)?;
        let status = rustix::fs::fstat(&file)?;
        if !is_regular(&status) || !is_private(&status) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a pool of this user alone"));
        }
        let (header, slots) = layout::read_header(&file, u64::try_from(status.st_size).unwrap_or(0))?;
        let memory = Arc::new(Memory::read_only(&file)?);
        let holds = Mutex::new(vec![0; slots.len()]);
        Ok(Self { name: name.to_owned(), file, header, memory, slots, holds })
    }

    /// "Lock, then look": see [`word::claim`]. `None` where the lease has ended.
    fn hold(self: &Arc<Self>, name: SlotName<'_>) -> io::Result<Option<Hold>> {
        let Some(word) = self.header.word(layout::index(name.slot, Field::State)) else { return Ok(None) };
        let mut holds = self.holds();
        let Some(count) = holds.get_mut(name.slot) else { return Ok(None) };
        if *count == 0 {
            set_lock(&self.file, slot_byte(name.slot), Lock::Shared)?;
        }
        *count += 1;
        drop(holds);
        let hold = Hold { pool: Arc::clone(self), slot: name.slot };
        step::reached("locked");
        Ok(word::admits(word, name.generation).then_some(hold))
    }

    fn let_go(&self, slot: usize) {
        word::finish_reading::<std::sync::atomic::AtomicU64>();
        let mut holds = self.holds();
        if let Some(count) = holds.get_mut(slot) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                // Where that fails the slot is lost to its owner until this process ends.
                let _ = set_lock(&self.file, slot_byte(slot), Lock::Unlock);
            }
        }
    }

    fn holds(&self) -> MutexGuard<'_, Vec<u32>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its owner lives; one that cannot be asked about is taken for living.
    pub(super) fn is_owned(&self) -> bool {
        is_locked(&self.file, OWNER_BYTE).unwrap_or(true)
    }

    /// When the leases that have not ended were published: milliseconds since 1970.
    pub(super) fn leased(&self) -> impl Iterator<Item = u64> {
        let leased = |slot: &usize| {
            slot_state(&self.header, *slot).is_some_and(|state: State| state.is(Phase::Leased))
        };
        (0..self.slots.len()).filter(leased).map(|slot| {
            let word = self.header.word(layout::index(slot, Field::Published));
            word.map_or(0, |word| word.load(Ordering::Relaxed))
        })
    }
}

/// The right to read a slot; only [`ReaderPool::hold`] makes one.
#[derive(Debug)]
pub(super) struct Hold {
    pool: Arc<ReaderPool>,
    slot: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pool.let_go(self.slot);
        step::reached("let go");
    }
}
