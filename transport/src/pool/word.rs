//! The one atomic word of a slot, and every way it may change.
//!
//! The rules are generic over the word so that loom runs these very functions.

use std::sync::atomic::{AtomicU64, Ordering, fence};

const PHASE_BITS: u32 = 2;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;

/// What a slot is: the low two bits of its word. The rest is its generation, which grows
/// with every claim and so tells a lease from those before it. 62 bits do not wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The owner may claim it.
    Free = 0,
    /// The owner writes it.
    Writing = 1,
    /// It is published; whoever knows the lease may read it.
    Leased = 2,
}

/// The value of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(u64);

impl State {
    pub(super) fn new(generation: u64, phase: Phase) -> Self {
        Self((generation << PHASE_BITS) | phase as u64)
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> PHASE_BITS
    }

    pub(super) fn is(self, phase: Phase) -> bool {
        self.0 & PHASE_MASK == phase as u64
    }
}

/// The operations that the protocol needs of a word.
pub(super) trait Word {
    /// With acquire ordering.
    fn read(&self) -> u64;
    /// With release ordering.
    fn write(&self, value: u64);
    /// Whether it was `from` and is `to` now; acquire and release ordering.
    fn change(&self, from: u64, to: u64) -> bool;
    /// A sequentially consistent fence.
    fn fence();
}

impl Word for AtomicU64 {
    fn read(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn write(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// The right to write a slot: only [`claim`] makes one, and [`publish`] and [`abandon`] end it.
#[derive(Debug)]
pub(super) struct Claim {
    generation: u64,
}

impl Claim {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

pub(super) fn state<W: Word>(word: &W) -> State {
    State(word.read())
}

/// The owner takes a slot that is `from`, if no reader holds it.
///
/// "Claim, then look": the word says `Writing` before the owner asks who holds the slot, and
/// readers take hold before they look at the word ([`admits`]). With a full fence on both
/// sides at least one of them sees the other.
pub(super) fn claim<W: Word>(word: &W, from: State, held: impl FnOnce() -> bool) -> Option<Claim> {
    let generation = from.generation() + 1;
    if !word.change(from.0, State::new(generation, Phase::Writing).0) {
        return None;
    }
    W::fence();
    if held() {
        // Free, not `from`: nobody who holds the old lease may come in any more.
        word.write(State::new(generation, Phase::Free).0);
        return None;
    }
    // What readers did before they let go has happened before the first write.
    W::fence();
    Some(Claim { generation })
}

/// The owner lets readers in. Only the owner leaves `Writing`, so this is a plain store.
pub(super) fn publish<W: Word>(word: &W, claim: &Claim) {
    word.write(State::new(claim.generation, Phase::Leased).0);
}

/// The owner gives a slot back unpublished.
pub(super) fn abandon<W: Word>(word: &W, claim: &Claim) {
    word.write(State::new(claim.generation, Phase::Free).0);
}

/// Anybody who knows the lease ends it. `false` where it had ended: nothing changed.
pub(super) fn release<W: Word>(word: &W, generation: u64) -> bool {
    word.change(State::new(generation, Phase::Leased).0, State::new(generation, Phase::Free).0)
}

/// Whether a reader that holds the slot already may read it: the lease has not ended.
pub(super) fn admits<W: Word>(word: &W, generation: u64) -> bool {
    W::fence();
    word.read() == State::new(generation, Phase::Leased).0
}

/// What a reader does before it lets a slot go: its reads end here.
pub(super) fn finish_reading<W: Word>() {
    W::fence();
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic as model;

    impl Word for model::AtomicU64 {
        fn read(&self) -> u64 {
            self.load(Ordering::Acquire)
        }

        fn write(&self, value: u64) {
            self.store(value, Ordering::Release);
        }

        fn change(&self, from: u64, to: u64) -> bool {
            self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
        }

        fn fence() {
            model::fence(Ordering::SeqCst);
        }
    }

    /// A slot as the protocol sees it. The kernel's locks are a counter without any ordering of
    /// its own: the fences have to be enough.
    struct Slot {
        word: model::AtomicU64,
        locks: model::AtomicUsize,
        bytes: UnsafeCell<u64>,
    }

    impl Slot {
        fn leased(generation: u64) -> Arc<Self> {
            Arc::new(Self {
                word: model::AtomicU64::new(State::new(generation, Phase::Leased).0),
                locks: model::AtomicUsize::new(0),
                bytes: UnsafeCell::new(generation),
            })
        }

        /// What the lease's reader saw; loom fails where a write runs beside it.
        #[expect(unsafe_code, reason = "loom's cell notices what the protocol must exclude")]
        fn read(&self, generation: u64) -> Option<u64> {
            self.locks.fetch_add(1, Ordering::Relaxed);
            let seen = admits(&self.word, generation).then(|| {
                // SAFETY: loom checks it: a write that runs beside this read fails the model.
                self.bytes.with(|bytes| unsafe { *bytes })
            });
            finish_reading::<model::AtomicU64>();
            self.locks.fetch_sub(1, Ordering::Relaxed);
            seen
        }

        /// One try to reuse the slot.
        #[expect(unsafe_code, reason = "loom's cell notices what the protocol must exclude")]
        fn reuse(&self) -> bool {
            let found = state(&self.word);
            if !found.is(Phase::Free) {
                return false;
            }
            let Some(claim) = claim(&self.word, found, || self.locks.load(Ordering::Relaxed) > 0) else {
                return false;
            };
            // SAFETY: as above.
            self.bytes.with_mut(|bytes| unsafe { *bytes = claim.generation() });
            publish(&self.word, &claim);
            true
        }
    }

    #[test]
    fn nobody_writes_what_somebody_reads() {
        loom::model(|| {
            let slot = Slot::leased(1);
            let reader = loom::thread::spawn({
                let slot = Arc::clone(&slot);
                move || slot.read(1)
            });
            let releaser = loom::thread::spawn({
                let slot = Arc::clone(&slot);
                move || release(&slot.word, 1)
            });
            let reused = slot.reuse();
            assert!(reader.join().unwrap().is_none_or(|seen| seen == 1));
            assert!(releaser.join().unwrap());
            assert!(!reused || slot.read(2) == Some(2));
        });
    }

    /// A claim that stops at a reader leaves the slot free for the next.
    #[test]
    fn a_stale_reader_is_refused_and_blocks_nobody_for_long() {
        loom::model(|| {
            let slot = Slot::leased(1);
            assert!(release(&slot.word, 1));
            let stale = loom::thread::spawn({
                let slot = Arc::clone(&slot);
                move || slot.read(1)
            });
            let reused = slot.reuse();
            assert_eq!(stale.join().unwrap(), None);
            assert!(reused || slot.reuse());
        });
    }

    #[test]
    fn a_lease_ends_once_and_only_its_own() {
        loom::model(|| {
            let slot = Slot::leased(1);
            let twice = [1, 2].map(|_| {
                let slot = Arc::clone(&slot);
                loom::thread::spawn(move || release(&slot.word, 1))
            });
            let reused = slot.reuse();
            let ended = twice.map(|thread| thread.join().unwrap());
            assert_eq!(ended.iter().filter(|&&ended| ended).count(), 1);
            assert_eq!(state(&slot.word).is(Phase::Leased), reused);
        });
    }
}
