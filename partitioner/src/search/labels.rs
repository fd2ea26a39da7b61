//! The least of one total within bounds on others, exactly: label setting.

use super::bounds::Bounds;
use super::steps::{Path, Step, Steps, Totals, totals};
use super::table::Table;
use std::cmp::Ordering;

/// Relative difference below which two totals count as equal.
pub(crate) const TIE: f64 = 1e-12;

/// Step trials after which a search ends with the best that it has.
const MOST_TRIALS: usize = 40_000_000;

/// What is made least; the other of the two is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objective {
    Cost,
    Latency,
}

impl Objective {
    fn of(self, step: &Step) -> (f64, f64) {
        match self {
            Self::Cost => (step.cost, step.latency),
            Self::Latency => (step.latency, step.cost),
        }
    }

    fn totals(self, totals: &Totals) -> (f64, f64) {
        match self {
            Self::Cost => (totals.cost, totals.latency),
            Self::Latency => (totals.latency, totals.cost),
        }
    }
}

/// The best path, and whether nothing better was left untried.
#[derive(Clone, Debug)]
pub(crate) struct Solution {
    pub(crate) path: Path,
    pub(crate) exact: bool,
}

/// A sum to the end, then the number of slices: fewer slices win ties.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least {
    pub(crate) value: f64,
    slices: usize,
}

/// Least sums of `of` to the end.
pub(crate) fn least(steps: &Steps<'_>, of: impl Fn(&Step) -> f64) -> Table<Least> {
    Table::solve(
        steps,
        Least { value: 0.0, slices: 0 },
        |step, rest: Least| Least {
            value: of(step) + rest.value,
            slices: rest.slices + usize::from(step.slices),
        },
        |value, best| {
            value.value.total_cmp(&best.value).then(value.slices.cmp(&best.slices)) == Ordering::Less
        },
    )
}

/// The least `objective` with the other total at most `most` and the latency of a cold
/// request at most that of the bounds; of equal ones fewer slices. `None` where nothing
/// is within the bounds.
///
/// Without a bound that binds this is a dynamic programme over (position, number of
/// slices). With one it is label setting: per (position, number of slices) the Pareto
/// front of the totals, pruned by exact bounds on what is to go: the least of each total,
/// and the least of objective plus a price on the bounded total (Lagrange multiplier).
pub(crate) fn within(steps: &Steps<'_>, objective: Objective, most: Option<f64>) -> Option<Solution> {
    let bounds = steps.bounds;
    let objective_to_go = least(steps, |step| objective.of(step).0);
    let best = objective_to_go.path(bounds)?;
    let most = most.unwrap_or(f64::INFINITY);
    let cold_most = bounds.cold.map_or(f64::INFINITY, |cold| cold.0);
    let fits = |path: &Path| {
        let totals = totals(path);
        objective.totals(&totals).1 <= most && totals.cold <= cold_most
    };
    if fits(&best) {
        return Some(Solution { path: best, exact: true });
    }
    let bounded_to_go = least(steps, |step| objective.of(step).1);
    let least_bounded = bounded_to_go.path(bounds)?;
    if objective.totals(&totals(&least_bounded)).1 > most {
        return None;
    }
    let mut known: Vec<Path> = vec![least_bounded.clone()];
    let price = if objective.totals(&totals(&best)).1 > most {
        let (price, path) = price(steps, objective, most, best, least_bounded);
        known.push(path);
        price
    } else {
        0.0
    };
    if bounds.cold.is_some() {
        known.extend(soonest_cold(steps));
    }
    let value = |path: &Path| objective.totals(&totals(path)).0;
    let incumbent = known.into_iter().filter(fits).min_by(|a, b| value(a).total_cmp(&value(b)));
    let priced_to_go = least(steps, |step| {
        let (value, bounded) = objective.of(step);
        value + price * bounded
    });
    let most_priced = incumbent.as_ref().map_or(f64::INFINITY, |path| {
        let slack = if most.is_finite() { price * most } else { 0.0 };
        (value(path) + slack) * (1.0 + TIE)
    });
    let prune = Prune {
        most: most * (1.0 + TIE),
        most_priced,
        price,
        cold_most: cold_most * (1.0 + TIE),
        cold_to_go: bounds.cold.map(|_| least(steps, |step| step.cold)),
        bounded_to_go,
        priced_to_go,
    };
    match set_labels(steps, objective, &prune, (most, cold_most)) {
        (Some(path), exact) => Some(Solution { path, exact }),
        // A path within the bounds that is known passes every test but for rounding.
        (None, exact) => incumbent.map(|path| Solution { path, exact }),
    }
}

struct Prune {
    most: f64,
    most_priced: f64,
    price: f64,
    cold_most: f64,
    cold_to_go: Option<Table<Least>>,
    bounded_to_go: Table<Least>,
    priced_to_go: Table<Least>,
}

impl Prune {
    /// Whether nothing that goes on from this label can be within the bounds and better
    /// than what is known.
    fn is_hopeless(&self, label: &Label, position: usize, state: usize) -> bool {
        let (Some(bounded), Some(priced)) =
            (self.bounded_to_go.value(position, state), self.priced_to_go.value(position, state))
        else {
            return true;
        };
        let cold = match &self.cold_to_go {
            Some(to_go) => to_go.value(position, state).map_or(f64::INFINITY, |cold| cold.value),
            None => 0.0,
        };
        label.bounded + bounded.value > self.most
            || label.value + self.price * label.bounded + priced.value > self.most_priced
            || label.cold + cold > self.cold_most
    }
}

/// A way to a position: its totals so far.
#[derive(Clone, Copy, Debug)]
struct Label {
    value: f64,
    bounded: f64,
    cold: f64,
    slices: usize,
    step: Option<(usize, Step)>,
    parent: usize,
}

fn set_labels(
    steps: &Steps<'_>,
    objective: Objective,
    prune: &Prune,
    (most, cold_most): (f64, f64),
) -> (Option<Path>, bool) {
    let bounds = steps.bounds;
    let count = steps.count();
    let states = bounds.states();
    let start = Label { value: 0.0, bounded: 0.0, cold: 0.0, slices: 0, step: None, parent: usize::MAX };
    let mut arena = vec![start];
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
                    let parent = fronts[first * states + state][place];
                    let label =
                        extended(&arena[parent], parent, first, step, objective, prune.cold_to_go.is_some());
                    let late = end == count && (label.bounded > most || label.cold > cold_most);
                    trials += 1;
                    if !late && !prune.is_hopeless(&label, end, after) {
                        insert(&mut arena, &mut fronts[end * states + after], label);
                    }
                }
            }
            if trials > MOST_TRIALS {
                return (None, false);
            }
        }
    }
    let best =
        (bounds.least..states).flat_map(|state| fronts[count * states + state].iter().copied()).min_by(
            |&a, &b| arena[a].value.total_cmp(&arena[b].value).then(arena[a].slices.cmp(&arena[b].slices)),
        );
    (best.map(|label| trace(&arena, label)), true)
}

fn extended(
    label: &Label,
    parent: usize,
    first: usize,
    step: &Step,
    objective: Objective,
    with_cold: bool,
) -> Label {
    let (value, bounded) = objective.of(step);
    Label {
        value: label.value + value,
        bounded: label.bounded + bounded,
        cold: if with_cold { step.cold_finish(label.cold) } else { 0.0 },
        slices: label.slices + usize::from(step.slices),
        step: Some((first, *step)),
        parent,
    }
}

/// Adds a label to a Pareto front kept by rising value, unless one there is at least as
/// good in all; drops those that it beats.
fn insert(arena: &mut Vec<Label>, front: &mut Vec<usize>, label: Label) {
    let beats = |one: &Label, other: &Label| {
        one.value <= other.value && one.bounded <= other.bounded && one.cold <= other.cold
    };
    let place = front.partition_point(|&other| arena[other].value <= label.value);
    // Without a third total the nearest tells for all before it.
    let looked_at = if label.cold == 0.0 { place.saturating_sub(1)..place } else { 0..place };
    if front[looked_at].iter().any(|&other| beats(&arena[other], &label)) {
        return;
    }
    if label.cold == 0.0 {
        let beaten = front[place..].iter().take_while(|&&other| beats(&label, &arena[other])).count();
        arena.push(label);
        front.splice(place..place + beaten, [arena.len() - 1]);
        return;
    }
    let mut kept = front.split_off(place);
    kept.retain(|&other| !beats(&label, &arena[other]));
    arena.push(label);
    front.push(arena.len() - 1);
    front.append(&mut kept);
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

/// A price on the bounded total that makes objective + price × bounded total the tightest
/// lower bound on paths within `most`, found by LARAC (Jüttner and others, "Lagrange
/// relaxation based method for the QoS routing problem", INFOCOM 2001): for any price,
/// objective ≥ (objective + price × bounded) − price × most. With it the best path within
/// the bound that was met on the way.
fn price(
    steps: &Steps<'_>,
    objective: Objective,
    most: f64,
    mut beyond: Path,
    mut within: Path,
) -> (f64, Path) {
    let of = |path: &Path| objective.totals(&totals(path));
    loop {
        let ((beyond_value, beyond_bounded), (within_value, within_bounded)) = (of(&beyond), of(&within));
        let price = ((within_value - beyond_value) / (beyond_bounded - within_bounded)).max(0.0);
        let price = if price.is_finite() { price } else { 0.0 };
        let found = least(steps, |step| {
            let (value, bounded) = objective.of(step);
            value + price * bounded
        })
        .path(steps.bounds)
        .unwrap_or_default();
        let (value, bounded) = of(&found);
        let seen = found == within || found == beyond;
        if seen || value + price * bounded >= (beyond_value + price * beyond_bounded) * (1.0 - TIE) {
            return (price, within);
        }
        // Each round finds another corner of the convex hull, so this ends.
        if bounded <= most { within = found } else { beyond = found }
    }
}

/// The path on which a request that meets no started function is done first: forward, as
/// being earlier at a position never makes the rest later.
pub(crate) fn soonest_cold(steps: &Steps<'_>) -> Option<Path> {
    let bounds: &Bounds = steps.bounds;
    let count = steps.count();
    let states = bounds.states();
    let mut cells: Vec<Option<(f64, usize, usize, Step)>> = vec![None; (count + 1) * states];
    let mut buffer = Vec::new();
    for first in 0..count {
        for step in steps.from(first, &mut buffer) {
            for state in 0..states {
                let before = match cells[first * states + state] {
                    Some((finish, ..)) => finish,
                    None if first == 0 && state == 0 => 0.0,
                    None => continue,
                };
                let Some(after) = bounds.advance(state, usize::from(step.slices)) else { continue };
                let finish = step.cold_finish(before);
                let cell = &mut cells[step.end as usize * states + after];
                if cell.is_none_or(|(best, ..)| finish < best) {
                    *cell = Some((finish, first, state, *step));
                }
            }
        }
    }
    let (mut position, mut state) = (bounds.least..states)
        .filter_map(|state| cells[count * states + state].map(|cell| (cell.0, state)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, state)| (count, state))?;
    let mut path = Vec::new();
    while position > 0 {
        let (_, first, before, step) = cells[position * states + state]?;
        path.push((first, step));
        (position, state) = (first, before);
    }
    path.reverse();
    Some(path)
}
