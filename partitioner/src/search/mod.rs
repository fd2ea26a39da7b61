//! Exact search over contiguous segmentations of the layer orders tried.

mod bounds;
mod branches;
mod frontier;
mod fronts;
mod labels;
mod relaxation;
mod steps;
mod table;

pub(crate) use bounds::Bounds;
use branches::Branches;
use frontier::frontier;
use labels::{Objective, Solution, TIE, least, within};
pub(crate) use steps::Taken;
pub(crate) use steps::Totals;
use steps::{Path, Steps, totals};
pub(crate) use steps::{Step, admitted, fastest_and_cheapest};

use crate::horizontal::{Candidate, Splits};
use crate::order::{Order, orders};
use crate::{CostModel, Costs, Infeasible, Problem};
use std::ops::Range;
use tranche_schema::{ByteCount, Constraints, FrontierPoint, GibSeconds, Millis};

/// Orders are tried up to this number of layers; beyond it the graph's alone.
const MOST_ORDERED_LAYERS: usize = 2000;

/// A segmentation that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The order that is cut.
    pub(crate) order: Order,
    /// What runs where.
    pub(crate) taken: Vec<Taken>,
    /// What that adds up to.
    pub(crate) totals: Totals,
    /// Whether nothing better was left untried.
    pub(crate) exact: bool,
}

/// Points that no other beats, with whether they are all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Points {
    pub(crate) points: Vec<FrontierPoint>,
    pub(crate) complete: bool,
}

/// The segmentation of least cost within the constraints, over several orders. Unsplit
/// wins ties, then fewer slices. Where prices leave a tie ([`crate::Pricing::tie`]), the
/// fastest of those within it. In the graph's order, `candidates` may run as parts.
///
/// # Errors
/// When nothing satisfies the constraints.
pub(crate) fn optimal(
    problem: &Problem,
    model: &CostModel,
    constraints: &Constraints,
    candidates: &[Candidate],
) -> Result<(Choice, Points), Infeasible> {
    search(problem, model, constraints, candidates, true)
}

/// [`optimal`] without the frontier.
pub(crate) fn least_cost(problem: &Problem, model: &CostModel, constraints: &Constraints) -> Option<Totals> {
    search(problem, model, constraints, &[], false).ok().map(|(choice, _)| choice.totals)
}

fn search(
    problem: &Problem,
    model: &CostModel,
    constraints: &Constraints,
    candidates: &[Candidate],
    with_frontier: bool,
) -> Result<(Choice, Points), Infeasible> {
    let count = problem.layers.len();
    let tried = if count <= MOST_ORDERED_LAYERS { orders(problem) } else { vec![Order::graph(count)] };
    let mut best: Option<Choice> = None;
    let mut points = Points { points: Vec::new(), complete: true };
    let mut refused = None;
    for order in tried {
        let reordered = problem.reordered(&order.layers);
        let costs = Costs::new(&reordered, model);
        let bounds = Bounds::new(constraints, &costs)?;
        let branches = Branches::find(&reordered, model, &bounds);
        let splits = match order.layers.is_sorted() {
            true => Splits::price(&costs, &bounds, candidates),
            false => Splits::default(),
        };
        let steps = Steps::with_splits(&costs, &bounds, &branches, &splits);
        match solve(&steps) {
            Some(solution) => {
                let choice = chosen(&steps, order, &solution);
                if best.as_ref().is_none_or(|best| is_better(model, &choice.totals, &best.totals)) {
                    best = Some(choice);
                }
                if with_frontier {
                    let mut found = frontier(&steps);
                    keep_some(&mut found.paths);
                    points.complete &= found.complete;
                    points.points.extend(found.paths.iter().map(|path| point(&steps, path)));
                }
            }
            None if refused.is_none() => refused = Some(relaxation::diagnose(&steps)),
            None => {}
        }
    }
    let Some(mut best) = best else {
        return Err(refused.unwrap_or(Infeasible::MinSlices { asked: 1, possible: 0 }));
    };
    if let Some(unsplit) = unsplit(problem, model, constraints)
        && unsplit.totals.cost <= best.totals.cost * (1.0 + model.pricing.tie.max(TIE))
    {
        best = unsplit;
    }
    points.points.push(point_of(&best));
    thin(&mut points, &best.totals);
    Ok((best, points))
}

/// The points that no plan within the constraints beats, with `chosen` among them.
pub(crate) fn points_around(
    problem: &Problem,
    model: &CostModel,
    constraints: &Constraints,
    chosen: FrontierPoint,
) -> Points {
    let mut points =
        search(problem, model, constraints, &[], true).map(|(_, points)| points).unwrap_or_default();
    points.points.iter_mut().for_each(|point| point.chosen = false);
    let totals = Totals { cost: chosen.cost, latency: chosen.latency_ms.0, ..Totals::default() };
    points.points.push(FrontierPoint { chosen: true, ..chosen });
    thin(&mut points, &totals);
    points
}

/// The best sizes for given cuts within the constraints.
///
/// # Errors
/// When there are none, as no size fits or the sizes that fit are too slow.
pub(crate) fn sized(
    problem: &Problem,
    model: &CostModel,
    order: Order,
    cuts: &[Range<usize>],
    constraints: &Constraints,
) -> Result<Choice, Infeasible> {
    let costs = Costs::new(problem, model);
    let bounds = Bounds::new(constraints, &costs)?;
    sized_within(&costs, &bounds, order, cuts)
}

/// [`sized`] with its preparations made.
///
/// # Errors
/// As there.
pub(crate) fn sized_within(
    costs: &Costs<'_>,
    bounds: &Bounds,
    order: Order,
    cuts: &[Range<usize>],
) -> Result<Choice, Infeasible> {
    let fixed = bounds.with_cuts(cuts.iter().map(|range| range.end), costs.problem().layers.len());
    let branches = Branches::default();
    let steps = Steps::new(costs, &fixed, &branches);
    match solve(&steps) {
        Some(solution) => Ok(chosen(&steps, order, &solution)),
        None => Err(relaxation::diagnose(&steps)),
    }
}

/// The segmentation of least latency, of equally fast ones the cheapest: what Gillis (Yu
/// and others, ICDCS 2021) looks for in its latency-optimal mode, on a chain. `candidates` may
/// run as parts.
///
/// # Errors
/// When nothing satisfies the constraints.
pub(crate) fn fastest(
    problem: &Problem,
    model: &CostModel,
    constraints: &Constraints,
    candidates: &[Candidate],
) -> Result<Choice, Infeasible> {
    let costs = Costs::new(problem, model);
    let bounds = Bounds::new(constraints, &costs)?;
    let branches = Branches::find(problem, model, &bounds);
    let splits = Splits::price(&costs, &bounds, candidates);
    let steps = Steps::with_splits(&costs, &bounds, &branches, &splits);
    let scale = least(&steps, |step| step.latency)
        .best()
        .zip(least(&steps, |step| step.cost).best())
        .map_or(0.0, |(latency, cost)| if cost.value > 0.0 { latency.value / cost.value } else { 0.0 });
    let table = least(&steps, |step| step.latency + scale * 1e-9 * step.cost);
    match table.path(&bounds).filter(|path| keeps(&bounds, path)) {
        Some(path) => Ok(chosen(&steps, Order::graph(problem.layers.len()), &Solution { path, exact: true })),
        None => Err(relaxation::diagnose(&steps)),
    }
}

/// The whole model in one function at its best size, where the constraints allow that.
pub(crate) fn unsplit(problem: &Problem, model: &CostModel, constraints: &Constraints) -> Option<Choice> {
    let count = problem.layers.len();
    let whole: Vec<Range<usize>> = std::iter::once(0..count).collect();
    let least = constraints.min_slices.unwrap_or(1);
    (least <= 1).then(|| sized(problem, model, Order::graph(count), &whole, constraints).ok()).flatten()
}

/// Leaves paths at even distances where there are more than a plan may keep many times over.
fn keep_some(paths: &mut Vec<Path>) {
    let every = paths.len().div_ceil(4 * MOST_POINTS).max(1);
    let last = paths.len().saturating_sub(1);
    let mut place = 0;
    paths.retain(|_| {
        let keep = place % every == 0 || place == last;
        place += 1;
        keep
    });
}

/// For each place between layers, the least cost of a segmentation of this order that is not
/// cut there, within what a function may hold; bounds on latency and on the number of
/// slices are left out. `None` where every segmentation is cut.
pub(crate) fn without_each_cut(costs: &Costs<'_>, constraints: &Constraints) -> Vec<Option<f64>> {
    let free = Constraints {
        max_slices: None,
        min_slices: None,
        latency_ms: None,
        cold_latency_ms: None,
        ..*constraints
    };
    let count = costs.problem().layers.len();
    let mut best = vec![None; count + 1];
    let Ok(bounds) = Bounds::new(&free, costs) else { return best };
    let bounds = bounds.any_count();
    let branches = Branches::default();
    let steps = Steps::new(costs, &bounds, &branches);
    let to_go = least(&steps, |step| step.cost);
    let mut so_far = vec![f64::INFINITY; count + 1];
    so_far[0] = 0.0;
    let mut buffer = Vec::new();
    for first in 0..count {
        // The least over ends beyond each place, as the steps come by rising end.
        let mut beyond = vec![f64::INFINITY; count + 2];
        for step in steps.from(first, &mut buffer) {
            let end = step.end as usize;
            so_far[end] = so_far[end].min(so_far[first] + step.cost);
            if let Some(rest) = to_go.value(end, 1) {
                beyond[end] = beyond[end].min(so_far[first] + step.cost + rest.value);
            }
        }
        for place in (first + 1..count).rev() {
            beyond[place] = beyond[place].min(beyond[place + 1]);
            let least = beyond[place + 1];
            if least.is_finite() && best[place].is_none_or(|best| least < best) {
                best[place] = Some(least);
            }
        }
    }
    best
}

fn keeps(bounds: &Bounds, path: &Path) -> bool {
    let totals = totals(path);
    bounds.latency.is_none_or(|most| totals.latency <= most.0)
        && bounds.cold.is_none_or(|most| totals.cold <= most.0)
}

/// The cheapest path within the bounds, or the fastest of those that cost as much as the
/// tie allows.
fn solve(steps: &Steps<'_>) -> Option<Solution> {
    let cheapest = within(steps, Objective::Cost, steps.bounds.latency.map(|most| most.0))?;
    let tie = steps.costs.model().pricing.tie;
    if tie <= 0.0 {
        return Some(cheapest);
    }
    let most = totals(&cheapest.path).cost * (1.0 + tie);
    let faster = within(steps, Objective::Latency, Some(most))?;
    let exact = cheapest.exact && faster.exact;
    let keeps = keeps(steps.bounds, &faster.path);
    Some(Solution { path: if keeps { faster.path } else { cheapest.path }, exact })
}

/// Whether a plan is to be preferred: cheaper, or within the tie and faster.
pub(crate) fn is_better(model: &CostModel, one: &Totals, other: &Totals) -> bool {
    let tie = model.pricing.tie;
    if tie > 0.0 && one.cost <= other.cost * (1.0 + tie) && other.cost <= one.cost * (1.0 + tie) {
        return one.latency < other.latency * (1.0 - TIE);
    }
    one.cost < other.cost * (1.0 - TIE)
}

fn chosen(steps: &Steps<'_>, order: Order, solution: &Solution) -> Choice {
    Choice {
        order,
        taken: solution.path.iter().map(|(first, step)| steps.taken(*first, step)).collect(),
        totals: totals(&solution.path),
        exact: solution.exact,
    }
}

fn point(steps: &Steps<'_>, path: &Path) -> FrontierPoint {
    let taken: Vec<Taken> = path.iter().map(|(first, step)| steps.taken(*first, step)).collect();
    point_with(&taken, &totals(path))
}

fn point_of(choice: &Choice) -> FrontierPoint {
    FrontierPoint { chosen: true, ..point_with(&choice.taken, &choice.totals) }
}

fn point_with(taken: &[Taken], totals: &Totals) -> FrontierPoint {
    let segments = || taken.iter().flat_map(Taken::segments);
    FrontierPoint {
        cost: totals.cost,
        latency_ms: Millis(totals.latency),
        cold_latency_ms: Millis(totals.cold),
        memory_time: segments().map(|segment| segment.memory_time).sum::<GibSeconds>(),
        largest_memory_bytes: segments().map(|segment| segment.memory).max().unwrap_or(ByteCount(0)),
        slices: totals.slices as u32,
        chosen: false,
    }
}

/// Most points that a plan keeps.
const MOST_POINTS: usize = 64;

/// Points by rising latency, none beaten but the chosen one, at most [`MOST_POINTS`]: both ends, the chosen
/// one, and of the others those at even distances.
fn thin(points: &mut Points, chosen: &Totals) {
    points.points.sort_by(|a, b| {
        a.latency_ms
            .0
            .total_cmp(&b.latency_ms.0)
            .then(a.cost.total_cmp(&b.cost))
            .then(b.chosen.cmp(&a.chosen))
    });
    let mut least_cost = f64::INFINITY;
    let same = |point: &FrontierPoint| {
        !point.chosen && point.cost == chosen.cost && point.latency_ms.0 == chosen.latency
    };
    points.points.retain(|point| {
        let better = point.cost < least_cost * (1.0 - TIE) && !same(point);
        if better {
            least_cost = point.cost;
        }
        better || point.chosen
    });
    let count = points.points.len();
    if count > MOST_POINTS {
        let stride = (count - 1) as f64 / (MOST_POINTS - 2) as f64;
        let mut kept: Vec<usize> =
            (0..MOST_POINTS - 1).map(|place| (place as f64 * stride).round() as usize).collect();
        kept.extend(points.points.iter().position(|point| point.chosen));
        kept.sort_unstable();
        kept.dedup();
        points.points = kept.into_iter().filter_map(|place| points.points.get(place).cloned()).collect();
    }
}

/// All steps of one order, for solvers that are not ours.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OrderSteps {
    /// Name of the order.
    pub order: String,
    /// Layers in it.
    pub layers: Vec<String>,
    /// What a plan may consist of there.
    pub steps: Vec<StepRecord>,
}

/// Adjacent layers of an order in one function of one size, or branches of them at once.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct StepRecord {
    /// First layer.
    pub first: usize,
    /// The layer after the last.
    pub end: usize,
    /// Functions that it takes.
    pub slices: usize,
    /// What one request is charged.
    pub cost: f64,
    /// What it adds to a warm request, in ms.
    pub latency_ms: f64,
}

/// What the search chooses from: every admitted step of every order that is tried. A plan is a
/// way from the first layer to past the last; a solver of integer programmes can look for
/// the cheapest on its own.
///
/// # Errors
/// When the problem is invalid or the constraints exclude each other.
pub fn every_step(
    problem: &Problem,
    model: &CostModel,
    constraints: &Constraints,
) -> Result<Vec<OrderSteps>, crate::PlanError> {
    problem.check()?;
    let mut found = Vec::new();
    for order in orders(problem) {
        let reordered = problem.reordered(&order.layers);
        let costs = Costs::new(&reordered, model);
        let bounds = Bounds::new(constraints, &costs).map_err(crate::PlanError::Infeasible)?;
        let branches = Branches::find(&reordered, model, &bounds);
        let steps = Steps::new(&costs, &bounds, &branches);
        let mut buffer = Vec::new();
        let mut records = Vec::new();
        for first in 0..steps.count() {
            records.extend(steps.from(first, &mut buffer).iter().map(|step| StepRecord {
                first,
                end: step.end as usize,
                slices: step.slices.into(),
                cost: step.cost,
                latency_ms: step.latency,
            }));
        }
        let layers = reordered.layers.iter().map(|layer| layer.name.clone()).collect();
        found.push(OrderSteps { order: order.name.to_owned(), layers, steps: records });
    }
    Ok(found)
}
