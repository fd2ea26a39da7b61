//! Where tests end a process, as `kill -9` does.

#[cfg(not(test))]
pub(super) fn reached(_: &str) {}

#[cfg(test)]
pub(super) use counting::reached;

#[cfg(test)]
pub(super) mod counting {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The number of the step that a process is killed at, from 1.
    pub(in crate::pool) const KILL_AT: &str = "TRANCHE_TEST_KILL_AT";
    static REACHED: AtomicU64 = AtomicU64::new(0);

    /// Ends this process without any clean-up when its step has come.
    pub(in crate::pool) fn reached(step: &str) {
        let Ok(last) = std::env::var(KILL_AT) else { return };
        if last.parse() == Ok(REACHED.fetch_add(1, Ordering::SeqCst) + 1) {
            eprintln!("killed at `{step}`");
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    }
}
