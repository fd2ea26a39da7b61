//! Any order of what peers do: no slot is in two hands, and nothing stays when all have gone.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{SMALL, folder, names, small_pool};
use crate::{LeaseReference, SharedError, SharedFolder, SlotPool, SlotWriter};

const PEERS: usize = 3;

#[derive(Clone, Debug)]
enum Act {
    Reserve {
        peer: usize,
        bytes: usize,
    },
    Publish(Index),
    Abandon(Index),
    Map {
        peer: usize,
        lease: Index,
    },
    LetGo(Index),
    Release {
        peer: usize,
        lease: Index,
    },
    /// The peer's process ends and another takes its place.
    Restart {
        peer: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let peer = || 0..PEERS;
    prop_oneof![
        4 => (peer(), 1..40_000_usize).prop_map(|(peer, bytes)| Act::Reserve { peer, bytes }),
        4 => any::<Index>().prop_map(Act::Publish),
        1 => any::<Index>().prop_map(Act::Abandon),
        4 => (peer(), any::<Index>()).prop_map(|(peer, lease)| Act::Map { peer, lease }),
        2 => any::<Index>().prop_map(Act::LetGo),
        3 => (peer(), any::<Index>()).prop_map(|(peer, lease)| Act::Release { peer, lease }),
        1 => peer().prop_map(|peer| Act::Restart { peer }),
    ]
}

struct Peer {
    folder: SharedFolder,
    pool: SlotPool,
}

struct Lease {
    reference: LeaseReference,
    filled: u8,
    ended: bool,
}

/// What is in whose hands, each with the byte that fills it.
struct World {
    peers: Vec<Peer>,
    writers: Vec<(SlotWriter, u8)>,
    leases: Vec<Lease>,
    views: Vec<(Bytes, u8)>,
    next: u8,
}

fn peer(at: &SharedFolder) -> Peer {
    let folder = SharedFolder::open(at.path()).unwrap();
    let pool = small_pool(&folder);
    Peer { folder, pool }
}

fn take<T>(from: &mut Vec<T>, index: Index) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(index.index(from.len())))
}

impl World {
    fn act(&mut self, at: &SharedFolder, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Reserve { peer, bytes } => self.reserve(peer, bytes),
            Act::Publish(index) => {
                if let Some((writer, filled)) = take(&mut self.writers, index) {
                    self.leases.push(Lease { reference: writer.publish(), filled, ended: false });
                }
            }
            Act::Abandon(index) => drop(take(&mut self.writers, index)),
            Act::Map { peer, lease } if !self.leases.is_empty() => {
                let lease = &self.leases[lease.index(self.leases.len())];
                match self.peers[peer].folder.map(&lease.reference) {
                    Ok(view) => {
                        prop_assert!(!lease.ended, "a lease that has ended was mapped");
                        self.views.push((view, lease.filled));
                    }
                    Err(SharedError::Released { .. }) => prop_assert!(lease.ended, "refused while leased"),
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            Act::LetGo(index) => drop(take(&mut self.views, index)),
            Act::Release { peer, lease } if !self.leases.is_empty() => {
                let index = lease.index(self.leases.len());
                let lease = &mut self.leases[index];
                lease.ended = true;
                self.peers[peer].folder.release(&lease.reference.name).unwrap();
            }
            Act::Restart { peer: number } => self.peers[number] = peer(at),
            Act::Map { .. } | Act::Release { .. } => {}
        }
        Ok(())
    }

    fn reserve(&mut self, peer: usize, bytes: usize) {
        let Ok(mut writer) = self.peers[peer].pool.reserve(bytes) else { return };
        self.next = self.next.wrapping_add(1);
        writer.fill(self.next);
        self.writers.push((writer, self.next));
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let full = |bytes: &[u8], filled: u8| bytes.iter().all(|&byte| byte == filled);
        prop_assert!(self.writers.iter().all(|(writer, filled)| full(writer, *filled)));
        prop_assert!(self.views.iter().all(|(view, filled)| full(view, *filled)));
        prop_assert!(self.peers.iter().all(|peer| peer.pool.allocated_bytes() <= SMALL.total_bytes));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_slot_is_in_two_hands_and_nothing_stays(acts in prop::collection::vec(act(), 1..120)) {
        let (_temporary, folder) = folder();
        let peers = (0..PEERS).map(|_| peer(&folder)).collect();
        let mut world = World { peers, writers: vec![], leases: vec![], views: vec![], next: 0 };
        for act in acts {
            world.act(&folder, act)?;
            world.check()?;
        }
        let World { peers, writers, leases, views, .. } = world;
        drop(writers);
        drop(views);
        for lease in &leases {
            folder.release(&lease.reference.name).unwrap();
        }
        prop_assert_eq!(folder.leases().unwrap(), 0);
        for peer in &peers {
            // Everything is free again, also as one piece.
            prop_assert!(peer.pool.reserve(SMALL.total_bytes as usize).is_ok());
        }
        drop(peers);
        prop_assert_eq!(names(&folder), Vec::<String>::new());
    }
}
