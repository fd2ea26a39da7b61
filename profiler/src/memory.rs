//! The smallest memory limit at which a model runs as fast as without one.
//!
//! Found by running, never read off resident memory: pages of mapped weights can be
//! dropped and read again, and only running tells whether that slows. A probe is a
//! process of its own in a control group with the limit, every file it reads evicted
//! from the page cache beforehand, so that their pages are charged to that group. One
//! that the kernel kills, or whose median run takes more than [`SLOWER`] times that of
//! a process without a memory limit, has too little.

use tranche_schema::ByteCount;

/// Limits are multiples of this.
pub(crate) const STEP: ByteCount = ByteCount::mebibytes(16);
/// A median run up to this many times the unlimited one's is as fast.
pub(crate) const SLOWER: f64 = 1.05;
/// What a process peaks at without a limit is not proven to be enough under one: its
/// pages are charged in batches, and some only there.
const MARGIN: f64 = 1.1;
/// Most multiples of the peak that are tried before there is no such limit.
const MOST: f64 = 2.0;

/// The smallest multiple of [`STEP`] that `fits`, above `kept` and up to what a process
/// peaked at with [`MARGIN`], by bisection: each probe halves what is left. `kept` is what
/// the process holds that the kernel cannot take back, so that less cannot do. `fits` says
/// `None` when the time for probing is over; then the smallest limit that has been seen
/// to fit is taken, if there is one.
///
/// The upper end is probed only where nothing below it fits; where it does not fit
/// either, larger ones are tried up to [`MOST`] times the peak.
///
/// # Errors
/// Those of `fits`.
pub(crate) fn smallest_limit<E>(
    kept: ByteCount,
    peak: ByteCount,
    fits: &mut dyn FnMut(ByteCount) -> Result<Option<bool>, E>,
) -> Result<Option<ByteCount>, E> {
    let steps = |factor: f64| ((peak.0 as f64 * factor) as u64).div_ceil(STEP.0).max(1);
    let bytes = |steps: u64| ByteCount(steps * STEP.0);
    let mut too_small = kept.0 / STEP.0;
    let mut enough = steps(MARGIN).max(too_small + 1);
    let mut proven = None;
    while enough - too_small > 1 {
        let middle = u64::midpoint(too_small, enough);
        match fits(bytes(middle))? {
            None => return Ok(proven.map(bytes)),
            Some(true) => {
                enough = middle;
                proven = Some(middle);
            }
            Some(false) => too_small = middle,
        }
    }
    let most = steps(MOST).max(enough);
    while proven.is_none() {
        match fits(bytes(enough))? {
            None => return Ok(None),
            Some(true) => proven = Some(enough),
            Some(false) if enough >= most => return Ok(None),
            Some(false) => enough = (enough + enough.div_ceil(4)).min(most),
        }
    }
    Ok(proven.map(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn search(kept: u64, peak: u64, least: u64, most_probes: usize) -> (Option<ByteCount>, usize) {
        let mut probes = 0;
        let mut fits = |limit: ByteCount| -> Result<Option<bool>, Infallible> {
            if probes == most_probes {
                return Ok(None);
            }
            probes += 1;
            Ok(Some(limit.0 >= least))
        };
        let Ok(found) = smallest_limit(ByteCount(kept), ByteCount(peak), &mut fits);
        (found, probes)
    }

    proptest! {
        #[test]
        fn the_smallest_step_that_fits_is_found_in_few_probes(
            peak in 1_u64..(8 << 30),
            share in 0.0..1.0_f64,
            known in 0.0..1.0_f64,
        ) {
            let least = (peak as f64 * share) as u64 + 1;
            let kept = (least as f64 * known) as u64;
            let (found, probes) = search(kept.min(least - 1), peak, least, usize::MAX);
            prop_assert_eq!(found, Some(ByteCount(least.div_ceil(STEP.0) * STEP.0)));
            let steps = (peak as f64 * 1.1 / STEP.0 as f64).ceil();
            prop_assert!(probes as f64 <= steps.log2().ceil() + 1.0, "{probes} probes of {steps} steps");
        }

        #[test]
        fn out_of_time_only_what_was_seen_to_fit_is_taken(
            peak in 1_u64..(8 << 30),
            share in 0.0..1.0_f64,
            most in 0_usize..12,
        ) {
            let least = (peak as f64 * share) as u64;
            let (found, probes) = search(0, peak, least, most);
            prop_assert!(probes <= most);
            prop_assert!(found.is_none_or(|found| found.0 >= least));
        }
    }

    #[test]
    fn more_than_the_peak_may_be_needed() {
        let mebibytes = |count: u64| count << 20;
        assert_eq!(search(0, mebibytes(160), mebibytes(300), 99).0, Some(ByteCount::mebibytes(320)));
        assert_eq!(search(0, mebibytes(160), mebibytes(900), 99).0, None);
    }
}
