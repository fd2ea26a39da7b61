//! Reusable slots of shared memory: tensors change hands without a new file each.
//!
//! A pool is one file of a [`crate::SharedFolder`], `pool-` and 32 random characters. **One
//! process writes it**, its owner, which keeps it mapped; readers map it once and keep that map.
//! `docs/formats/shared-memory.md` has the layout and the table of crashes; this is the protocol.
//!
//! # Parties and state
//!
//! Each slot has one atomic word, its *generation* and its *phase* ([`word`]), and one byte of
//! the file whose **lock** says that it is being read. Locks are those of open file descriptions
//! (`F_OFD_SETLK`): the kernel drops them when a process ends, however it ends, so a hold cannot
//! leak and no process id has to be trusted. Another byte's lock says that the owner lives.
//!
//! | from | to | who | how |
//! |---|---|---|---|
//! | free *g* | writing *g* + 1 | owner | compare and exchange, fence, then: no reader's lock? |
//! | writing *g* | free *g* | owner | a reader's lock was found, or the writer was dropped |
//! | writing *g* | leased *g* | owner | store, after the bytes |
//! | leased *g* | free *g* | whoever ends the request | compare and exchange |
//! | leased *g* | writing *g* + 1 | owner | as from free, if the lease is older than requests live and no other slot is free |
//!
//! A reader (1) takes a shared lock on the slot's byte, (2) fences, (3) compares the word with
//! *leased g* of its lease: equal, it may read until it drops the lock; else the lease has ended.
//!
//! # Why nobody writes what somebody reads
//!
//! Say a reader reads under a lease of generation *g*. Its lock (1) came before its look (3),
//! which found *leased g*. The owner can only write in *writing h* with *h* > *g*: generations
//! only grow, and the one time in *writing g* was over when *leased g* was stored. It got there by
//! a compare and exchange (a), a fence, and a look for locks (b). With fences between (1) and (3)
//! and between (a) and (b), either (3) sees (a), and the reader is refused, or (b) sees the lock,
//! and the owner gives up. So while a reader holds, no claim succeeds. The bytes that it sees are
//! those of *g*: the store of *leased g* is a release, the look an acquire. When it lets go, a
//! fence comes before the unlock, and the owner's after (b), so that the reader's last read
//! happens before the owner's first write. Loom runs these functions in [`word`]'s tests with
//! locks that order nothing by themselves.
//!
//! Releasing says nothing about readers: a lease may end while its bytes are in use. And a
//! release of generation *g* changes nothing once the slot has gone on.
//!
//! # Why nothing stays for ever, and nobody waits
//!
//! No step waits for another process. A dead reader's locks are gone. A dead owner's pool is never
//! written again; whoever ends its last lease removes the file, and whoever makes a pool in the
//! folder, or sweeps it, removes those with no lease that can still be alive. The lease of a dead
//! driver is ended by age. A reader that was stopped for ever costs the slot it holds; when no
//! slot is left, tensors go to files of their own, and then into the frame.

mod layout;
mod memory;
mod orphans;
mod owner;
mod reader;
mod step;
#[cfg(test)]
mod tests;
mod word;

pub(crate) use layout::{POOL_PREFIX, SlotName};
pub(crate) use orphans::{is_forgotten, is_older, leases, memory_bytes};
pub use owner::{PoolLimits, SlotPool, SlotWriter};
pub(crate) use reader::Readers;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
