//! The paths that no other beats in both cost and latency.

use super::fronts::{Fronts, Label};
use super::labels::{Least, TIE, least};
use super::steps::{Path, Steps, totals};
use super::table::Table;

/// Step trials after which only corners of the convex hull are given.
const MOST_TRIALS: usize = 6_000_000;
/// How often the space between two corners of the hull is halved, by the number of layers up
/// to which: each corner takes a pass over all steps.
const HALVINGS: [(usize, usize); 3] = [(400, 5), (1500, 3), (usize::MAX, 2)];
/// Chords by which labels are pruned.
const MOST_CHORDS: usize = 6;

/// Paths by rising latency, and whether they are all there are.
pub(crate) struct Found {
    pub(crate) paths: Vec<Path>,
    pub(crate) complete: bool,
}

/// All paths of least cost for their latency, in two phases (Ulungu and Teghem, "The two
/// phases method", 1995): corners of the convex hull by weighted sums; then what lies
/// between them, by label setting, where a label is dropped only if every way on from it
/// ends beyond the corners of each chord's triangle. Where that takes too many trials, the
/// corners alone.
pub(crate) fn frontier(steps: &Steps<'_>) -> Found {
    let corners = corners(steps);
    match between(steps, &corners) {
        Some(paths) => Found { paths, complete: true },
        None => Found { paths: corners, complete: false },
    }
}

fn corners(steps: &Steps<'_>) -> Vec<Path> {
    let by = |cost: f64, latency: f64| {
        least(steps, |step| cost * step.cost + latency * step.latency).path(steps.bounds)
    };
    let (Some(cheapest), Some(fastest)) = (by(1.0, 0.0), by(0.0, 1.0)) else { return Vec::new() };
    // A little of the other total tells apart what is equal in the first.
    let scale = totals(&cheapest).cost / totals(&fastest).latency;
    let scale = if scale.is_finite() && scale > 0.0 { scale } else { 1.0 };
    let (cheapest, fastest) = (by(1.0, scale * 1e-9).unwrap_or(cheapest), by(1e-9, scale).unwrap_or(fastest));
    let (fast, slow) = (totals(&fastest), totals(&cheapest));
    if fast.cost <= slow.cost || fast.latency >= slow.latency {
        return vec![if fast.cost <= slow.cost { fastest } else { cheapest }];
    }
    let halvings =
        HALVINGS.iter().find(|(layers, _)| steps.count() <= *layers).map_or(0, |(_, times)| *times);
    let mut corners = vec![fastest.clone()];
    expand(&by, &fastest, &cheapest, halvings, &mut corners);
    corners.push(cheapest);
    corners
}

/// Adds the corners between two, by rising latency.
fn expand(
    by: &impl Fn(f64, f64) -> Option<Path>,
    faster: &Path,
    slower: &Path,
    halvings: usize,
    corners: &mut Vec<Path>,
) {
    let (fast, slow) = (totals(faster), totals(slower));
    let weight = (fast.cost - slow.cost) / (slow.latency - fast.latency);
    if halvings == 0 || !(weight.is_finite() && weight > 0.0) {
        return;
    }
    let value = |path: &Path| totals(path).cost + weight * totals(path).latency;
    let Some(corner) = by(1.0, weight).filter(|path| value(path) < value(slower) * (1.0 - 1e-9)) else {
        return;
    };
    expand(by, faster, &corner, halvings - 1, corners);
    corners.push(corner.clone());
    expand(by, &corner, slower, halvings - 1, corners);
}

/// A line between two corners: what is not beaten has, for its weight, less than the point
/// that is as dear as the faster and as slow as the slower.
struct Chord {
    weight: f64,
    worst: f64,
    to_go: Table<Least>,
}

fn between(steps: &Steps<'_>, corners: &[Path]) -> Option<Vec<Path>> {
    let chords = chords(steps, corners);
    if chords.is_empty() {
        return Some(corners.to_vec());
    }
    let keep = |label: &Label, end: usize, after: usize| {
        chords.iter().any(|chord| {
            chord.to_go.value(end, after).is_some_and(|to_go| {
                label.value + chord.weight * label.bounded + to_go.value <= chord.worst * (1.0 + TIE)
            })
        })
    };
    let fronts = Fronts::explore(steps, false, MOST_TRIALS, |step| (step.cost, step.latency), keep)?;
    let mut ends = fronts.ends();
    ends.sort_by(|(_, a), (_, b)| a.bounded.total_cmp(&b.bounded).then(a.value.total_cmp(&b.value)));
    let mut least_cost = f64::INFINITY;
    ends.retain(|(_, label)| {
        let better = label.value < least_cost * (1.0 - TIE);
        if better {
            least_cost = label.value;
        }
        better
    });
    Some(ends.into_iter().map(|(end, _)| fronts.path(end)).collect())
}

fn chords(steps: &Steps<'_>, corners: &[Path]) -> Vec<Chord> {
    if corners.len() < 2 {
        return Vec::new();
    }
    // Fewer chords prune less, and never wrongly.
    let every = corners.len().saturating_sub(1).div_ceil(MOST_CHORDS).max(1);
    let mut places: Vec<usize> = (0..corners.len()).step_by(every).collect();
    if places.last() != Some(&(corners.len().saturating_sub(1))) {
        places.push(corners.len() - 1);
    }
    places
        .windows(2)
        .filter_map(|pair| {
            let (fast, slow) = (totals(&corners[pair[0]]), totals(&corners[pair[1]]));
            let weight = (fast.cost - slow.cost) / (slow.latency - fast.latency);
            if !(weight.is_finite() && weight > 0.0) {
                return None;
            }
            let to_go = least(steps, |step| step.cost + weight * step.latency);
            Some(Chord { weight, worst: fast.cost + weight * slow.latency, to_go })
        })
        .collect()
}
