//! The paths that no other beats in both cost and latency.

use super::labels::{Least, TIE, least};
use super::steps::{Path, Step, Steps, totals};
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

#[derive(Clone, Copy)]
struct Label {
    cost: f64,
    latency: f64,
    step: Option<(usize, Step)>,
    parent: usize,
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
    let bounds = steps.bounds;
    let count = steps.count();
    let states = bounds.states();
    let mut arena = vec![Label { cost: 0.0, latency: 0.0, step: None, parent: usize::MAX }];
    let mut fronts: Vec<Vec<usize>> = vec![Vec::new(); (count + 1) * states];
    fronts[0].push(0);
    let mut trials = 0;
    let mut buffer = Vec::new();
    for first in 0..count {
        if fronts[first * states..(first + 1) * states].iter().all(Vec::is_empty) {
            continue;
        }
        for step in steps.from(first, &mut buffer) {
            let end = step.end as usize;
            for state in 0..states {
                let Some(after) = bounds.advance(state, usize::from(step.slices)) else { continue };
                for place in 0..fronts[first * states + state].len() {
                    trials += 1;
                    let parent = fronts[first * states + state][place];
                    let label = Label {
                        cost: arena[parent].cost + step.cost,
                        latency: arena[parent].latency + step.latency,
                        step: Some((first, *step)),
                        parent,
                    };
                    let hopeful = chords.iter().any(|chord| {
                        chord.to_go.value(end, after).is_some_and(|to_go| {
                            label.cost + chord.weight * label.latency + to_go.value
                                <= chord.worst * (1.0 + TIE)
                        })
                    });
                    if hopeful {
                        insert(&mut arena, &mut fronts[end * states + after], label);
                    }
                }
            }
            if trials > MOST_TRIALS {
                return None;
            }
        }
    }
    let mut ends: Vec<usize> =
        (bounds.least..states).flat_map(|state| fronts[count * states + state].iter().copied()).collect();
    ends.sort_by(|&a, &b| {
        arena[a].latency.total_cmp(&arena[b].latency).then(arena[a].cost.total_cmp(&arena[b].cost))
    });
    let mut least_cost = f64::INFINITY;
    ends.retain(|&end| {
        let better = arena[end].cost < least_cost * (1.0 - TIE);
        if better {
            least_cost = arena[end].cost;
        }
        better
    });
    Some(ends.into_iter().map(|end| trace(&arena, end)).collect())
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

fn insert(arena: &mut Vec<Label>, front: &mut Vec<usize>, label: Label) {
    let place = front.partition_point(|&other| arena[other].cost <= label.cost);
    if place > 0 && arena[front[place - 1]].latency <= label.latency {
        return;
    }
    let beaten = front[place..].iter().take_while(|&&other| arena[other].latency >= label.latency).count();
    arena.push(label);
    front.splice(place..place + beaten, [arena.len() - 1]);
}

fn trace(arena: &[Label], mut label: usize) -> Path {
    let mut path = Vec::new();
    while let Some(step) = arena[label].step {
        path.push(step);
        label = arena[label].parent;
    }
    path.reverse();
    path
}
