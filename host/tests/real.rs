//! On this machine's kernel.
//!
//! The tests of limits need the right to make control groups (root with version
//! 1, root or delegation with version 2). Without it they check instead that the
//! group is made nowhere and that the notice says why.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step ends the test")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tranche_host::{Cgroups, ControlGroup, Limits, Placement, ProcessHandle, Spawned};
use tranche_schema::{ByteCount, MilliCpu};

const DEADLINE: Duration = Duration::from_secs(10);

/// A group that is removed with what is in it, also when a test fails.
struct Removed(ControlGroup);

impl Removed {
    fn new(name: &str, limits: Limits) -> Self {
        let name = format!("tranche-test-{}-{name}", std::process::id());
        Self(Cgroups::detect().create(&name, limits).unwrap())
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = self.0.kill(DEADLINE);
        let _ = self.0.remove(DEADLINE);
    }
}

fn memory(mebibytes: u64) -> Limits {
    Limits { memory: Some(ByteCount::mebibytes(mebibytes)), cpu: None }
}

fn shell(script: &str, group: &ControlGroup) -> Spawned {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
    tranche_host::spawn(command, Placement { group: Some(group), ..Placement::default() }).unwrap()
}

/// `tail` of a stream without newlines keeps all of it in memory.
const ALLOCATE_128_MIB: &str = "head -c 134217728 /dev/zero | tail";

#[test]
fn a_process_over_its_memory_is_killed_and_counted() {
    let group = Removed::new("oom", memory(16));
    if !group.0.enforced().memory {
        assert!(group.0.notice().unwrap().starts_with("memory is not limited: "));
        return;
    }
    let mut spawned = shell(&format!("{ALLOCATE_128_MIB}; exit 3"), &group.0);
    let status = tranche_host::wait_with_deadline(&mut spawned.child, DEADLINE).unwrap().unwrap();
    assert!(status.code() == Some(3) || status.signal() == Some(9), "{status}");
    assert!(group.0.oom_kills() >= 1);
    assert!(group.0.memory_peak().unwrap() >= ByteCount::mebibytes(15));
    assert!(group.0.memory_peak().unwrap() <= ByteCount::mebibytes(16));
}

#[test]
fn a_process_within_its_memory_lives() {
    let group = Removed::new("fits", memory(512));
    let mut spawned = shell(ALLOCATE_128_MIB, &group.0);
    let status = tranche_host::wait_with_deadline(&mut spawned.child, DEADLINE).unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(group.0.oom_kills(), 0);
}

#[test]
fn a_cpu_quota_stretches_time() {
    let group = Removed::new("cpu", Limits { memory: None, cpu: Some(MilliCpu(200)) });
    if !group.0.enforced().cpu {
        assert!(group.0.notice().unwrap().starts_with("CPU is not limited: "));
        return;
    }
    let mut spawned = shell("while :; do :; done", &group.0);
    std::thread::sleep(Duration::from_secs(1));
    let stat = fs::read_to_string(format!("/proc/{}/stat", spawned.child.id())).unwrap();
    spawned.handle.kill().unwrap();
    spawned.child.wait().unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // 100 ticks a second: 20 at the quota, 100 without.
    assert!((1..=40).contains(&ticks), "{ticks} ticks");
}

#[test]
fn killing_a_group_takes_grandchildren_and_leaves_nothing() {
    let group = Removed::new("kill", memory(256));
    if group.0.is_nowhere() {
        assert!(group.0.notice().is_some());
        return;
    }
    let mut spawned = shell("(sleep 60 & sleep 60) & setsid sleep 60 & wait", &group.0);
    assert_eq!(spawned.notice, None);
    wait_until(|| group.0.processes().len() >= 4);
    assert!(group.0.remove(Duration::ZERO).is_err());
    group.0.kill(DEADLINE).unwrap();
    spawned.child.wait().unwrap();
    assert_eq!(group.0.processes(), Vec::<u32>::new());
    group.0.remove(DEADLINE).unwrap();
    assert!(group.0.folders().iter().all(|folder| !folder.path.exists()));
    group.0.remove(DEADLINE).unwrap();
}

#[test]
fn a_group_in_use_is_not_replaced() {
    let group = Removed::new("twice", memory(64));
    if group.0.is_nowhere() {
        assert!(group.0.notice().is_some());
        return;
    }
    let name = group.0.folders()[0].path.file_name().unwrap().to_str().unwrap().to_owned();
    let again = || Cgroups::detect().create(&name, memory(32));
    assert!(again().is_ok());
    let mut spawned = shell("sleep 60", &group.0);
    assert!(matches!(again(), Err(tranche_host::HostError::GroupInUse { .. })));
    spawned.handle.kill().unwrap();
    spawned.child.wait().unwrap();
}

#[test]
fn a_child_dies_with_the_thread_that_started_it() {
    let id = std::thread::spawn(|| {
        let mut command = Command::new("sleep");
        command.arg("60");
        let placement = Placement { die_with_parent: true, new_session: true, group: None };
        let spawned = tranche_host::spawn(command, placement).unwrap();
        (spawned.child.id(), spawned.handle.start_ticks())
    })
    .join()
    .unwrap();
    wait_until(|| ProcessHandle::find(id.0, id.1).is_none());
}

#[test]
fn a_handle_is_of_one_process_only() {
    let mut spawned = shell("sleep 60", &ControlGroup::default());
    let (id, ticks) = (spawned.handle.process_id(), spawned.handle.start_ticks());
    assert!(ProcessHandle::find(id, ticks).is_some());
    assert!(ProcessHandle::find(id, ticks + 1).is_none());
    assert!(!spawned.handle.wait_gone(Duration::ZERO));
    spawned.handle.terminate().unwrap();
    assert!(spawned.handle.wait_gone(DEADLINE));
    spawned.child.wait().unwrap();
    spawned.handle.kill().unwrap();
    assert!(ProcessHandle::find(id, ticks).is_none());
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let missing = tranche_host::spawn(Command::new("/no/such/program"), Placement::default());
    let message = missing.unwrap_err().to_string();
    assert!(message.starts_with("cannot start /no/such/program: "), "{message}");
}

#[test]
fn memory_figures_of_this_process() {
    let me = std::process::id();
    let resident = tranche_host::resident(me).unwrap();
    assert!(resident > ByteCount::mebibytes(1));
    assert!(tranche_host::peak_resident(me).unwrap() >= resident);
    assert!(tranche_host::anonymous_resident(me).unwrap() < resident);
    assert!(tranche_host::start_ticks(me).unwrap() > 0);
    assert!(matches!(tranche_host::resident(u32::MAX), Err(tranche_host::HostError::NoProcess { .. })));
}

#[test]
fn the_peak_can_be_reset() {
    let mut spawned =
        shell("x=$(head -c 33554432 /dev/zero | tr '\\0' a); x=; exec sleep 60", &ControlGroup::default());
    let id = spawned.child.id();
    wait_until(|| tranche_host::peak_resident(id).is_ok_and(|peak| peak > ByteCount::mebibytes(16)));
    wait_until(|| tranche_host::resident(id).is_ok_and(|now| now < ByteCount::mebibytes(8)));
    tranche_host::reset_peak(id).unwrap();
    assert!(tranche_host::peak_resident(id).unwrap() < ByteCount::mebibytes(8));
    spawned.handle.kill().unwrap();
    spawned.child.wait().unwrap();
}

#[test]
fn eviction_empties_the_page_cache() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path: PathBuf = folder.path().join("weights");
    fs::write(&path, vec![7_u8; 8 << 20]).unwrap();
    fs::read(&path).unwrap();
    assert_eq!(tranche_host::cached_share(&path).unwrap(), 1.0);
    tranche_host::evict(&path).unwrap();
    assert!(tranche_host::cached_share(&path).unwrap() < 0.1);
}

#[test]
fn the_cpu_has_a_name_and_a_count() {
    assert!(!tranche_host::cpu_model().is_empty());
    assert!(tranche_host::usable_cpus() >= 1);
    assert!(tranche_host::own_cpu_share().is_none_or(|share| share > MilliCpu(0)));
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "the condition was not met in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}
