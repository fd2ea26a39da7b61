//! What functions use of the memory they are given, while they run.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tranche_host::ControlGroup;

/// From one look at the functions to the next.
const INTERVAL: Duration = Duration::from_millis(2);

/// Looks at control groups, on a thread of its own, until it is ended.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Usage>>,
}

/// What one group used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Bytes times the nanoseconds of CPU time for which they were held.
    weighted: f64,
    /// Nanoseconds of CPU time.
    running: f64,
}

impl Usage {
    /// Mean bytes held while the group ran: every look counts as much as the CPU time
    /// that went by since the look before. None when it never ran.
    #[must_use]
    pub fn mean_bytes(&self) -> Option<f64> {
        (self.running > 0.0).then(|| self.weighted / self.running)
    }

    fn add(&mut self, bytes: f64, nanoseconds: f64) {
        self.weighted += bytes * nanoseconds;
        self.running += nanoseconds;
    }
}

impl Sampler {
    /// Starts to look.
    #[must_use]
    pub fn start(groups: &[ControlGroup]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, watched) = (Arc::clone(&stop), groups.iter().map(Watched::new).collect::<Vec<_>>());
        Self { stop, thread: std::thread::spawn(move || watch(watched, &told)) }
    }

    /// Looks once more, and gives what each group used.
    #[must_use]
    pub fn end(self) -> Vec<Usage> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn watch(mut watched: Vec<Watched>, stop: &AtomicBool) -> Vec<Usage> {
    loop {
        let last = stop.load(Ordering::Relaxed);
        watched.iter_mut().for_each(Watched::look);
        if last {
            return watched.into_iter().map(|group| group.usage).collect();
        }
        std::thread::sleep(INTERVAL);
    }
}

struct Watched {
    memory: Option<PathBuf>,
    version: u8,
    tasks: Vec<PathBuf>,
    /// CPU time at the last look.
    before: f64,
    usage: Usage,
}

impl Watched {
    fn new(group: &ControlGroup) -> Self {
        let folder = group.folders().iter().find(|folder| folder.memory);
        let tasks = group.processes().iter().map(|id| PathBuf::from(format!("/proc/{id}/task"))).collect();
        let mut watched = Self {
            memory: folder.map(|folder| folder.path.join("memory.stat")),
            version: folder.map_or(2, |folder| folder.version),
            tasks,
            before: 0.0,
            usage: Usage::default(),
        };
        watched.before = watched.cpu_nanoseconds();
        watched
    }

    fn look(&mut self) {
        let now = self.cpu_nanoseconds();
        let passed = now - self.before;
        // Threads that end take their time with them.
        self.before = now;
        if passed > 0.0
            && let Some(bytes) = self.held()
        {
            self.usage.add(bytes, passed);
        }
    }

    /// Anonymous memory and mapped file pages that are charged to the group. Page cache
    /// that nobody maps is not held: the kernel takes it back at no cost.
    fn held(&self) -> Option<f64> {
        let text = fs::read_to_string(self.memory.as_ref()?).ok()?;
        let fields = if self.version == 2 { ["anon", "file_mapped"] } else { ["rss", "mapped_file"] };
        Some(sum_of(&text, fields))
    }

    /// CPU time of all threads (`/proc/PID/task/*/schedstat`, first number).
    fn cpu_nanoseconds(&self) -> f64 {
        let threads = self.tasks.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
            .sum()
    }
}

/// The sum of these fields of a `memory.stat`.
fn sum_of(text: &str, fields: [&str; 2]) -> f64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| fields.contains(name))
        .filter_map(|(_, value)| value.trim().parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_longer_weighs_more() {
        let mut usage = Usage::default();
        assert_eq!(usage.mean_bytes(), None);
        usage.add(100.0, 3.0);
        usage.add(200.0, 1.0);
        assert_eq!(usage.mean_bytes(), Some(125.0));
    }

    #[test]
    fn page_cache_that_nobody_maps_is_not_held() {
        let version_1 = "cache 900\nrss 40\nrss_huge 7\nmapped_file 2\ntotal_rss 40\n";
        assert_eq!(sum_of(version_1, ["rss", "mapped_file"]), 42.0);
        let version_2 = "anon 40\nfile 900\nfile_mapped 3\n";
        assert_eq!(sum_of(version_2, ["anon", "file_mapped"]), 43.0);
    }
}
