//! A pool's file: its name, its header, its slots, and the names of leases on them.

use std::fs::File;
use std::io;

use super::memory::Header;
use super::word::{State, state};

/// Prefix of the file of a pool; 32 random characters follow.
pub(crate) const POOL_PREFIX: &str = "pool-";
/// Characters of a pool's name after its prefix.
const NAME_BYTES: usize = 32;
const MAGIC: u64 = u64::from_le_bytes(*b"TRNPOOL1");
/// What slots are aligned to, and memory is taken in.
pub(super) const PAGE: u64 = 4096;
/// One cache line a slot, so that releases of one do not slow another.
const ENTRY_WORDS: usize = 8;
/// Most slots a reader believes in; no pool has as many.
const MOST_SLOTS: u64 = 4096;
const SMALLEST_CLASS: u64 = 16 * 1024;
const CLASS_RATIO: u64 = 4;
const MOST_SLOTS_A_CLASS: u64 = 32;

/// The byte whose lock says that a pool's owner lives.
pub(super) const OWNER_BYTE: u64 = 0;

/// The byte that readers of a slot lock. Never two in a row: the kernel would join them, and
/// need memory to part them again.
pub(super) fn slot_byte(slot: usize) -> u64 {
    2 + 2 * slot as u64
}

/// A slot: where it lies in the file, and how much it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) offset: u64,
    pub(super) capacity: u64,
}

/// The slots of a pool that holds at most `total_bytes` bytes at a time, smallest first, and the
/// length of its header.
///
/// Capacities are 16 KiB times powers of 4. Each class could take the whole total alone, up to
/// 32 slots: a slot takes memory when it is first used, and then only what it is used for.
pub(super) fn slots(total_bytes: u64) -> (Vec<Slot>, u64) {
    let classes = std::iter::successors(Some(SMALLEST_CLASS), |&capacity| capacity.checked_mul(CLASS_RATIO));
    let capacities: Vec<u64> = classes
        .take_while(|&capacity| capacity <= total_bytes)
        .flat_map(|capacity| {
            let count = (total_bytes / capacity).min(MOST_SLOTS_A_CLASS);
            (0..count).map(move |_| capacity)
        })
        .collect();
    let header_bytes = (8 * ENTRY_WORDS as u64 * (capacities.len() as u64 + 1)).next_multiple_of(PAGE);
    let mut next = header_bytes;
    let slots = capacities.into_iter().map(|capacity| {
        let offset = next;
        next = next.saturating_add(capacity);
        Slot { offset, capacity }
    });
    (slots.collect(), header_bytes)
}

/// Words of a slot's entry in the header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    /// [`super::word`].
    State = 0,
    /// When it was last published: milliseconds since 1970.
    Published = 1,
    Offset = 2,
    Capacity = 3,
}

pub(super) fn index(slot: usize, field: Field) -> usize {
    (slot + 1) * ENTRY_WORDS + field as usize
}

/// Writes the header of a new file; all slots are free.
pub(super) fn write_header(header: &Header, slots: &[Slot]) {
    let set = |index: usize, value: u64| {
        if let Some(word) = header.word(index) {
            word.store(value, std::sync::atomic::Ordering::Relaxed);
        }
    };
    for (number, slot) in slots.iter().enumerate() {
        set(index(number, Field::Offset), slot.offset);
        set(index(number, Field::Capacity), slot.capacity);
    }
    set(1, slots.len() as u64);
    set(0, MAGIC);
}

/// Maps and checks the header of a file of `size` bytes.
pub(super) fn read_header(file: &File, size: u64) -> io::Result<(Header, Vec<Slot>)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a pool: {what}"));
    if size < PAGE {
        return Err(wrong("it is too short"));
    }
    let get = |header: &Header, index: usize| {
        header.word(index).map_or(0, |word| word.load(std::sync::atomic::Ordering::Relaxed))
    };
    let first = Header::map(file, PAGE as usize)?;
    if get(&first, 0) != MAGIC {
        return Err(wrong("it does not begin as one"));
    }
    let count = get(&first, 1);
    let header_bytes = (8 * ENTRY_WORDS as u64 * (count.min(MOST_SLOTS) + 1)).next_multiple_of(PAGE);
    if count > MOST_SLOTS || header_bytes > size {
        return Err(wrong("it has too many slots"));
    }
    let header = Header::map(file, header_bytes as usize)?;
    let slots: Vec<Slot> = (0..count as usize)
        .map(|slot| Slot {
            offset: get(&header, index(slot, Field::Offset)),
            capacity: get(&header, index(slot, Field::Capacity)),
        })
        .collect();
    let fits = |slot: &Slot| {
        slot.offset >= header_bytes
            && slot.offset.checked_add(slot.capacity).is_some_and(|end| end <= size)
            && usize::try_from(slot.offset).is_ok()
    };
    if !slots.iter().all(fits) {
        return Err(wrong("a slot lies outside it"));
    }
    Ok((header, slots))
}

/// The state of a slot.
pub(super) fn slot_state(header: &Header, slot: usize) -> Option<State> {
    header.word(index(slot, Field::State)).map(state)
}

/// A lease on a slot, as its name says: the pool's random characters, the slot, the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotName<'a> {
    /// The pool's random characters.
    pub(crate) pool: &'a str,
    pub(super) slot: usize,
    pub(super) generation: u64,
}

impl<'a> SlotName<'a> {
    /// `None` where it is not the name of a lease on a slot. A lease has one name, so numbers
    /// have no leading zeros.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let (pool, rest) = name.split_once('-')?;
        let (slot, generation) = rest.split_once('-')?;
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
            let canonical = plain && !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
            canonical.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let slot = number(slot).filter(|&slot| slot < MOST_SLOTS)?;
        let letters = pool.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        (pool.len() == NAME_BYTES && letters).then_some(Self {
            pool,
            slot: usize::try_from(slot).ok()?,
            generation: number(generation)?,
        })
    }
}

impl std::fmt::Display for SlotName<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{:x}-{:x}", self.pool, self.slot, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LeaseReference;
    use proptest::prelude::*;

    #[test]
    fn slots_are_aligned_disjoint_and_in_order() {
        for total in [0, 4096, 16 * 1024, 64 << 20, 1 << 30, 1 << 40] {
            let (slots, header_bytes) = slots(total);
            assert!(slots.len() as u64 <= MOST_SLOTS, "{total}");
            assert!(slots.iter().all(|slot| slot.offset.is_multiple_of(PAGE) && slot.capacity <= total));
            let mut end = header_bytes;
            for slot in slots {
                assert_eq!(slot.offset, end);
                end = slot.offset + slot.capacity;
            }
        }
    }

    proptest! {
        #[test]
        fn names_come_back(pool in "[a-z0-9]{32}", slot in 0..MOST_SLOTS as usize, generation: u64) {
            let name = SlotName { pool: &pool, slot, generation };
            let text = name.to_string();
            prop_assert!(text.len() <= LeaseReference::MAX_NAME_BYTES as usize);
            prop_assert_eq!(SlotName::parse(&text), Some(name));
        }

        #[test]
        fn a_lease_has_one_name(text in "[a-f0-9]{30,33}-[0-9a-g]{0,4}-[0-9a-g]{0,17}") {
            if let Some(name) = SlotName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
