//! What CPU there is.

use crate::cgroup::mounts;
use std::path::Path;
use tranche_schema::MilliCpu;

/// The CPU's name as the kernel gives it, else the architecture.
#[must_use]
pub fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name).and_then(
            |(_, value)| {
                let value = value.trim();
                (!value.is_empty()).then(|| value.to_owned())
            },
        )
    };
    field("model name")
        .or_else(|| field("Model"))
        .or_else(|| field("Hardware"))
        .or_else(|| field("CPU part").map(|part| format!("{} part {part}", std::env::consts::ARCH)))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// CPUs this process may use: affinity and quota, at least 1.
#[must_use]
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The CPU quota this process runs under: the smallest of its own control
/// group's and those above that can be seen; `None` without one.
#[must_use]
pub fn own_cpu_share() -> Option<MilliCpu> {
    own_cpu_share_below(Path::new("/"))
}

pub(crate) fn own_cpu_share_below(root: &Path) -> Option<MilliCpu> {
    let places = mounts::places(root);
    let mut smallest: Option<MilliCpu> = None;
    for place in places.iter().filter(|place| place.carries("cpu")) {
        for folder in place.own_and_ancestors() {
            let share = quota_of(&folder);
            smallest = match (smallest, share) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    smallest
}

fn quota_of(folder: &Path) -> Option<MilliCpu> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (quota, period) = match std::fs::read_to_string(folder.join("cpu.max")) {
        Ok(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (number(quota)?, number(period)?)
        }
        Err(_) => {
            let read = |name| std::fs::read_to_string(folder.join(name)).ok();
            // -1, for no quota, is no u64.
            (number(&read("cpu.cfs_quota_us")?)?, number(&read("cpu.cfs_period_us")?)?)
        }
    };
    u32::try_from((quota * 1000).checked_div(period)?).ok().map(MilliCpu)
}
