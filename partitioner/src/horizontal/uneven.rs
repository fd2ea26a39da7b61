//! Parts with borders moved until they take about the same time.
//!
//! Parts of equal extents do not take equal time where each needs more than its extent: of tiles,
//! those inside have a halo on both sides, those at the edges on one. All wait for the slowest.

use super::Source;
use super::candidates::{Candidate, Growing};
use crate::Problem;
use tranche_schema::Join;

/// Times borders are moved.
const ROUNDS: usize = 3;
/// Parts that differ from their mean by less are even.
const EVEN: f64 = 0.01;

/// The same layers in as many parts, the slowest of which takes less; none where equal extents
/// are as good as any.
pub(super) fn levelled(problem: &Problem, source: &Source, candidate: &Candidate) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    let mut last = candidate.clone();
    for _ in 0..ROUNDS {
        let times = times(problem, &last);
        let Join::Concat { axis, bounds } = &last.join else { break };
        let Some(moved) = moved(bounds, &times, last.grain) else { break };
        let join = Join::Concat { axis: *axis, bounds: moved };
        let growing =
            Growing { problem, source, end: last.layers.end, seed: last.seed, parts: last.parts.len() };
        let Some(next) = growing.exactly(last.layers.clone(), &join, last.grain) else { break };
        let slowest = slowest(problem, best.as_ref().unwrap_or(candidate));
        if self::slowest(problem, &next) < slowest * (1.0 - EVEN) {
            best = Some(next.clone());
        }
        last = next;
    }
    best
}

/// Time of each part, with layers' whole times shared by work.
fn times(problem: &Problem, candidate: &Candidate) -> Vec<f64> {
    let layers = &problem.layers[candidate.layers.clone()];
    let of = |shares: &[f64]| layers.iter().zip(shares).map(|(layer, share)| layer.time.0 * share).sum();
    candidate.parts.iter().map(|part| of(&part.shares)).collect()
}

fn slowest(problem: &Problem, candidate: &Candidate) -> f64 {
    times(problem, candidate).into_iter().fold(0.0, f64::max)
}

/// Bounds at which every part would take the mean, were each place of a part to take the same
/// share of what the part takes now; at multiples of `grain`. None where they are so already.
fn moved(bounds: &[u64], times: &[f64], grain: u64) -> Option<Vec<u64>> {
    let (parts, grain) = (times.len(), grain.max(1));
    let total: f64 = times.iter().sum();
    let mean = total / parts as f64;
    if bounds.len() != parts + 1 || times.iter().all(|time| (time - mean).abs() <= EVEN * mean) {
        return None;
    }
    let mut moved = vec![*bounds.first()?];
    let (mut part, mut before) = (0, 0.0);
    for border in 1..parts {
        let wanted = mean * border as f64;
        while part + 1 < parts && before + times[part] < wanted {
            before += times[part];
            part += 1;
        }
        let extent = (bounds[part + 1] - bounds[part]) as f64;
        let within = if times[part] > 0.0 { (wanted - before) / times[part] } else { 0.0 };
        let place = bounds[part] as f64 + extent * within.clamp(0.0, 1.0);
        moved.push((place / grain as f64).round() as u64 * grain);
    }
    moved.push(*bounds.last()?);
    // Every part keeps something, and something moved.
    (moved.is_sorted_by(|a, b| a < b) && moved != bounds).then_some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_dear_parts_inside_get_smaller() {
        assert_eq!(
            moved(&[0, 50, 100, 150, 200], &[6.0, 7.0, 7.0, 6.0], 1),
            Some(vec![0, 54, 100, 146, 200])
        );
        assert_eq!(moved(&[0, 50, 100], &[6.0, 6.0], 1), None);
        assert_eq!(moved(&[0, 1, 2, 3], &[1.0, 4.0, 1.0], 1), None);
    }

    proptest! {
        #[test]
        fn moved_borders_divide_the_same_extent(
            sizes in prop::collection::vec(1_u64..40, 2..8),
            times in prop::collection::vec(0.1_f64..10.0, 8),
            grain in 1_u64..5,
        ) {
            let mut bounds = vec![0];
            for size in &sizes {
                bounds.push(bounds[bounds.len() - 1] + size * grain);
            }
            if let Some(moved) = moved(&bounds, &times[..sizes.len()], grain) {
                prop_assert_eq!(moved.len(), bounds.len());
                prop_assert_eq!((moved[0], moved.last()), (0, bounds.last()));
                prop_assert!(moved.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(moved.iter().all(|bound| bound.is_multiple_of(grain)));
            }
        }
    }
}
