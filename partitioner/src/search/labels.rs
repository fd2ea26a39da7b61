//! The least of one total within bounds on others, exactly: label setting.

use super::bounds::Bounds;
use super::fronts::{Fronts, Label};
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

fn set_labels(
    steps: &Steps<'_>,
    objective: Objective,
    prune: &Prune,
    (most, cold_most): (f64, f64),
) -> (Option<Path>, bool) {
    let count = steps.count();
    let with_cold = prune.cold_to_go.is_some();
    let keep = |label: &Label, end: usize, after: usize| {
        let late = end == count && (label.bounded > most || label.cold > cold_most);
        !late && !prune.is_hopeless(label, end, after)
    };
    let found = Fronts::explore(steps, with_cold, MOST_TRIALS, |step| objective.of(step), keep);
    let Some(fronts) = found else { return (None, false) };
    let best = fronts
        .ends()
        .into_iter()
        .min_by(|(_, a), (_, b)| a.value.total_cmp(&b.value).then(a.slices.cmp(&b.slices)))
        .map(|(at, _)| at);
    (best.map(|label| fronts.path(label)), true)
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
