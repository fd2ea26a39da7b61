//! Slots of shared memory: their life, their limits, and who may not touch them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tranche_schema::{Codec, Tensor};
use tranche_transport::{
    CodedTensor, FrameLimits, LeaseReference, Payload, Placement, PoolLimits, SharedError, SharedFolder,
    SlotPool,
};

fn folder() -> (TempDir, SharedFolder) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = SharedFolder::create(&temporary.path().join("shared")).unwrap();
    (temporary, folder)
}

/// Four slots of 16 KiB and one of 64 KiB, and memory for four of the small ones.
fn small(lease_lifetime: Duration) -> PoolLimits {
    PoolLimits { total_bytes: 64 << 10, lease_lifetime }
}

const LONG: Duration = Duration::from_secs(3600);

fn files(folder: &SharedFolder) -> Vec<PathBuf> {
    std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn is_slot(lease: &LeaseReference) -> bool {
    lease.name.contains('-')
}

fn is_released(result: Result<Bytes, SharedError>) -> bool {
    matches!(result, Err(SharedError::Released { .. }))
}

#[test]
fn what_is_written_in_place_is_read_in_place() {
    let (_temporary, folder) = folder();
    let mut writer = folder.reserve(100_000).unwrap();
    writer.fill(9);
    let lease = writer.publish();
    let (first, second) = (folder.map(&lease).unwrap(), folder.map(&lease).unwrap());
    assert_eq!(first, vec![9; 100_000]);
    assert_eq!(first.as_ptr(), second.as_ptr());
    assert!((first.as_ptr() as usize).is_multiple_of(4096));
    let part = LeaseReference { offset: 99_999, length: 1, ..lease };
    assert_eq!(folder.map(&part).unwrap(), vec![9]);
}

#[test]
fn a_slot_is_used_again_and_its_old_leases_are_refused() {
    let (_temporary, folder) = folder();
    let first = folder.place(b"first").unwrap();
    assert_eq!(folder.leases().unwrap(), 1);
    folder.release(&first.name).unwrap();
    assert!(is_released(folder.map(&first)));
    let second = folder.place(b"again").unwrap();
    let slot = |lease: &LeaseReference| lease.name.rsplit_once('-').unwrap().0.to_owned();
    assert_eq!(slot(&first), slot(&second));
    assert!(is_released(folder.map(&first)));
    folder.release(&first.name).unwrap();
    assert_eq!(folder.map(&second).unwrap(), "again");
}

/// The driver may end a request while an engine still reads its inputs.
#[test]
fn bytes_outlive_their_lease_and_their_owner() {
    let (_temporary, folder) = folder();
    let pool = SlotPool::create(&folder, small(LONG)).unwrap();
    let lease = pool.write(&[1; 10_000]).unwrap();
    let held = folder.map(&lease).unwrap();
    let copy = held.clone();
    drop(held);
    folder.release(&lease.name).unwrap();
    for filled in 2..20 {
        let lease = pool.write(&[filled; 10_000]).unwrap();
        folder.release(&lease.name).unwrap();
    }
    drop(pool);
    drop(folder);
    assert_eq!(copy, vec![1; 10_000]);
}

#[test]
fn a_writer_that_is_dropped_gives_its_slot_back() {
    let (_temporary, folder) = folder();
    let pool = SlotPool::create(&folder, small(LONG)).unwrap();
    for _ in 0..20 {
        drop(pool.reserve(64 << 10).unwrap());
    }
    assert_eq!(folder.leases().unwrap(), 0);
}

#[test]
fn a_full_pool_refuses_and_tensors_go_to_files_instead() {
    let (_temporary, folder) = folder();
    let pool = SlotPool::create(&folder, small(LONG)).unwrap();
    let leases: Vec<_> = (0..4).map(|_| pool.write(&[1; 16 << 10]).unwrap()).collect();
    for bytes in [1, 16 << 10, 64 << 10, 65 << 10, usize::MAX] {
        assert!(matches!(pool.reserve(bytes), Err(SharedError::PoolFull { .. })), "{bytes}");
    }
    assert_eq!(pool.allocated_bytes(), 64 << 10);
    folder.release(&leases[2].name).unwrap();
    assert!(pool.reserve(1).is_ok());
    // Larger than the largest slot of the folder's own pool.
    let large = vec![5; (64 << 20) + 1];
    let lease = folder.place(&large).unwrap();
    assert!(!is_slot(&lease));
    assert_eq!(folder.map(&lease).unwrap(), large);
}

/// Outputs that were small once may be large later.
#[test]
fn unused_slots_give_their_memory_to_others() {
    let (_temporary, folder) = folder();
    let pool = SlotPool::create(&folder, small(LONG)).unwrap();
    let leases: Vec<_> = (0..4).map(|_| pool.write(&[1; 16 << 10]).unwrap()).collect();
    leases.iter().for_each(|lease| folder.release(&lease.name).unwrap());
    let lease = pool.write(&[2; 64 << 10]).unwrap();
    assert_eq!(pool.allocated_bytes(), 64 << 10);
    assert_eq!(folder.map(&lease).unwrap(), vec![2; 64 << 10]);
}

/// A driver that died ends no leases. Nobody's bytes change under them for that.
#[test]
fn old_leases_end_when_slots_are_needed_but_not_while_they_are_read() {
    let (_temporary, folder) = folder();
    let pool = SlotPool::create(&folder, small(Duration::ZERO)).unwrap();
    let leases: Vec<_> = (0..4).map(|filled| pool.write(&[filled; 16 << 10]).unwrap()).collect();
    let read = folder.map(&leases[0]).unwrap();
    let new = pool.write(&[4; 16 << 10]).unwrap();
    assert_eq!(read, vec![0; 16 << 10]);
    assert_eq!(folder.map(&leases[0]).unwrap(), read);
    assert!(is_released(folder.map(&leases[1])));
    assert_eq!(folder.map(&new).unwrap(), vec![4; 16 << 10]);
    // One piece of all the memory: what is not read gives its own, and that is not enough.
    assert!(matches!(pool.reserve(64 << 10), Err(SharedError::PoolFull { .. })));
    drop(read);
    assert!(pool.reserve(64 << 10).is_ok());
}

#[test]
fn a_pool_goes_with_its_owner_or_its_last_lease() {
    let (_temporary, folder) = folder();
    let pool = SlotPool::create(&folder, small(LONG)).unwrap();
    let (first, second) = (pool.write(b"1").unwrap(), pool.write(b"2").unwrap());
    drop(pool);
    folder.release(&first.name).unwrap();
    assert_eq!(folder.sweep(LONG).unwrap().files, 0);
    assert_eq!(folder.map(&second).unwrap(), "2");
    folder.release(&second.name).unwrap();
    assert_eq!(files(&folder), Vec::<PathBuf>::new());
    drop(SlotPool::create(&folder, small(LONG)).unwrap());
    assert_eq!(files(&folder), Vec::<PathBuf>::new());
}

#[test]
fn a_living_owners_pool_is_never_swept() {
    let (_temporary, folder) = folder();
    let lease = folder.place(b"kept").unwrap();
    assert_eq!(SharedFolder::open(folder.path()).unwrap().sweep(Duration::ZERO).unwrap().files, 0);
    assert_eq!(folder.map(&lease).unwrap(), "kept");
}

/// Cleaners of /tmp remove what nobody has written to for days.
#[test]
fn a_pool_whose_file_was_removed_is_made_anew() {
    let (_temporary, folder) = folder();
    let lost = folder.place(b"lost").unwrap();
    files(&folder).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let reader = SharedFolder::open(folder.path()).unwrap();
    assert!(is_released(reader.map(&lost)));
    let lease = folder.place(b"found").unwrap();
    assert!(is_slot(&lease));
    assert_eq!(reader.map(&lease).unwrap(), "found");
}

#[test]
fn only_the_owner_reads_pools() {
    let (_temporary, folder) = folder();
    let lease = folder.place(b"secret").unwrap();
    let [file] = &files(&folder)[..] else { panic!("one pool") };
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = SharedFolder::open(folder.path()).unwrap().map(&lease).unwrap_err();
    assert!(error.to_string().contains("this user alone"), "{error}");
}

#[test]
fn links_and_files_that_are_no_pools_are_refused() {
    let (_temporary, folder) = folder();
    let elsewhere = SharedFolder::create(&folder.path().join("elsewhere")).unwrap();
    elsewhere.place(b"real").unwrap();
    let names = ["a", "b", "c", "d"].map(|letter| letter.repeat(32));
    let path = |index: usize| folder.path().join(format!("pool-{}", names[index]));
    symlink(&files(&elsewhere)[0], path(0)).unwrap();
    std::fs::write(path(1), vec![0; 8192]).unwrap();
    std::fs::write(path(2), b"TRNPOOL1").unwrap();
    rustix::fs::mkdir(path(3), rustix::fs::Mode::RWXU).unwrap();
    for file in [1, 2].map(path) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    for name in &names {
        let lease = LeaseReference { name: format!("{name}-0-1"), offset: 0, length: 4 };
        assert!(folder.map(&lease).is_err(), "mapped {name}");
        assert!(folder.release(&lease.name).is_err(), "released {name}");
    }
    assert_eq!(folder.sweep(LONG).unwrap().files, 0);
    assert_eq!(folder.sweep(Duration::ZERO).unwrap().files, 2);
    assert!(path(0).is_symlink());
}

/// A whole pool is not a lease: a map of it would be rewritten, its removal would hit others.
#[test]
fn pools_are_not_mapped_or_removed_by_their_files_name() {
    let (_temporary, folder) = folder();
    folder.place(b"x").unwrap();
    let name = files(&folder)[0].file_name().unwrap().to_str().unwrap().to_owned();
    let lease = LeaseReference { name: name.clone(), offset: 0, length: 1 };
    assert!(matches!(folder.map(&lease), Err(SharedError::Name { .. })));
    assert!(matches!(folder.release(&name), Err(SharedError::Name { .. })));
}

#[test]
fn leases_beyond_their_slot_are_refused() {
    let (_temporary, folder) = folder();
    let lease = folder.place(&[1; 100]).unwrap();
    for (offset, length) in [(0, (16 << 10) + 1), (16 << 10, 1), (u64::MAX, 1), (0, u64::MAX)] {
        assert!(
            folder.map(&LeaseReference { offset, length, ..lease.clone() }).is_err(),
            "{offset} + {length}"
        );
    }
    let pool = lease.name.split('-').next().unwrap();
    for name in [format!("{pool}-0-0"), format!("{pool}-0-2"), format!("{pool}-1-1"), format!("{pool}-fff-1")]
    {
        assert!(is_released(folder.map(&LeaseReference { name: name.clone(), ..lease.clone() })), "{name}");
        folder.release(&name).unwrap();
    }
    assert!(folder.map(&lease).is_ok());
}

#[test]
fn shared_tensors_travel_in_slots() {
    let (_temporary, folder) = folder();
    let reader = SharedFolder::open(folder.path()).unwrap();
    let tensor = Tensor::from_f32(vec![1000], &[2.5; 1000]).unwrap();
    for codec in [Codec::Raw, Codec::Zstd] {
        let coded = CodedTensor::encode("x", &tensor, codec, Placement::Shared(&folder)).unwrap();
        let Payload::Lease(lease) = &coded.payload else { panic!("{coded:?}") };
        assert!(is_slot(lease) && lease.is_valid());
        assert_eq!(coded.decode(&FrameLimits::default(), Some(&reader)).unwrap(), tensor);
        reader.release(&lease.name).unwrap();
    }
}

/// What this process holds: mapped ranges, open files, memory of the folder's files.
fn held(folder: &SharedFolder) -> (usize, usize, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let shared = folder.path().to_str().unwrap();
    let blocks = files(folder).iter().map(|file| std::fs::metadata(file).unwrap().blocks()).sum();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter(|entry| entry.path().read_link().is_ok_and(|link| link.starts_with(shared)));
    (maps.lines().filter(|line| line.contains(shared)).count(), open.count(), blocks)
}

#[test]
fn a_thousand_rounds_leave_memory_flat() {
    let (_temporary, folder) = folder();
    let reader = SharedFolder::open(folder.path()).unwrap();
    let content = vec![7; 1 << 20];
    let round = |_: usize| {
        let lease = folder.place(&content).unwrap();
        assert_eq!(reader.map(&lease).unwrap().last(), Some(&7));
        reader.release(&lease.name).unwrap();
    };
    (0..3).for_each(round);
    let before = held(&folder);
    (0..1000).for_each(round);
    assert_eq!(held(&folder), before);
}

/// Threads that write and read as fast as they can, over the real words and locks.
#[test]
fn readers_at_full_speed_see_what_was_written() {
    const ROUNDS: u32 = 5_000;
    let (_temporary, folder) = folder();
    let pool = SlotPool::create(&folder, small(LONG)).unwrap();
    let (send, receive) = std::sync::mpsc::sync_channel::<(LeaseReference, u32)>(8);
    let receive = std::sync::Mutex::new(receive);
    let read = || {
        let own = SharedFolder::open(folder.path()).unwrap();
        loop {
            let Ok((lease, filled)) = receive.lock().unwrap().recv() else { break };
            let view = own.map(&lease).unwrap();
            own.release(&lease.name).unwrap();
            // The lease has ended; the bytes must stay all the same.
            let words = view.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
            assert!(words.into_iter().all(|word| word == filled));
        }
    };
    std::thread::scope(|scope| {
        let readers = [(); 3].map(|()| scope.spawn(read));
        let mut filled = 0;
        while filled < ROUNDS {
            let Ok(mut writer) = pool.reserve(8192) else {
                std::thread::yield_now();
                continue;
            };
            filled += 1;
            writer.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&filled.to_le_bytes()));
            send.send((writer.publish(), filled)).unwrap();
        }
        drop(send);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(folder.leases().unwrap(), 0);
}
