//! `kill -9` at every step of every part: others go on, and what stays can be cleaned up.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{SMALL, folder, names, small_pool};
use crate::pool::step::counting::KILL_AT;
use crate::{LeaseReference, PoolLimits, SharedFolder, SlotPool};

const ROLE: &str = "TRANCHE_TEST_ROLE";
const FOLDER: &str = "TRANCHE_TEST_FOLDER";
const LEASE: &str = "TRANCHE_TEST_LEASE";
const BYTES: usize = 5000;

fn lease(name: &str) -> LeaseReference {
    LeaseReference { name: name.to_owned(), offset: 0, length: BYTES as u64 }
}

/// What the process that is killed does.
#[test]
#[ignore = "runs in processes that the tests below start"]
fn child() {
    let variable = |name| std::env::var(name).unwrap();
    let folder = SharedFolder::open(Path::new(&variable(FOLDER))).unwrap();
    match variable(ROLE).as_str() {
        "writer" => write(&folder),
        "reader" => assert_eq!(folder.map(&lease(&variable(LEASE))).unwrap(), vec![7; BYTES]),
        "releaser" => folder.release(&variable(LEASE)).unwrap(),
        role => panic!("{role}?"),
    }
}

fn write(folder: &SharedFolder) {
    let pool = small_pool(folder);
    drop(pool.reserve(BYTES).unwrap());
    let name = pool.write(&[7; BYTES]).unwrap().name;
    folder.release(&name).unwrap();
    // All the memory there is: the other slots give theirs back.
    pool.write(&[7; SMALL.total_bytes as usize]).unwrap();
}

fn run(role: &str, kill_at: u64, folder: &SharedFolder, lease: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pool::tests::kill::child", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, folder.path())
        .env(LEASE, lease)
        .env(KILL_AT, kill_at.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the {role} hangs when killed at step {kill_at}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills the role at its first step, its second and so on, until it gets through; `around` makes
/// what it works with and looks at what it left. Returns how often it was killed.
fn kill_at_every_step(role: &str, mut around: impl FnMut(&mut dyn FnMut(&SharedFolder, &str))) -> u64 {
    for kill_at in 1.. {
        let mut status = None;
        around(&mut |folder, lease| status = Some(run(role, kill_at, folder, lease)));
        let status = status.unwrap();
        if status.signal() != Some(9) {
            assert!(status.success(), "{role}, step {kill_at}: {status}");
            return kill_at - 1;
        }
    }
    0
}

#[test]
fn a_killed_writer_leaves_nothing_that_is_not_swept() {
    let (_temporary, folder) = folder();
    let bystander = small_pool(&folder);
    let kept = bystander.write(&[3; BYTES]).unwrap();
    let killed = kill_at_every_step("writer", |child| {
        child(&folder, "");
        assert_eq!(folder.map(&kept).unwrap(), vec![3; BYTES]);
        // The next pool made here finds the dead one; a lifetime of nothing ends its leases.
        SlotPool::create(&folder, PoolLimits { lease_lifetime: Duration::ZERO, ..SMALL }).unwrap();
        assert_eq!(names(&folder).len(), 1, "{:?}", names(&folder));
        assert_eq!(folder.leases().unwrap(), 1);
    });
    assert!(killed >= 15, "{killed} steps");
}

#[test]
fn a_killed_reader_holds_no_slot() {
    let (_temporary, folder) = folder();
    let pool = small_pool(&folder);
    let killed = kill_at_every_step("reader", |child| {
        let lease = pool.write(&[7; BYTES]).unwrap();
        assert!(lease.name.contains("-0-"), "the first slot is in use: {}", lease.name);
        child(&folder, &lease.name);
        folder.release(&lease.name).unwrap();
    });
    assert!(killed >= 4, "{killed} steps");
}

#[test]
fn a_killed_releaser_blocks_nobody() {
    let (_temporary, folder) = folder();
    let pool = small_pool(&folder);
    let killed = kill_at_every_step("releaser", |child| {
        let lease = pool.write(&[7; BYTES]).unwrap();
        child(&folder, &lease.name);
        folder.release(&lease.name).unwrap();
        assert_eq!(folder.leases().unwrap(), 0);
    });
    assert!(killed >= 2, "{killed} steps");
}

/// The last lease of a pool whose owner has gone.
#[test]
fn a_killed_releaser_leaves_an_orphan_to_the_sweep() {
    let (_temporary, folder) = folder();
    let killed = kill_at_every_step("releaser", |child| {
        let pool = small_pool(&folder);
        let lease = pool.write(&[7; BYTES]).unwrap();
        drop(pool);
        assert_eq!(folder.map(&lease).unwrap(), vec![7; BYTES], "a pool outlives its owner");
        child(&folder, &lease.name);
        folder.sweep(Duration::ZERO).unwrap();
        assert_eq!(names(&folder), Vec::<String>::new());
    });
    assert!(killed >= 3, "{killed} steps");
}
