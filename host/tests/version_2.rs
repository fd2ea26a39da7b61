//! Version 2 on a file tree that looks like the kernel's: which group is chosen
//! as parent, and what is written into a new one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step ends the test")]

use std::fs;
use std::path::{Path, PathBuf};
use tranche_host::{Cgroups, Limits};
use tranche_schema::{ByteCount, LimitsEnforced, MilliCpu};

const LIMITS: Limits = Limits { memory: Some(ByteCount::mebibytes(64)), cpu: Some(MilliCpu(1500)) };

/// A machine whose only process stands in `own`.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(own: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
        machine.write("proc/self/cgroup", &format!("0::{own}\n"));
        machine.group("", "cpu memory pids", "cpu memory pids", "");
        machine
    }

    /// Writes the kernel's files of a group; only the kernel's root has no type.
    fn group(&self, path: &str, available: &str, enabled: &str, processes: &str) {
        let file = |name: &str, text: &str| self.write(&format!("sys/fs/cgroup{path}/{name}"), text);
        file("cgroup.controllers", available);
        file("cgroup.subtree_control", enabled);
        file("cgroup.procs", processes);
        if !path.is_empty() {
            file("cgroup.type", "domain");
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn groups(&self) -> Cgroups {
        Cgroups::detect_below(self.0.path())
    }

    fn path(&self, group: &str) -> PathBuf {
        self.0.path().join("sys/fs/cgroup").join(group)
    }

    fn text(&self, group: &str, name: &str) -> String {
        fs::read_to_string(self.path(group).join(name)).unwrap()
    }
}

fn parent(groups: &Cgroups) -> &Path {
    &groups.hierarchies()[0].parent
}

#[test]
fn limits_are_written_as_the_kernel_reads_them() {
    let machine = Machine::new("/app.slice/run.scope");
    machine.group("/app.slice", "cpu memory", "cpu memory", "");
    machine.group("/app.slice/run.scope", "cpu memory", "", "41\n");
    let group = machine.groups().create("tranche-x", LIMITS).unwrap();
    assert_eq!(group.enforced(), LimitsEnforced { memory: true, cpu: true });
    assert_eq!(group.notice(), None);
    let text = |name| machine.text("app.slice/tranche-x", name);
    assert_eq!(text("memory.max"), "67108864");
    assert_eq!(text("memory.swap.max"), "0");
    assert_eq!(text("memory.oom.group"), "1");
    assert_eq!(text("cpu.max"), "30000 20000");
}

#[test]
fn a_group_with_processes_is_no_parent() {
    let machine = Machine::new("/app.slice/run.scope");
    machine.group("/app.slice", "cpu memory", "", "");
    machine.group("/app.slice/run.scope", "cpu memory", "", "41\n");
    let groups = machine.groups();
    assert_eq!(parent(&groups), machine.path("app.slice"));
    groups.create("tranche-x", LIMITS).unwrap();
    assert_eq!(machine.text("app.slice", "cgroup.subtree_control"), "+memory +cpu");
}

#[test]
fn a_farther_group_with_both_controllers_beats_a_nearer_with_one() {
    let machine = Machine::new("/user.slice/session.scope");
    machine.group("/user.slice", "memory", "memory", "");
    machine.group("/user.slice/session.scope", "memory", "", "41\n");
    assert_eq!(parent(&machine.groups()), machine.path(""));
}

#[test]
fn a_missing_controller_is_told_and_no_error() {
    let machine = Machine::new("/");
    machine.group("", "memory cpu", "memory", "1\n41\n");
    // In a container the visible root is no kernel root and holds processes.
    machine.write("sys/fs/cgroup/cgroup.type", "domain");
    let group = machine.groups().create("tranche-x", LIMITS).unwrap();
    assert_eq!(group.enforced(), LimitsEnforced { memory: true, cpu: false });
    let notice = group.notice().unwrap().to_owned();
    assert!(notice.starts_with("CPU is not limited: "), "{notice}");
    assert!(notice.contains("Delegate=yes"), "{notice}");
}

#[test]
fn no_control_groups_is_told_and_no_error() {
    let empty = tempfile::tempdir().unwrap();
    let groups = Cgroups::detect_below(empty.path());
    let group = groups.create("tranche-x", LIMITS).unwrap();
    assert!(group.is_nowhere());
    assert_eq!(group.notice(), Some("memory and CPU are not limited: no control groups are mounted"));
    let unlimited = groups.create("tranche-x", Limits::default()).unwrap();
    assert_eq!(unlimited.notice(), None);
}

#[test]
fn counters_are_read() {
    let machine = Machine::new("/");
    let group = machine.groups().create("tranche-x", LIMITS).unwrap();
    machine.write("sys/fs/cgroup/tranche-x/memory.peak", "4096\n");
    machine.write("sys/fs/cgroup/tranche-x/memory.events", "low 0\nmax 7\noom 3\noom_kill 2\n");
    assert_eq!(group.memory_peak(), Some(ByteCount(4096)));
    assert_eq!(group.memory_current(), None);
    assert_eq!(group.oom_kills(), 2);
}

#[test]
fn stale_groups_are_found_by_prefix() {
    let machine = Machine::new("/");
    for name in ["tranche-1-a", "tranche-1-b", "tranche-2-a", "other"] {
        fs::create_dir(machine.path(name)).unwrap();
    }
    let groups = machine.groups();
    assert_eq!(groups.find("tranche-1-").len(), 2);
    assert_eq!(groups.remove_all("tranche-1-", std::time::Duration::ZERO).unwrap(), 2);
    assert_eq!(groups.find("tranche-").len(), 1);
    assert!(machine.path("other").exists());
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let machine = Machine::new("/");
    for name in ["", "..", "a/b", "/a", "memory.max", "cgroup.procs", ".hidden", "a b"] {
        assert!(machine.groups().create(name, LIMITS).is_err(), "{name}");
    }
}
