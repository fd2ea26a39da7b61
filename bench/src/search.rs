//! The size of a function: the smallest memory limit that does not slow it down.

use serde::{Deserialize, Serialize};
use tranche_schema::ByteCount;

/// Limits tried are multiples of this.
pub const STEP: ByteCount = ByteCount(16 << 20);
/// Times slower than without a limit that a function may be at its size.
pub const TOLERANCE: f64 = 1.05;
/// How often a limit may turn out too small that was thought to be enough.
const GROWTHS: u32 = 4;
/// How often a limit that was found is raised by a step more than the time before.
const RAISES: u64 = 6;

/// A limit that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The limit.
    pub memory_bytes: ByteCount,
    /// Median time under it over that without one; none where the process was killed or
    /// did not answer in time.
    pub ratio: Option<f64>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The smallest limit that is enough.
    pub memory_bytes: ByteCount,
    /// Everything tried, in order.
    pub attempts: Vec<Attempt>,
}

/// The smallest multiple of [`STEP`] at which `trial` gives at most [`TOLERANCE`], by
/// bisection below `enough`; none where a limit of 2.4 times that is too small as well.
///
/// `trial` gives the ratio of times, or none for a process that was killed. Where a
/// process only was too slow it is tried once more, and the better of both counts: a
/// disturbance makes it slower, nothing makes it faster.
///
/// # Errors
/// Those of `trial`.
pub fn smallest_limit<E>(
    enough: ByteCount,
    mut trial: impl FnMut(ByteCount) -> Result<Option<f64>, E>,
) -> Result<Option<Found>, E> {
    let mut attempts = Vec::new();
    let mut fits = |steps: u64| -> Result<bool, E> {
        let memory_bytes = ByteCount(steps * STEP.0);
        for _ in 0..2 {
            let ratio = trial(memory_bytes)?;
            attempts.push(Attempt { memory_bytes, ratio });
            match ratio {
                Some(ratio) if ratio <= TOLERANCE => return Ok(true),
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(false)
    };
    let mut above = enough.0.div_ceil(STEP.0).max(1);
    let mut below = 0;
    let mut growths = 0;
    while !fits(above)? {
        if growths == GROWTHS {
            return Ok(None);
        }
        growths += 1;
        below = above;
        above = (above * 5).div_ceil(4);
    }
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if fits(middle)? { above = middle } else { below = middle }
    }
    Ok(Some(Found { memory_bytes: ByteCount(above * STEP.0), attempts }))
}

/// The limit that was found, or the least one above it that a longer trial does not find
/// slow: what is enough for a few requests may page over many. Each rise is a step longer
/// than the one before; none where six rises are not enough.
///
/// # Errors
/// Those of `trial`.
pub fn confirmed<E>(
    found: Found,
    mut trial: impl FnMut(ByteCount) -> Result<Option<f64>, E>,
) -> Result<Option<Found>, E> {
    let Found { mut memory_bytes, mut attempts } = found;
    for rise in 1..=RAISES + 1 {
        let ratio = trial(memory_bytes)?;
        attempts.push(Attempt { memory_bytes, ratio });
        if ratio.is_some_and(|ratio| ratio <= TOLERANCE) {
            return Ok(Some(Found { memory_bytes, attempts }));
        }
        memory_bytes = ByteCount(memory_bytes.0 + rise * STEP.0);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    const MIB: u64 = 1 << 20;

    /// A process that is killed below `killed` and pages below `slow`.
    fn process(killed: u64, slow: u64) -> impl FnMut(ByteCount) -> Result<Option<f64>, Infallible> {
        move |limit| {
            Ok(match limit.0 {
                bytes if bytes < killed => None,
                bytes if bytes < slow => Some(3.0),
                _ => Some(1.01),
            })
        }
    }

    #[test]
    fn what_only_pages_is_too_small_too() {
        let found = smallest_limit(ByteCount(1024 * MIB), process(100 * MIB, 400 * MIB)).unwrap().unwrap();
        assert_eq!(found.memory_bytes, ByteCount(400 * MIB));
        let slow = found.attempts.iter().filter(|attempt| attempt.ratio == Some(3.0)).count();
        assert!(slow > 0 && slow % 2 == 0, "each slow limit is tried twice: {:?}", found.attempts);
    }

    #[test]
    fn a_disturbance_makes_no_size_larger() {
        let mut calls = 0;
        let found = smallest_limit(ByteCount(512 * MIB), |limit| {
            calls += 1;
            let disturbed = calls % 2 == 1;
            Ok::<_, Infallible>((limit.0 >= 96 * MIB).then_some(if disturbed { 1.4 } else { 1.0 }))
        });
        assert_eq!(found.unwrap().unwrap().memory_bytes, ByteCount(96 * MIB));
    }

    #[test]
    fn what_never_fits_has_no_size() {
        assert_eq!(smallest_limit(ByteCount(64 * MIB), process(u64::MAX, u64::MAX)).unwrap(), None);
    }

    #[test]
    fn what_pages_over_many_requests_is_raised() {
        let found = smallest_limit(ByteCount(512 * MIB), process(96 * MIB, 96 * MIB)).unwrap().unwrap();
        let kept = confirmed(found.clone(), process(0, 96 * MIB)).unwrap().unwrap();
        assert_eq!(kept.memory_bytes, found.memory_bytes);
        let raised = confirmed(found.clone(), process(0, 140 * MIB)).unwrap().unwrap();
        assert_eq!(raised.memory_bytes, ByteCount(144 * MIB));
        assert_eq!(confirmed(found, process(u64::MAX, u64::MAX)).unwrap(), None);
    }

    #[test]
    fn a_broken_probe_ends_the_search() {
        assert_eq!(smallest_limit(ByteCount(64 * MIB), |_| Err("no such program")), Err("no such program"));
    }

    proptest! {
        #[test]
        fn the_size_is_enough_and_a_step_less_is_not(needed in 1_u64..3_000, guessed in 1_u64..3_000) {
            prop_assume!(needed <= guessed * 2);
            let (needed, guessed) = (needed * MIB, ByteCount(guessed * MIB));
            let found = smallest_limit(guessed, process(needed, needed)).unwrap().unwrap();
            prop_assert!(found.memory_bytes.0 >= needed);
            prop_assert!(found.memory_bytes.0 < needed + STEP.0);
            prop_assert!(found.attempts.len() <= 14, "{} attempts", found.attempts.len());
        }
    }
}
