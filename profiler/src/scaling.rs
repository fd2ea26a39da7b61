//! How a layer's time follows the number of threads.
//!
//! With `s` the part that one thread does alone and `p` the part that threads divide,
//! a layer takes `s + p / n` on `n` threads (Amdahl, "Validity of the single processor
//! approach to achieving large scale computing capabilities", AFIPS 1967). `s` and `p`
//! minimise Σ ((s + p / nᵢ) / tᵢ − 1)² over the measured times `tᵢ`, both at least 0:
//! relative errors, so that slow thread counts do not outweigh fast ones. With
//! aᵢ = 1 / tᵢ and bᵢ = 1 / (nᵢ tᵢ) the normal equations are
//!
//! ```text
//! s Σaᵢ² + p Σaᵢbᵢ = Σaᵢ
//! s Σaᵢbᵢ + p Σbᵢ² = Σbᵢ
//! ```
//!
//! and where their solution has a negative part, the least is on that part's bound: the
//! other part alone.

use std::collections::BTreeSet;
use tranche_schema::{LayerScaling, Millis};

/// Fits times measured with numbers of threads; `None` with fewer than two numbers, or
/// a time that is not positive: nothing tells the parts apart.
#[must_use]
pub fn fit_scaling(samples: &[(u32, Millis)]) -> Option<LayerScaling> {
    let counts: BTreeSet<u32> = samples.iter().map(|&(threads, _)| threads).collect();
    let usable = |&(threads, time): &(u32, Millis)| threads > 0 && time.0 > 0.0 && time.0.is_finite();
    if counts.len() < 2 || !samples.iter().all(usable) {
        return None;
    }
    let (mut aa, mut ab, mut bb, mut at, mut bt) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(threads, time) in samples {
        let (a, b) = (1.0 / time.0, 1.0 / (f64::from(threads) * time.0));
        (aa, ab, bb) = (aa + a * a, ab + a * b, bb + b * b);
        (at, bt) = (at + a, bt + b);
    }
    let determinant = aa * bb - ab * ab;
    let (serial, parallel) = ((at * bb - bt * ab) / determinant, (bt * aa - at * ab) / determinant);
    let (serial, parallel) = match (serial < 0.0, parallel < 0.0) {
        (true, _) => (0.0, bt / bb),
        (_, true) => (at / aa, 0.0),
        _ => (serial, parallel),
    };
    let squares: f64 = samples
        .iter()
        .map(|&(threads, time)| ((serial + parallel / f64::from(threads)) / time.0 - 1.0).powi(2))
        .sum();
    Some(LayerScaling {
        serial_ms: Millis(serial),
        parallel_ms: Millis(parallel),
        error: if samples.len() > 2 { (squares / samples.len() as f64).sqrt() } else { 0.0 },
        most_threads: counts.last().copied().unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(serial: f64, parallel: f64, counts: &[u32]) -> Vec<(u32, Millis)> {
        counts.iter().map(|&count| (count, Millis(serial + parallel / f64::from(count)))).collect()
    }

    fn near(left: f64, right: f64, scale: f64) -> bool {
        (left - right).abs() <= 1e-6 * scale
    }

    proptest! {
        #[test]
        fn exact_parts_are_found_again(
            serial in 0.0..100.0_f64,
            parallel in 0.001..100.0_f64,
            counts in prop::sample::subsequence(vec![1_u32, 2, 3, 4, 6, 8], 2..6),
        ) {
            let found = fit_scaling(&exact(serial, parallel, &counts)).unwrap();
            let scale = serial + parallel;
            prop_assert!(near(found.serial_ms.0, serial, scale), "{found:?}");
            prop_assert!(near(found.parallel_ms.0, parallel, scale), "{found:?}");
            prop_assert!(found.error < 1e-6);
            prop_assert_eq!(found.most_threads, *counts.last().unwrap());
        }

        #[test]
        fn parts_are_never_negative_and_no_other_parts_fit_better(
            times in prop::collection::vec(0.01..100.0_f64, 2..5),
            other in (0.0..100.0_f64, 0.0..100.0_f64),
        ) {
            let samples: Vec<_> =
                times.iter().enumerate().map(|(at, &time)| (at as u32 + 1, Millis(time))).collect();
            let found = fit_scaling(&samples).unwrap();
            prop_assert!(found.serial_ms.0 >= 0.0 && found.parallel_ms.0 >= 0.0);
            let error = |serial: f64, parallel: f64| -> f64 {
                let one = |&(count, time): &(u32, Millis)| {
                    ((serial + parallel / f64::from(count)) / time.0 - 1.0).powi(2)
                };
                samples.iter().map(one).sum()
            };
            let best = error(found.serial_ms.0, found.parallel_ms.0);
            prop_assert!(best <= error(other.0, other.1) + 1e-9);
        }
    }

    #[test]
    fn one_number_of_threads_tells_nothing() {
        assert_eq!(fit_scaling(&[(1, Millis(2.0)), (1, Millis(2.1))]), None);
        assert_eq!(fit_scaling(&[]), None);
    }

    #[test]
    fn a_time_of_zero_tells_nothing() {
        assert_eq!(fit_scaling(&[(1, Millis(0.0)), (2, Millis(0.0))]), None);
    }
}
