use super::Limits;
use crate::HostError;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tranche_schema::{ByteCount, LimitsEnforced, MilliCpu};

/// How often an emptying group is looked at.
const POLL: Duration = Duration::from_millis(5);
/// The quota is granted anew each period. Within the kernel's default of 100 ms
/// a run that is shorter than its quota is not slowed at all; 20 ms comes close
/// to a share.
const PERIOD_MICROS: u64 = 20_000;
/// The kernel takes no smaller quota and no longer period.
const LEAST_QUOTA_MICROS: u64 = 1_000;
const LONGEST_PERIOD_MICROS: u64 = 1_000_000;

/// The folder of a group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFolder {
    /// 1 or 2.
    pub version: u8,
    /// The folder.
    pub path: PathBuf,
    /// Whether memory is counted and limited here.
    pub memory: bool,
    /// Whether CPU time is limited here.
    pub cpu: bool,
}

/// A control group: a folder in each hierarchy that serves.
///
/// Serialised, it lets another process remove the group. Dropping it removes
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroup {
    folders: Vec<GroupFolder>,
    limits: LimitsEnforced,
    notice: Option<String>,
}

impl ControlGroup {
    /// Which limits are set.
    #[must_use]
    pub fn enforced(&self) -> LimitsEnforced {
        self.limits
    }

    /// Why a limit that was asked for is not set.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Its folders.
    #[must_use]
    pub fn folders(&self) -> &[GroupFolder] {
        &self.folders
    }

    /// Whether there is no folder at all: processes in it are not limited,
    /// counted or killed as one.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        self.folders.is_empty()
    }

    /// Moves a process and its threads into the group.
    ///
    /// # Errors
    /// When the process is gone or may not be moved.
    pub fn add(&self, process_id: u32) -> Result<(), HostError> {
        for folder in &self.folders {
            let path = folder.path.join("cgroup.procs");
            std::fs::write(&path, process_id.to_string()).map_err(HostError::file("write", &path))?;
        }
        Ok(())
    }

    /// Holds its processes to another CPU share from now on. Whether it is held to it
    /// then: not where CPU is not limited.
    pub fn limit_cpu(&mut self, share: MilliCpu) -> bool {
        let mut set = false;
        for folder in self.folders.iter().filter(|folder| folder.cpu) {
            set |= set_cpu(folder, share).is_ok();
        }
        self.limits.cpu = set;
        set
    }

    /// Ids of its processes.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.folders.iter().flat_map(|folder| members(&folder.path)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The most memory charged to the group so far, with the page cache it
    /// brought in; `None` where memory is not counted (and before Linux 5.19 in
    /// version 2).
    #[must_use]
    pub fn memory_peak(&self) -> Option<ByteCount> {
        self.memory_number("memory.max_usage_in_bytes", "memory.peak")
    }

    /// The memory charged to the group now, with the page cache it brought in.
    #[must_use]
    pub fn memory_current(&self) -> Option<ByteCount> {
        self.memory_number("memory.usage_in_bytes", "memory.current")
    }

    /// How many of its processes the kernel has killed at the memory limit.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let Some(folder) = self.folders.iter().find(|folder| folder.memory) else { return 0 };
        let name = if folder.version == 2 { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(folder.path.join(name)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Kills every process in the group, and those that they fork meanwhile,
    /// and waits until none is left.
    ///
    /// # Errors
    /// When some are left at the deadline.
    pub fn kill(&self, deadline: Duration) -> Result<(), HostError> {
        let start = Instant::now();
        loop {
            let mut busy = None;
            for folder in &self.folders {
                if !members(&folder.path).is_empty() {
                    busy = Some(&folder.path);
                    kill_once(folder);
                }
            }
            let Some(path) = busy else { return Ok(()) };
            if start.elapsed() >= deadline {
                return Err(HostError::GroupBusy { path: path.clone(), waited: start.elapsed() });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Removes the group. One that is already gone is no error.
    ///
    /// # Errors
    /// When it still holds processes, or the kernel still refuses, at the deadline.
    pub fn remove(&self, deadline: Duration) -> Result<(), HostError> {
        let start = Instant::now();
        for folder in &self.folders {
            // The kernel answers `busy` for a moment after the last process died.
            while let Err(source) = std::fs::remove_dir(&folder.path) {
                if source.kind() == io::ErrorKind::NotFound {
                    break;
                }
                if start.elapsed() >= deadline {
                    if !members(&folder.path).is_empty() {
                        return Err(HostError::GroupBusy {
                            path: folder.path.clone(),
                            waited: start.elapsed(),
                        });
                    }
                    return Err(HostError::file("remove", &folder.path)(source));
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// The files into which a process writes `0` to enter the group.
    pub(crate) fn entrances(&self) -> Vec<(PathBuf, io::Result<File>)> {
        self.folders
            .iter()
            .map(|folder| {
                let path = folder.path.join("cgroup.procs");
                let file = OpenOptions::new().write(true).open(&path);
                (path, file)
            })
            .collect()
    }

    pub(super) fn push_folder(&mut self, folder: GroupFolder) {
        self.folders.push(folder);
    }

    pub(super) fn set_notice(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    /// Takes the folder in and sets what it can limit.
    pub(super) fn set_limits(&mut self, folder: GroupFolder, limits: Limits, notices: &mut Vec<String>) {
        let mut note = |what: &str, error: io::Error| {
            notices.push(format!("{what} of {}: {error}", folder.path.display()));
        };
        if let Some(bytes) = limits.memory.filter(|_| folder.memory) {
            match set_memory(&folder, bytes) {
                Ok(()) => self.limits.memory = true,
                Err(error) => note("memory limit", error),
            }
        }
        if let Some(share) = limits.cpu.filter(|_| folder.cpu) {
            match set_cpu(&folder, share) {
                Ok(()) => self.limits.cpu = true,
                Err(error) => note("CPU quota", error),
            }
        }
        self.folders.push(folder);
    }

    fn memory_number(&self, version_1: &str, version_2: &str) -> Option<ByteCount> {
        let folder = self.folders.iter().find(|folder| folder.memory)?;
        let name = if folder.version == 2 { version_2 } else { version_1 };
        std::fs::read_to_string(folder.path.join(name)).ok()?.trim().parse().ok().map(ByteCount)
    }
}

fn set_memory(folder: &GroupFolder, bytes: ByteCount) -> io::Result<()> {
    let write = |name: &str, value: &str| std::fs::write(folder.path.join(name), value);
    let bytes = bytes.0.to_string();
    if folder.version == 2 {
        write("memory.max", &bytes)?;
        // Absent where the kernel has no swap, or kills single processes only.
        let _ = write("memory.swap.max", "0");
        let _ = write("memory.oom.group", "1");
    } else {
        write("memory.limit_in_bytes", &bytes)?;
        // Memory and swap together; absent without swap accounting.
        let _ = write("memory.memsw.limit_in_bytes", &bytes);
    }
    Ok(())
}

fn set_cpu(folder: &GroupFolder, share: MilliCpu) -> io::Result<()> {
    let (quota, period) = quota_and_period(share);
    let write = |name: &str, value: String| std::fs::write(folder.path.join(name), value);
    if folder.version == 2 {
        write("cpu.max", format!("{quota} {period}"))
    } else {
        write("cpu.cfs_period_us", period.to_string())?;
        write("cpu.cfs_quota_us", quota.to_string())
    }
}

/// Microseconds of CPU time per period, and the period: longer than usual only
/// for shares whose quota would be below the kernel's least.
fn quota_and_period(share: MilliCpu) -> (u64, u64) {
    let share = u64::from(share.0.max(1));
    let period = PERIOD_MICROS.max((LEAST_QUOTA_MICROS * 1000).div_ceil(share)).min(LONGEST_PERIOD_MICROS);
    ((share * period / 1000).max(LEAST_QUOTA_MICROS), period)
}

/// Ids in `cgroup.procs`; 0 stands for a process of another namespace and is
/// left out.
pub(super) fn members(folder: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|id| *id != 0).collect()
}

/// Signals who is in the group now. Where the kernel has handles on processes,
/// an id that was reused in between is not hit.
fn kill_once(folder: &GroupFolder) {
    if folder.version == 2 && std::fs::write(folder.path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let held: Vec<(Pid, Option<OwnedFd>)> = members(&folder.path)
        .into_iter()
        .filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .map(|id| (id, rustix::process::pidfd_open(id, PidfdFlags::empty()).ok()))
        .collect();
    let still: Vec<u32> = members(&folder.path);
    for (id, handle) in held {
        if !still.contains(&id.as_raw_nonzero().get().cast_unsigned()) {
            continue;
        }
        let _ = match handle {
            Some(handle) => rustix::process::pidfd_send_signal(&handle, Signal::KILL),
            None => rustix::process::kill_process(id, Signal::KILL),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_keep_the_share_and_the_kernels_bounds() {
        assert_eq!(quota_and_period(MilliCpu(1000)), (20_000, 20_000));
        assert_eq!(quota_and_period(MilliCpu(1500)), (30_000, 20_000));
        assert_eq!(quota_and_period(MilliCpu(250)), (5_000, 20_000));
        assert_eq!(quota_and_period(MilliCpu(10)), (1_000, 100_000));
        assert_eq!(quota_and_period(MilliCpu(1)), (1_000, 1_000_000));
        assert_eq!(quota_and_period(MilliCpu(0)), (1_000, 1_000_000));
    }
}
