//! Why no plan satisfies the constraints, and the least that must give.

use super::bounds::Bounds;
use super::labels::{least, soonest_cold};
use super::steps::{Steps, totals};
use super::{Objective, within};
use crate::{Costs, Infeasible, Stretch};
use tranche_schema::{ByteCount, Millis};

/// A bound on what a single function holds or passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Memory,
    Weights,
    Payload,
}

impl Held {
    const ALL: [Self; 3] = [Self::Memory, Self::Weights, Self::Payload];

    fn bound(self, bounds: &Bounds) -> Option<ByteCount> {
        match self {
            Self::Memory => bounds.memory,
            Self::Weights => bounds.weights,
            Self::Payload => bounds.payload,
        }
    }

    fn of(self, stretch: &Stretch<'_>) -> ByteCount {
        match self {
            Self::Memory => stretch.need,
            Self::Weights => stretch.weights,
            Self::Payload => stretch.payload,
        }
    }

    fn free(self, bounds: &Bounds) -> Bounds {
        let mut free = bounds.clone();
        match self {
            Self::Memory => free.memory = None,
            Self::Weights => free.weights = None,
            Self::Payload => free.payload = None,
        }
        free
    }

    /// Whether this bound is too low for every plan that keeps the others in `bounds`.
    fn is_too_low(self, costs: &Costs<'_>, asked: Option<ByteCount>, others: &Bounds) -> Option<Infeasible> {
        let asked = asked?;
        let (needed, place) = least_need(costs, &self.free(others), |stretch| self.of(stretch))?;
        (needed > asked).then_some(match self {
            Self::Memory => Infeasible::MaxMemory { asked, needed, place },
            Self::Weights => Infeasible::Weights { asked, needed, place },
            Self::Payload => Infeasible::Payload { asked, needed, place },
        })
    }
}

/// Names the binding constraint of bounds that no plan satisfies: what a single function
/// may hold with any number of slices, each bound alone, then beside the others; then the
/// number of slices within that; then latency within both.
pub(crate) fn diagnose(steps: &Steps<'_>) -> Infeasible {
    let (costs, bounds) = (steps.costs, steps.bounds);
    let any = bounds.any_count();
    let none = Bounds { memory: None, weights: None, payload: None, ..any.clone() };
    let too_low = |others: &Bounds| {
        Held::ALL.into_iter().find_map(|held| held.is_too_low(costs, held.bound(bounds), others))
    };
    if let Some(why) = too_low(&none).or_else(|| too_low(&any)).or_else(|| no_size(costs, &any)) {
        return why;
    }
    let fewest = slice_count(steps, &any, false);
    if let Some(most) = bounds.most
        && fewest > most
    {
        let free = Held::Memory.free(bounds);
        let memory = least_need(costs, &free, |stretch| stretch.need).unwrap_or_default().0;
        return Infeasible::MaxSlices { asked: most as u32, needed: fewest as u32, memory };
    }
    let possible = slice_count(steps, &any, true);
    if possible < bounds.least {
        return Infeasible::MinSlices { asked: bounds.least as u32, possible: possible as u32 };
    }
    too_low(bounds).unwrap_or_else(|| latency(steps))
}

/// Whether no size is good for some part: it takes longer than a call may, or functions that
/// are always on would need more replicas than there may be.
fn no_size(costs: &Costs<'_>, counted: &Bounds) -> Option<Infeasible> {
    let pricing = &costs.model().pricing;
    let branches = super::Branches::default();
    let steps = Steps::new(costs, counted, &branches);
    if least(&steps, |step| step.cost).best().is_some() {
        return None;
    }
    let late = pricing.longest_call.and_then(|most| {
        let times = (0..costs.problem().layers.len()).map(|layer| (layer, costs.fastest(layer..layer + 1)));
        let (layer, needed) = times.max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))?;
        let layer = costs.problem().layers.get(layer)?.name.clone();
        (needed > most).then_some(Infeasible::CallTime { most, layer, needed })
    });
    let rate = costs.model().workload.rate_per_second.unwrap_or(crate::DEFAULT_RATE);
    late.or_else(|| pricing.most_replicas().map(|most| Infeasible::Replicas { most, rate }))
}

fn latency(steps: &Steps<'_>) -> Infeasible {
    let bounds = steps.bounds;
    let fastest = least(steps, |step| step.latency).path(bounds).unwrap_or_default();
    let needed = Millis(totals(&fastest).latency);
    if let Some(asked) = bounds.latency.filter(|asked| needed > *asked) {
        return Infeasible::Latency { asked, needed };
    }
    let soonest = soonest_cold(steps).unwrap_or_default();
    let needed = Millis(totals(&soonest).cold);
    match bounds.cold {
        Some(asked) if needed > asked => Infeasible::ColdLatency { asked, needed },
        // Each can be kept, but not both.
        asked => {
            let free = Bounds { latency: None, ..bounds.clone() };
            let branches = super::Branches::default();
            let freed = Steps::new(steps.costs, &free, &branches);
            let needed = within(&freed, Objective::Latency, None)
                .map_or(needed, |solution| Millis(totals(&solution.path).latency));
            Infeasible::BothLatencies {
                warm: bounds.latency.unwrap_or_default(),
                cold: asked.unwrap_or_default(),
                needed,
            }
        }
    }
}

/// The least bound on `need` that some segmentation within the other bounds meets, and the
/// part that needs it; none where no segmentation keeps the others.
fn least_need(
    costs: &Costs<'_>,
    bounds: &Bounds,
    need: impl Fn(&Stretch<'_>) -> ByteCount,
) -> Option<(ByteCount, String)> {
    let count = costs.problem().layers.len();
    let states = bounds.states();
    let mut cells: Vec<Option<(ByteCount, usize)>> = vec![None; (count + 1) * states];
    for state in bounds.least..states {
        cells[count * states + state] = Some((ByteCount(0), count));
    }
    for first in (0..count).rev() {
        let ends_here = |end: usize| bounds.fixed.as_ref().is_none_or(|fixed| fixed[first] == Some(end));
        let row = costs.row(first).filter(|stretch| bounds.admits(stretch) && ends_here(stretch.layers.end));
        for stretch in row {
            for state in 0..states {
                let Some(after) = bounds.advance(state, 1) else { continue };
                let Some((rest, _)) = cells[stretch.layers.end * states + after] else { continue };
                let value = need(&stretch).max(rest);
                let cell = &mut cells[first * states + state];
                if cell.is_none_or(|(best, _)| value < best) {
                    *cell = Some((value, stretch.layers.end));
                }
            }
        }
    }
    let (needed, _) = cells[0]?;
    let (mut position, mut state) = (0, 0);
    while position < count {
        let Some((_, end)) = cells[position * states + state] else { break };
        if costs.stretch(position..end).is_some_and(|stretch| need(&stretch) == needed) {
            return Some((needed, place(costs, position..end)));
        }
        state = bounds.advance(state, 1).unwrap_or(state);
        position = end;
    }
    Some((needed, String::new()))
}

fn place(costs: &Costs<'_>, layers: std::ops::Range<usize>) -> String {
    match &costs.problem().layers[layers] {
        [only] => format!("layer `{}` alone", only.name),
        [first, .., last] => format!("the part from `{}` to `{}`", first.name, last.name),
        [] => String::new(),
    }
}

/// The least, or the most, slices of segmentations within what a function may hold.
fn slice_count(steps: &Steps<'_>, any: &Bounds, most: bool) -> usize {
    let branches = super::Branches::default();
    let free = Steps::new(steps.costs, any, &branches);
    let sign = if most { -1.0 } else { 1.0 };
    least(&free, |step| sign * f64::from(step.slices)).best().map_or(0, |found| (sign * found.value) as usize)
}
