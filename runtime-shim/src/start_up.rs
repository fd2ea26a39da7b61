//! What starting took: from the start of the process until it could run its slice.

use std::fs;
use std::time::Duration;
use tranche_schema::StartUp;

/// Clock ticks a second in what Linux tells programs (`USER_HZ`: 100 on every architecture that
/// functions run on).
const TICKS_A_SECOND: f64 = 100.0;

/// How long this process has been there, to a hundredth of a second; nothing where the system does
/// not tell, or tells of two clocks (containers whose /proc/uptime is their own).
pub(crate) fn process_age() -> Option<Duration> {
    age(&fs::read_to_string("/proc/self/stat").ok()?, &fs::read_to_string("/proc/uptime").ok()?)
}

/// Field 22 of /proc/PID/stat (proc_pid_stat(5)) is the start in ticks since boot; the second field,
/// a name in brackets, may hold brackets and spaces itself. The first number of /proc/uptime is
/// seconds since boot.
fn age(stat: &str, uptime: &str) -> Option<Duration> {
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let now: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(now - ticks / TICKS_A_SECOND).ok()
}

/// What is told of a start: the process's age when it turned to its slice, and the times that opening
/// the engine and all of loading took from then on.
pub(crate) fn taken(age: Option<Duration>, library: Duration, loading: Duration) -> StartUp {
    StartUp {
        process_ms: age.map(Into::into),
        library_ms: library.into(),
        weights_ms: loading.saturating_sub(library).into(),
        total_ms: age.map(|age| (age + loading).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(start: u64) -> String {
        let rest: Vec<String> =
            (3..=52).map(|field| if field == 22 { start } else { field }.to_string()).collect();
        format!("7 (a) b (c) {}", rest.join(" "))
    }

    #[test]
    fn the_age_is_the_time_since_the_start() {
        assert_eq!(age(&stat(150), "2.25 4.50"), Some(Duration::from_millis(750)));
        assert_eq!(age(&stat(150), "1.50 4.50"), Some(Duration::ZERO));
    }

    #[test]
    fn clocks_that_disagree_tell_nothing() {
        assert_eq!(age(&stat(150), "1.25 4.50"), None);
        assert_eq!(age("7 (a", "1.25 4.50"), None);
        assert_eq!(age(&stat(150), ""), None);
    }

    #[test]
    fn this_process_has_an_age() {
        let before = process_age().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(process_age().unwrap() > before);
    }

    #[test]
    fn the_parts_make_the_whole() {
        let ms = Duration::from_millis;
        let taken = taken(Some(ms(20)), ms(5), ms(100));
        let parts = taken.process_ms.unwrap() + taken.library_ms + taken.weights_ms;
        assert_eq!(Some(parts), taken.total_ms);
    }
}
