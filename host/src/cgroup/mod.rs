//! One interface over control groups of version 1 and 2.

mod group;
pub(crate) mod mounts;

pub use group::{ControlGroup, GroupFolder};

use crate::HostError;
use mounts::Place;
use rustix::fs::Access;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tranche_schema::{ByteCount, LimitsEnforced, MilliCpu};

/// What a group is held to; `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, with swap shut off.
    pub memory: Option<ByteCount>,
    /// CPU time per wall time.
    pub cpu: Option<MilliCpu>,
}

/// A place where groups can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// 1 or 2.
    pub version: u8,
    /// The group below which new groups are made.
    pub parent: PathBuf,
    /// Whether it can limit memory.
    pub memory: bool,
    /// Whether it can limit CPU.
    pub cpu: bool,
}

/// The control groups of this machine, as far as this process may use them.
///
/// Serialised, it lets another process find the groups made from it, wherever
/// that process itself stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    notices: Vec<String>,
}

impl Cgroups {
    /// Looks for hierarchies in which groups with memory and CPU limits can be
    /// made. Changes nothing.
    ///
    /// New groups stand beside this process's own group, or beside the nearest
    /// group above it where that is allowed: its own may end before they do,
    /// and in version 2 a group that holds processes cannot limit its children.
    #[must_use]
    pub fn detect() -> Self {
        Self::detect_below(Path::new("/"))
    }

    /// [`Cgroups::detect`] with `proc` and `sys` read below `root`.
    #[must_use]
    pub fn detect_below(root: &Path) -> Self {
        let places = mounts::places(root);
        let mut notices = Vec::new();
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for place in places.iter().filter(|place| place.carries("memory") || place.carries("cpu")) {
            match hierarchy(place) {
                Ok(found) => {
                    let missing = |has: bool, wanted: &str| !has && place.carries(wanted);
                    if missing(found.memory, "memory") || missing(found.cpu, "cpu") {
                        notices.push(format!(
                            "{} is not delegated all of memory and cpu; run under `systemd-run --user --scope -p Delegate=yes`, or as root",
                            found.parent.display()
                        ));
                    }
                    hierarchies.push(found);
                }
                Err(reason) => notices.push(reason),
            }
        }
        if places.is_empty() {
            notices.push("no control groups are mounted".to_owned());
        } else if !places.iter().any(|place| place.carries("memory") || place.carries("cpu")) {
            notices.push("the control groups mounted have neither memory nor cpu".to_owned());
        }
        Self { hierarchies, notices }
    }

    /// Groups of no kind: for a caller that wants no limits.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Where groups would be made.
    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// What could be limited here, if the kernel agrees.
    #[must_use]
    pub fn available(&self) -> LimitsEnforced {
        LimitsEnforced {
            memory: self.hierarchies.iter().any(|hierarchy| hierarchy.memory),
            cpu: self.hierarchies.iter().any(|hierarchy| hierarchy.cpu),
        }
    }

    /// Why something cannot be limited.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        (!self.notices.is_empty()).then(|| self.notices.join("; "))
    }

    /// Makes the group `name` with `limits`. An empty group of that name, left
    /// by a dead process, is replaced.
    ///
    /// A limit that cannot be set is no error: [`ControlGroup::enforced`] tells
    /// which are, [`ControlGroup::notice`] why others are not.
    ///
    /// # Errors
    /// When the name cannot name a group, or the group holds processes.
    pub fn create(&self, name: &str, limits: Limits) -> Result<ControlGroup, HostError> {
        check_name(name)?;
        let mut group = ControlGroup::default();
        let mut notices = Vec::new();
        for hierarchy in &self.hierarchies {
            let wanted =
                (hierarchy.memory && limits.memory.is_some()) || (hierarchy.cpu && limits.cpu.is_some());
            // Version 2 groups are made in any case: they count and kill as one.
            if !wanted && hierarchy.version == 1 && !hierarchy.memory {
                continue;
            }
            match make_folder(hierarchy, name) {
                Ok(folder) => {
                    group.set_limits(folder, limits, &mut notices);
                }
                Err(Made::InUse(path)) => {
                    let _ = group.remove(Duration::ZERO);
                    return Err(HostError::GroupInUse { path });
                }
                Err(Made::Refused(path, error)) => {
                    notices.push(format!("cannot make {}: {error}", path.display()));
                }
            }
        }
        let enforced = group.enforced();
        let lacking =
            (limits.memory.is_some() && !enforced.memory) || (limits.cpu.is_some() && !enforced.cpu);
        if lacking {
            let what =
                match (limits.memory.is_some() && !enforced.memory, limits.cpu.is_some() && !enforced.cpu) {
                    (true, true) => "memory and CPU are",
                    (true, false) => "memory is",
                    _ => "CPU is",
                };
            let mut reasons = notices;
            reasons.extend(self.notices.iter().cloned());
            group.set_notice(format!("{what} not limited: {}", reasons.join("; ")));
        }
        Ok(group)
    }

    /// Groups below the usual parents whose name starts with `prefix`.
    #[must_use]
    pub fn find(&self, prefix: &str) -> Vec<ControlGroup> {
        let mut groups: std::collections::BTreeMap<String, ControlGroup> = std::collections::BTreeMap::new();
        for hierarchy in &self.hierarchies {
            let Ok(entries) = std::fs::read_dir(&hierarchy.parent) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with(prefix) && entry.path().is_dir() {
                    let folder = GroupFolder {
                        version: hierarchy.version,
                        path: entry.path(),
                        memory: hierarchy.memory,
                        cpu: hierarchy.cpu,
                    };
                    groups.entry(name).or_default().push_folder(folder);
                }
            }
        }
        groups.into_values().collect()
    }

    /// Kills and removes every group of [`Cgroups::find`]; returns how many.
    ///
    /// # Errors
    /// When one of them is not empty after `deadline`.
    pub fn remove_all(&self, prefix: &str, deadline: Duration) -> Result<usize, HostError> {
        let groups = self.find(prefix);
        for group in &groups {
            group.kill(deadline)?;
            group.remove(deadline)?;
        }
        Ok(groups.len())
    }
}

fn check_name(name: &str) -> Result<(), HostError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // A name with a dot may clash with a file of the kernel's (`memory.max`).
    let clashes =
        ["cgroup.", "memory.", "cpu.", "cpuset.", "io.", "pids."].iter().any(|p| name.starts_with(p));
    if name.is_empty() || name.len() > 200 || !name.chars().all(allowed) || name.starts_with('.') || clashes {
        return Err(HostError::GroupName { name: name.to_owned() });
    }
    Ok(())
}

enum Made {
    InUse(PathBuf),
    Refused(PathBuf, io::Error),
}

fn make_folder(hierarchy: &Hierarchy, name: &str) -> Result<GroupFolder, Made> {
    if hierarchy.version == 2 {
        enable(hierarchy);
    }
    let path = hierarchy.parent.join(name);
    let mut made = std::fs::create_dir(&path);
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        if !group::members(&path).is_empty() {
            return Err(Made::InUse(path));
        }
        made = std::fs::remove_dir(&path).and_then(|()| std::fs::create_dir(&path));
    }
    match made {
        Ok(()) => {
            Ok(GroupFolder { version: hierarchy.version, path, memory: hierarchy.memory, cpu: hierarchy.cpu })
        }
        Err(error) => Err(Made::Refused(path, error)),
    }
}

/// Turns controllers on for the children of a version 2 group. Failures show
/// when the limit is set.
fn enable(hierarchy: &Hierarchy) {
    let path = hierarchy.parent.join("cgroup.subtree_control");
    let enabled = words(&path);
    let wanted: Vec<String> = [("memory", hierarchy.memory), ("cpu", hierarchy.cpu)]
        .iter()
        .filter(|(name, carried)| *carried && !enabled.iter().any(|known| known == name))
        .map(|(name, _)| format!("+{name}"))
        .collect();
    if wanted.is_empty() || std::fs::write(&path, wanted.join(" ")).is_ok() {
        return;
    }
    for one in wanted {
        let _ = std::fs::write(&path, one);
    }
}

fn words(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The nearest group above the own one that can hold limited children, else the
/// one that can limit something, else why there is none.
fn hierarchy(place: &Place) -> Result<Hierarchy, String> {
    let mut folders = place.own_and_ancestors();
    if folders.len() > 1 {
        folders.rotate_left(1);
    }
    let mut best: Option<Hierarchy> = None;
    for parent in folders {
        if !writable(&parent) {
            continue;
        }
        let candidate = match place.version {
            2 => candidate_v2(place, parent),
            _ => Some(Hierarchy {
                version: 1,
                parent,
                memory: place.carries("memory"),
                cpu: place.carries("cpu"),
            }),
        };
        let Some(candidate) = candidate else { continue };
        let score = |hierarchy: &Hierarchy| u8::from(hierarchy.memory) + u8::from(hierarchy.cpu);
        if best.as_ref().is_none_or(|known| score(&candidate) > score(known)) {
            best = Some(candidate);
        }
    }
    best.ok_or_else(|| {
        format!(
            "no group at or above {} may be changed by this user; run under `systemd-run --user --scope -p Delegate=yes`, or as root",
            place.own.display()
        )
    })
}

fn candidate_v2(place: &Place, parent: PathBuf) -> Option<Hierarchy> {
    // Moving a process needs the right to write to the nearest group above both ends.
    if !writable(&parent.join("cgroup.procs")) {
        return None;
    }
    let available = words(&parent.join("cgroup.controllers"));
    let enabled = words(&parent.join("cgroup.subtree_control"));
    let is_kernel_root = parent == place.mount && !parent.join("cgroup.type").exists();
    let may_enable = writable(&parent.join("cgroup.subtree_control"))
        && (is_kernel_root || group::members(&parent).is_empty());
    let carries = |name: &str| {
        enabled.iter().any(|known| known == name)
            || (may_enable && available.iter().any(|known| known == name))
    };
    Some(Hierarchy { version: 2, memory: carries("memory"), cpu: carries("cpu"), parent })
}

fn writable(path: &Path) -> bool {
    rustix::fs::access(path, Access::WRITE_OK).is_ok()
}
