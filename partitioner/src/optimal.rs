//! Exact search over all contiguous segmentations of the layer order.

use crate::{Costs, Infeasible, PlanError, Segment, relaxation};
use std::cmp::Ordering;
use std::ops::Range;
use tranche_schema::{ByteCount, Constraints, Millis};

/// Relative difference below which two costs count as equal.
const TIE: f64 = 1e-12;

/// Constraints in the form that the search takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Fewest slices, at least 1.
    pub(crate) least: usize,
    /// Most slices; `None` where all layer counts are allowed.
    pub(crate) most: Option<usize>,
    /// Largest memory limit.
    pub(crate) memory: Option<ByteCount>,
    /// Longest latency.
    pub(crate) latency: Option<Millis>,
}

impl Bounds {
    /// For a model of `layers` layers.
    ///
    /// # Errors
    /// When the bounds on the number of slices exclude each other, or there are
    /// fewer layers than slices wanted.
    pub(crate) fn new(constraints: &Constraints, layers: usize) -> Result<Self, Infeasible> {
        let least = constraints.min_slices.unwrap_or(1).max(1);
        if let Some(most) = constraints.max_slices
            && most < least
        {
            return Err(Infeasible::SliceBounds { least, most });
        }
        if least as usize > layers {
            return Err(Infeasible::MinSlices { asked: least, possible: layers as u32 });
        }
        let most = constraints.max_slices.map(|most| most as usize).filter(|&most| most < layers);
        Ok(Self {
            least: least as usize,
            most,
            memory: constraints.max_memory_bytes,
            latency: constraints.latency_ms,
        })
    }

    /// The same without bounds on the number of slices.
    pub(crate) fn any_count(self) -> Self {
        Self { least: 1, most: None, ..self }
    }

    /// Whether a segment can be a slice: it keeps within the memory bound, and
    /// somebody reads what it computes (an ONNX model without outputs is invalid).
    pub(crate) fn admits(&self, segment: &Segment) -> bool {
        segment.outputs > 0 && self.memory.is_none_or(|most| segment.memory <= most)
    }

    /// States of the slice count: exact up to the upper bound, or saturating at
    /// the lower bound where there is no upper one.
    pub(crate) fn states(&self) -> usize {
        self.most.unwrap_or(self.least) + 1
    }

    /// The state after one more slice.
    pub(crate) fn next_state(&self, state: usize) -> Option<usize> {
        if state + 1 < self.states() { Some(state + 1) } else { self.most.is_none().then_some(state) }
    }
}

/// Best values from each position and slice count to the end.
pub(crate) struct Table<V> {
    states: usize,
    cells: Vec<Option<(V, usize)>>,
}

impl<V: Copy> Table<V> {
    /// Backward dynamic programme: the value of a position is the best, over
    /// admitted segments from there, of `extend(segment, value after it)`.
    pub(crate) fn solve(
        costs: &Costs<'_>,
        bounds: &Bounds,
        end: V,
        extend: impl Fn(&Segment, V) -> V,
        better: impl Fn(&V, &V) -> bool,
    ) -> Self {
        let count = costs.problem().layers.len();
        let states = bounds.states();
        let mut cells: Vec<Option<(V, usize)>> = vec![None; (count + 1) * states];
        for state in bounds.least..states {
            cells[count * states + state] = Some((end, count));
        }
        for first in (0..count).rev() {
            for segment in costs.row(first).filter(|segment| bounds.admits(segment)) {
                for state in 0..states {
                    let Some(after) = bounds.next_state(state) else { continue };
                    let Some((rest, _)) = cells[segment.layers.end * states + after] else { continue };
                    let value = extend(&segment, rest);
                    let cell = &mut cells[first * states + state];
                    if cell.as_ref().is_none_or(|(best, _)| better(&value, best)) {
                        *cell = Some((value, segment.layers.end));
                    }
                }
            }
        }
        Self { states, cells }
    }

    /// The best value from a position with this slice count so far.
    pub(crate) fn value(&self, position: usize, state: usize) -> Option<V> {
        self.cells[position * self.states + state].map(|(value, _)| value)
    }

    /// The best value of the whole order.
    pub(crate) fn best(&self) -> Option<V> {
        self.value(0, 0)
    }

    /// The segments of the best value of the whole order.
    pub(crate) fn path(&self, bounds: &Bounds) -> Option<Vec<Range<usize>>> {
        let count = self.cells.len() / self.states - 1;
        let (mut position, mut state) = (0, 0);
        let mut path = Vec::new();
        while position < count {
            let (_, end) = self.cells[position * self.states + state]?;
            path.push(position..end);
            state = bounds.next_state(state)?;
            position = end;
        }
        Some(path)
    }
}

/// Cost, then number of slices: fewer slices win ties.
#[derive(Clone, Copy, Debug)]
struct CostValue {
    cost: f64,
    slices: usize,
}

/// The segmentation of least memory-time within the constraints. Unsplit wins
/// ties, then fewer slices.
///
/// Without a latency bound this is a dynamic programme over (position, number
/// of slices). With one, and where the cheapest plan is too slow, it is label
/// setting: per (position, number of slices) the Pareto front of (cost,
/// latency), pruned by exact bounds on what is to go: the least latency, and the
/// least cost plus a price on latency (Lagrange multiplier). Both are exact.
///
/// # Errors
/// [`PlanError::Infeasible`] when nothing satisfies the constraints.
pub(crate) fn optimal(costs: &Costs<'_>, constraints: &Constraints) -> Result<Vec<Range<usize>>, PlanError> {
    let count = costs.problem().layers.len();
    let bounds = Bounds::new(constraints, count).map_err(PlanError::Infeasible)?;
    let to_go = cost_table(costs, &bounds);
    let Some(cheapest) = to_go.path(&bounds) else {
        return Err(PlanError::Infeasible(relaxation::diagnose(costs, &bounds)));
    };
    let path = match bounds.latency {
        Some(most) if total_latency(costs, &cheapest) > most.0 => labels(costs, &bounds, most, cheapest)?,
        _ => cheapest,
    };
    let unsplit: Vec<Range<usize>> = std::iter::once(0..count).collect();
    let allowed = bounds.least == 1
        && costs.segment(0..count).is_some_and(|whole| bounds.admits(&whole))
        && within_latency(costs, &bounds, &unsplit);
    if allowed && total_cost(costs, &unsplit) <= total_cost(costs, &path) * (1.0 + TIE) {
        return Ok(unsplit);
    }
    Ok(path)
}

fn cost_table(costs: &Costs<'_>, bounds: &Bounds) -> Table<CostValue> {
    Table::solve(
        costs,
        bounds,
        CostValue { cost: 0.0, slices: 0 },
        |segment, rest| CostValue { cost: segment.cost.0 + rest.cost, slices: rest.slices + 1 },
        |value, best| value.cost.total_cmp(&best.cost).then(value.slices.cmp(&best.slices)) == Ordering::Less,
    )
}

/// Least latency to the end, from each position.
pub(crate) fn latency_table(costs: &Costs<'_>, bounds: &Bounds) -> Table<f64> {
    Table::solve(
        costs,
        bounds,
        0.0,
        |segment, rest| segment.latency.0 + rest,
        |value, best| value.total_cmp(best) == Ordering::Less,
    )
}

fn within_latency(costs: &Costs<'_>, bounds: &Bounds, path: &[Range<usize>]) -> bool {
    bounds.latency.is_none_or(|most| total_latency(costs, path) <= most.0)
}

/// Memory-time of a segmentation.
pub(crate) fn total_cost(costs: &Costs<'_>, path: &[Range<usize>]) -> f64 {
    path.iter().filter_map(|layers| costs.segment(layers.clone())).map(|segment| segment.cost.0).sum()
}

/// Latency of a segmentation, summed from its first slice on.
pub(crate) fn total_latency(costs: &Costs<'_>, path: &[Range<usize>]) -> f64 {
    path.iter().filter_map(|layers| costs.segment(layers.clone())).map(|segment| segment.latency.0).sum()
}

/// A way to a position: what it costs and takes so far.
#[derive(Clone, Copy, Debug)]
struct Label {
    cost: f64,
    latency: f64,
    position: usize,
    parent: Option<usize>,
}

/// The cheapest segmentation within a latency bound that the cheapest of all,
/// `too_slow`, breaks.
fn labels(
    costs: &Costs<'_>,
    bounds: &Bounds,
    most: Millis,
    too_slow: Vec<Range<usize>>,
) -> Result<Vec<Range<usize>>, PlanError> {
    let count = costs.problem().layers.len();
    let states = bounds.states();
    let latency_to_go = latency_table(costs, bounds);
    let fastest = latency_to_go.path(bounds).unwrap_or_default();
    if total_latency(costs, &fastest) > most.0 {
        return Err(PlanError::Infeasible(relaxation::diagnose(costs, bounds)));
    }
    let priced = PricedLatency::find(costs, bounds, most, too_slow, fastest);
    let most_latency = most.0 * (1.0 + TIE);
    let most_priced = (total_cost(costs, &priced.within) + priced.price * most.0) * (1.0 + TIE);
    let mut arena = vec![Label { cost: 0.0, latency: 0.0, position: 0, parent: None }];
    let mut fronts: Vec<Vec<usize>> = vec![Vec::new(); (count + 1) * states];
    fronts[0].push(0);
    for first in 0..count {
        if fronts[first * states..(first + 1) * states].iter().all(Vec::is_empty) {
            continue;
        }
        for segment in costs.row(first).filter(|segment| bounds.admits(segment)) {
            let end = segment.layers.end;
            for state in 0..states {
                let Some(after) = bounds.next_state(state) else { continue };
                let (Some(priced_left), Some(latency_left)) =
                    (priced.to_go.value(end, after), latency_to_go.value(end, after))
                else {
                    continue;
                };
                for place in 0..fronts[first * states + state].len() {
                    let parent = fronts[first * states + state][place];
                    let label = Label {
                        cost: arena[parent].cost + segment.cost.0,
                        latency: arena[parent].latency + segment.latency.0,
                        position: end,
                        parent: Some(parent),
                    };
                    let hopeless = label.latency + latency_left > most_latency
                        || label.cost + priced.price * label.latency + priced_left > most_priced
                        || (end == count && label.latency > most.0);
                    if !hopeless {
                        insert(&mut arena, &mut fronts[end * states + after], label);
                    }
                }
            }
        }
    }
    let best = (bounds.least..states)
        .flat_map(|state| fronts[count * states + state].iter().copied())
        .min_by(|&left, &right| arena[left].cost.total_cmp(&arena[right].cost));
    // A segmentation within the bound is known: it passes every test above, but for rounding.
    Ok(best.map_or(priced.within, |label| trace(&arena, label)))
}

/// A price on latency that makes cost + price × latency the tightest lower bound
/// on the cost of segmentations within a latency bound, found by LARAC (Jüttner
/// and others, "Lagrange relaxation based method for the QoS routing problem",
/// INFOCOM 2001): for any price, cost ≥ (cost + price × latency) − price × bound.
struct PricedLatency {
    /// Cost per millisecond.
    price: f64,
    /// Least cost + price × latency to the end.
    to_go: Table<f64>,
    /// The cheapest segmentation within the bound that was met on the way.
    within: Vec<Range<usize>>,
}

impl PricedLatency {
    fn find(
        costs: &Costs<'_>,
        bounds: &Bounds,
        most: Millis,
        mut beyond: Vec<Range<usize>>,
        mut within: Vec<Range<usize>>,
    ) -> Self {
        loop {
            let (beyond_cost, beyond_latency) = (total_cost(costs, &beyond), total_latency(costs, &beyond));
            let (within_cost, within_latency) = (total_cost(costs, &within), total_latency(costs, &within));
            let price = ((within_cost - beyond_cost) / (beyond_latency - within_latency)).max(0.0);
            let to_go = Table::solve(
                costs,
                bounds,
                0.0,
                |segment, rest| segment.cost.0 + price * segment.latency.0 + rest,
                |value, best| value.total_cmp(best) == Ordering::Less,
            );
            let found = to_go.path(bounds).unwrap_or_default();
            let latency = total_latency(costs, &found);
            let priced = total_cost(costs, &found) + price * latency;
            let seen = found == within || found == beyond;
            if seen || priced >= (beyond_cost + price * beyond_latency) * (1.0 - TIE) {
                return Self { price, to_go, within };
            }
            // Each round finds another corner of the convex hull, so this ends.
            if latency <= most.0 { within = found } else { beyond = found }
        }
    }
}

/// Adds a label to a Pareto front kept by rising cost, unless one there is at
/// least as good in both; drops those that it beats.
fn insert(arena: &mut Vec<Label>, front: &mut Vec<usize>, label: Label) {
    let place = front.partition_point(|&other| arena[other].cost <= label.cost);
    if place > 0 && arena[front[place - 1]].latency <= label.latency {
        return;
    }
    let beaten = front[place..].iter().take_while(|&&other| arena[other].latency >= label.latency).count();
    arena.push(label);
    front.splice(place..place + beaten, [arena.len() - 1]);
}

fn trace(arena: &[Label], mut label: usize) -> Vec<Range<usize>> {
    let mut path = Vec::new();
    while let Some(parent) = arena[label].parent {
        path.push(arena[parent].position..arena[label].position);
        label = parent;
    }
    path.reverse();
    path
}
