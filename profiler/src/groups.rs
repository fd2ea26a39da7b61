//! Control groups that hold measuring processes to a size.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tranche_host::{Cgroups, ControlGroup, Limits};
use tranche_schema::LimitsEnforced;

/// How long a killed process may take to be gone.
const DEADLINE: Duration = Duration::from_secs(5);
/// Names of groups begin so; the id of the process that made them follows.
const PREFIX: &str = "tranche-measure-";

/// Makes groups, where this machine lets it.
pub(crate) struct Groups {
    cgroups: Cgroups,
}

impl Groups {
    /// Those of this machine. Removes what processes that are gone have left.
    pub fn new() -> Self {
        let cgroups = Cgroups::detect();
        for group in cgroups.find(PREFIX) {
            if group.folders().iter().any(|folder| is_left(&folder.path)) {
                let _ = group.kill(DEADLINE).and_then(|()| group.remove(DEADLINE));
            }
        }
        Self { cgroups }
    }

    /// What can be limited.
    pub fn available(&self) -> LimitsEnforced {
        self.cgroups.available()
    }

    /// Why not everything can be.
    pub fn notice(&self) -> Option<String> {
        self.cgroups.notice()
    }

    /// A group with these limits, all of them in force; `None` where they cannot be.
    pub fn limited(&self, limits: Limits) -> Option<Group> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}", std::process::id());
        let group = Group(self.cgroups.create(&name, limits).ok()?);
        let set = group.0.enforced();
        let all = (limits.cpu.is_none() || set.cpu) && (limits.memory.is_none() || set.memory);
        all.then_some(group)
    }
}

/// Whether the process that made a group of this path is gone.
fn is_left(path: &std::path::Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    owner.is_some_and(|owner| !std::path::Path::new(&format!("/proc/{owner}")).exists())
}

/// A group that is removed with what is in it when it is dropped.
pub(crate) struct Group(pub ControlGroup);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.0.kill(DEADLINE).and_then(|()| self.0.remove(DEADLINE));
    }
}
