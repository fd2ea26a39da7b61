use crate::borders::{edges, slice_inputs, slice_outputs};
use crate::colocate::{colocated, together};
use crate::horizontal::{Candidate, Placed, candidates, compose, part_name, placed_of};
use crate::manual::manual;
use crate::order::Order;
use crate::search::{
    Choice, Points, Taken, Totals, fastest, is_better, optimal, points_around, sized, unsplit,
};
use crate::similarity::similarity;
use crate::simulate::{self, Hop};
use crate::uniform::uniform;
use crate::{CostModel, Costs, Infeasible, PlanError, Problem, Segment, Strategy, reason, verify};
use std::collections::HashMap;
use std::ops::Range;
use tranche_schema::{
    Constraints, Document as _, Frontier, FrontierPoint, FunctionSize, GibSeconds, MilliCpu, Millis, Plan,
    PlanPrediction, SlicePlan, SlicePrediction,
};

/// Relative difference between sums of the same times in another order.
const ROUNDING: f64 = 1e-9;

/// Cuts the layers by `strategy`, chooses a size for each slice, and makes the plan, in
/// passes: vertical (segments to slices and edges), transports (channel and codec of each
/// edge), reasons (why each cut is there). After each pass [`verify`] checks the plan.
///
/// `constraints` steer `optimal`, `gillis` and `similarity` without a number; every
/// strategy's plan must satisfy them.
///
/// # Errors
/// When the problem is invalid, the strategy's parameters do not fit the model,
/// or no plan (of this strategy) satisfies the constraints.
pub fn partition(
    problem: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
) -> Result<Plan, PlanError> {
    problem.check()?;
    let model = &CostModel { lossy: constraints.lossy, ..model.clone() };
    let plain = choose(problem, model, strategy, constraints)
        .and_then(|(choice, points)| make(problem, model, strategy, constraints, choice, points));
    let better = |split: &Plan, plain: &Plan| match strategy {
        Strategy::Gillis => split.prediction.latency_ms < plain.prediction.latency_ms,
        _ => is_better(model, &sums(split), &sums(plain)),
    };
    let most = constraints.max_parts.unwrap_or(1) as usize;
    let source = problem.horizontal.source.as_ref();
    let source = source.filter(|_| most > 1 && matches!(strategy, Strategy::Optimal | Strategy::Gillis));
    let found = source.map(|source| candidates(problem, source, most)).unwrap_or_default();
    let others = [
        split(problem, model, strategy, constraints, &found),
        match source {
            Some(_) => colocated(problem, model, strategy, constraints, &found),
            None => Ok(None),
        },
    ];
    let mut notes = Vec::new();
    let mut best = plain;
    for other in others {
        match other {
            Ok(Some(other)) if best.as_ref().map_or(true, |best| better(&other, best)) => best = Ok(other),
            Ok(_) => {}
            Err(why) => notes.push(format!("a plan with splits was found and could not be made: {why}")),
        }
    }
    best.map(|mut best| {
        if let Some(lossy) = constraints.lossy.filter(|_| best.edges.iter().all(|edge| edge.codec.is_lossless())) {
            notes.push(format!(
                "no tensor takes {lossy}: it saves no time, or what it saves was not measured, which `tranche plan` and `run` do"
            ));
        }
        best.notes.extend(notes);
        best
    })
}

fn sums(plan: &Plan) -> Totals {
    let prediction = &plan.prediction;
    Totals { cost: prediction.cost, latency: prediction.latency_ms.0, ..Totals::default() }
}

/// The best plan with splits, where they are allowed and one is chosen.
///
/// # Errors
/// When what the search chose cannot be made into a plan, or takes longer than it may then.
fn split(
    problem: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
    found: &[Candidate],
) -> Result<Option<Plan>, PlanError> {
    if found.is_empty() {
        return Ok(None);
    }
    let chosen = match strategy {
        Strategy::Gillis => {
            fastest(problem, model, constraints, found).map(|choice| (choice, Points::default()))
        }
        _ => optimal(problem, model, constraints, found),
    };
    // Where nothing satisfies the constraints, the search without splits says so.
    let Ok((choice, points)) = chosen else { return Ok(None) };
    let is_split = choice.taken.iter().any(|taken| matches!(taken, Taken::Split { .. }));
    if !is_split {
        return Ok(None);
    }
    let (composed, cuts) = compose(problem, &placed(&choice))?;
    composed_plan(&composed, model, strategy, constraints, &cuts, points).map(Some)
}

/// What a choice runs next to what, by places in the graph's order.
pub(crate) fn placed(choice: &Choice) -> Vec<Placed> {
    let order = &choice.order.layers;
    let slice =
        |layers: &mut dyn Iterator<Item = usize>| Placed::Slice(layers.map(|place| order[place]).collect());
    choice
        .taken
        .iter()
        .flat_map(|taken| match taken {
            Taken::Slice(segment) => vec![slice(&mut segment.layers.clone())],
            Taken::Branches { parts, .. } => {
                parts.iter().map(|(layers, _)| slice(&mut layers.iter().copied())).collect()
            }
            Taken::Split { candidate, .. } => vec![Placed::split(candidate)],
        })
        .collect()
}

/// The plan of a problem with splits in it, cut where they and the slices between them are.
fn composed_plan(
    composed: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
    cuts: &[Range<usize>],
    points: Points,
) -> Result<Plan, PlanError> {
    composed.check()?;
    // What runs at once takes less than one after the other, which is what sizes are searched with.
    let free = Constraints { latency_ms: None, cold_latency_ms: None, ..*constraints };
    let order = Order::graph(composed.layers.len());
    let broken = |why| breaks(composed, model, strategy, constraints, cuts, why);
    let choice = sized(composed, model, order, cuts, &free).map_err(broken)?;
    let plan = make(composed, model, strategy, constraints, choice, points)?;
    keep_latencies(&plan, constraints).map_err(broken)?;
    Ok(plan)
}

/// # Errors
/// When the plan takes longer than it may.
pub(crate) fn keep_latencies(plan: &Plan, constraints: &Constraints) -> Result<(), Infeasible> {
    let beyond =
        |bound: Option<Millis>, found: Millis| bound.filter(|bound| found.0 > bound.0 * (1.0 + ROUNDING));
    let (warm, cold) = (plan.prediction.latency_ms, plan.prediction.cold_latency_ms);
    if let Some(asked) = beyond(constraints.latency_ms, warm) {
        return Err(Infeasible::Latency { asked, needed: warm });
    }
    match beyond(constraints.cold_latency_ms, cold) {
        Some(asked) => Err(Infeasible::ColdLatency { asked, needed: cold }),
        None => Ok(()),
    }
}

/// The same cuts as `plan`, which `strategy` chose, under the same constraints,
/// priced anew: sizes and predictions follow what the profile measured since.
///
/// # Errors
/// When the problem is invalid, its layers are not those of the plan, or the plan
/// breaks its constraints now that it is priced anew.
pub fn reprice(
    problem: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    plan: &Plan,
) -> Result<Plan, PlanError> {
    problem.check()?;
    let model = &CostModel { lossy: plan.constraints.lossy, ..model.clone() };
    if plan.slices.iter().any(|slice| !slice.members.is_empty()) {
        let (composed, cuts) = compose(problem, &placed_of(problem, plan)?)?;
        let again = together(&composed, model, strategy, &plan.constraints, &cuts, None)?;
        let again = again.ok_or_else(|| PlanError::BreaksConstraint {
            strategy: strategy.to_string(),
            what: "no function holds all its models within the constraints".to_owned(),
        })?;
        return Ok(Plan { residual: plan.residual, ..again });
    }
    if !plan.splits.is_empty() {
        let (composed, cuts) = compose(problem, &placed_of(problem, plan)?)?;
        let again = composed_plan(&composed, model, strategy, &plan.constraints, &cuts, Points::default())?;
        return Ok(Plan { residual: plan.residual, ..again });
    }
    let (layers, cuts) = cuts_of(problem, plan)?;
    let reordered = problem.reordered(&layers);
    let name = Order::known_name(&plan.order);
    let order = Order { name, layers };
    let constraints = &plan.constraints;
    let broken = |why| breaks(&reordered, model, strategy, constraints, &cuts, why);
    let choice = match sized(&reordered, model, order.clone(), &cuts, constraints) {
        // Slices that run at once take less than one after the other, which is what is searched with.
        Err(
            Infeasible::Latency { .. } | Infeasible::ColdLatency { .. } | Infeasible::BothLatencies { .. },
        ) => {
            let free = Constraints { latency_ms: None, cold_latency_ms: None, ..*constraints };
            sized(&reordered, model, order, &cuts, &free).map_err(broken)?
        }
        found => found.map_err(broken)?,
    };
    let again = make(problem, model, strategy, constraints, choice, Points::default())?;
    keep_latencies(&again, constraints).map_err(broken)?;
    Ok(Plan { residual: plan.residual, ..again })
}

/// The plan with the frontier as it is now that more was measured, and the plan's point in
/// it. A plan of a strategy that does not search has none.
#[must_use]
pub fn with_frontier(problem: &Problem, model: &CostModel, plan: Plan) -> Plan {
    if plan.strategy != Strategy::Optimal.to_string() {
        return plan;
    }
    let prediction = &plan.prediction;
    let chosen = FrontierPoint {
        cost: prediction.cost,
        latency_ms: prediction.latency_ms,
        cold_latency_ms: prediction.cold_latency_ms,
        memory_time: prediction.memory_time,
        largest_memory_bytes: prediction.largest_memory_bytes,
        slices: plan.slices.len() as u32,
        chosen: true,
    };
    let points = points_around(problem, model, &plan.constraints, chosen);
    Plan { frontier: Frontier { complete: points.complete, points: points.points }, ..plan }
}

/// The order of the problem's layers in which a plan runs them, and its cuts there.
///
/// # Errors
/// When its layers are not those of the problem, each once and writers before readers.
pub(crate) fn cuts_of(problem: &Problem, plan: &Plan) -> Result<(Vec<usize>, Vec<Range<usize>>), PlanError> {
    let places: HashMap<&str, usize> =
        problem.layers.iter().enumerate().map(|(place, layer)| (layer.name.as_str(), place)).collect();
    let mut seen = vec![false; problem.layers.len()];
    let mut order = Vec::with_capacity(seen.len());
    let mut cuts = Vec::with_capacity(plan.slices.len());
    for slice in &plan.slices {
        let other = || PlanError::OtherLayers { slice: slice.name.clone() };
        let start = order.len();
        for name in &slice.layers {
            let &place = places.get(name.as_str()).ok_or_else(other)?;
            if std::mem::replace(&mut seen[place], true) {
                return Err(other());
            }
            order.push(place);
        }
        cuts.push(start..order.len());
    }
    let whole = order.len() == problem.layers.len();
    let last = plan.slices.last().map(|slice| slice.name.clone()).unwrap_or_default();
    if !whole || !runs_in(problem, &order) {
        return Err(PlanError::OtherLayers { slice: last });
    }
    Ok((order, cuts))
}

/// Whether each tensor is written before it is read.
fn runs_in(problem: &Problem, order: &[usize]) -> bool {
    let mut place = vec![0; order.len()];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new;
    }
    problem.tensors.iter().all(|tensor| {
        tensor
            .producer
            .is_none_or(|producer| tensor.consumers.iter().all(|&consumer| place[producer] < place[consumer]))
    })
}

fn choose(
    problem: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
) -> Result<(Choice, Points), PlanError> {
    let none = Points::default();
    let count = problem.layers.len();
    let cuts = match strategy {
        Strategy::Optimal => return optimal(problem, model, constraints, &[]).map_err(PlanError::Infeasible),
        Strategy::Gillis => {
            return fastest(problem, model, constraints, &[])
                .map(|choice| (choice, none))
                .map_err(PlanError::Infeasible);
        }
        Strategy::Similarity { slices } => similarity(&Costs::new(problem, model), *slices, constraints)?,
        Strategy::Uniform(parts) => uniform(&Costs::new(problem, model), *parts)?,
        Strategy::Unsplit => std::iter::once(0..count).collect(),
        Strategy::Manual(names) => manual(&Costs::new(problem, model), names)?,
    };
    sized(problem, model, Order::graph(count), &cuts, constraints)
        .map(|choice| (choice, none))
        .map_err(|why| breaks(problem, model, strategy, constraints, &cuts, why))
}

/// Which constraint given cuts break.
fn breaks(
    problem: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
    cuts: &[Range<usize>],
    why: Infeasible,
) -> PlanError {
    let fail = |what: String| PlanError::BreaksConstraint { strategy: strategy.to_string(), what };
    if matches!(why, Infeasible::SliceBounds { .. }) {
        return PlanError::Infeasible(why);
    }
    let least = constraints.min_slices.unwrap_or(1) as usize;
    if cuts.len() < least {
        return fail(format!("it has {} slices, min-slices is {least}", cuts.len()));
    }
    let most = [constraints.max_slices, model.pricing.functions].into_iter().flatten().min();
    if let Some(most) = most.filter(|&most| cuts.len() > most as usize) {
        return fail(format!("it has {} slices, max-slices is {most}", cuts.len()));
    }
    let costs = Costs::new(problem, model);
    let largest = model.pricing.largest_memory();
    let memory = constraints.max_memory_bytes.unwrap_or(largest).min(largest);
    for (index, layers) in cuts.iter().enumerate() {
        let Some(stretch) = costs.stretch(layers.clone()) else { continue };
        if stretch.outputs == 0 {
            return fail(format!("nobody reads what slice-{index} computes"));
        }
        if stretch.need > memory {
            return fail(format!("slice-{index} needs {}, max-memory is {memory}", stretch.need));
        }
    }
    match why {
        Infeasible::Latency { asked, needed } => {
            fail(format!("it takes {needed}, latency is bound to {asked}"))
        }
        other => fail(other.to_string()),
    }
}

/// The passes after the choice of cuts.
pub(crate) fn make(
    problem: &Problem,
    model: &CostModel,
    strategy: &Strategy,
    constraints: &Constraints,
    choice: Choice,
    points: Points,
) -> Result<Plan, PlanError> {
    let (order, path) = laid_out(&choice);
    let reordered = problem.reordered(&order);
    let costs = Costs::new(&reordered, model);
    let whole = whole(problem.unsplit(), model, constraints);
    let mut plan = vertical(&costs, strategy, constraints, &path, &whole);
    plan.order = choice.order.name.to_owned();
    if let Some(basis) = &problem.horizontal.basis {
        plan.splits.clone_from(&basis.splits);
        plan.patch = Some(basis.patch.clone());
    }
    check_pass(&costs, "vertical", &plan)?;
    plan = transports(&costs, &plan, &path, &whole);
    check_pass(&costs, "transports", &plan)?;
    plan.frontier = Frontier { complete: points.complete, points: points.points };
    plan = reason::explain_cuts(&costs, strategy, &plan, &path, problem.unsplit());
    if !choice.exact {
        plan.notes
            .push("the search was ended early: a better plan may exist within the constraints".to_owned());
    }
    check_pass(&costs, "reasons", &plan)?;
    Ok(plan)
}

/// The problem's places in the order in which slices run them, and each slice's segment
/// there: branches that are slices of their own are laid out one after the other.
fn laid_out(choice: &Choice) -> (Vec<usize>, Vec<Segment>) {
    let mut order = Vec::with_capacity(choice.order.layers.len());
    let mut path = Vec::new();
    let mut add = |places: &[usize], segment: &Segment| {
        let start = order.len();
        order.extend(places.iter().map(|&place| choice.order.layers[place]));
        path.push(Segment { layers: start..order.len(), ..segment.clone() });
    };
    for taken in &choice.taken {
        match taken {
            Taken::Slice(segment) => add(&segment.layers.clone().collect::<Vec<_>>(), segment),
            Taken::Branches { parts, .. } => {
                parts.iter().for_each(|(places, segment)| add(places, segment));
            }
            // Written into the problem before a plan is made of it (`compose`).
            Taken::Split { .. } => {}
        }
    }
    (order, path)
}

/// The whole model in one function: at its best size within the constraints on latency,
/// else as if there were none.
fn whole(problem: &Problem, model: &CostModel, constraints: &Constraints) -> Option<Segment> {
    let own = Constraints { min_slices: None, max_slices: None, ..*constraints };
    let choice = unsplit(problem, model, &own).or_else(|| unsplit(problem, model, &Constraints::default()));
    match choice.map(|choice| choice.taken).as_deref() {
        Some([Taken::Slice(segment)]) => Some(segment.clone()),
        _ => Costs::new(problem, model).segment(0..problem.layers.len()),
    }
}

fn check_pass(costs: &Costs<'_>, pass: &'static str, plan: &Plan) -> Result<(), PlanError> {
    verify(costs, plan).map_err(|rule| PlanError::BrokenPlan { pass, rule })
}

/// Pass: segments become slices, and tensors that cross become raw inline edges.
fn vertical(
    costs: &Costs<'_>,
    strategy: &Strategy,
    constraints: &Constraints,
    path: &[Segment],
    whole: &Option<Segment>,
) -> Plan {
    let problem = costs.problem();
    let slices = path
        .iter()
        .enumerate()
        .map(|(index, segment)| {
            let range = &segment.layers;
            let size = FunctionSize { memory_bytes: segment.memory, cpu_milli: segment.cpu };
            let layers = &problem.layers[range.clone()];
            let mut nodes: Vec<_> = layers.iter().flat_map(|layer| &layer.nodes).collect();
            nodes.sort_by_key(|node| node.index);
            SlicePlan {
                name: format!("slice-{index}"),
                layers: layers.iter().map(|layer| layer.name.clone()).collect(),
                nodes: nodes.into_iter().map(|node| node.name.clone()).collect(),
                inputs: slice_inputs(problem, range),
                outputs: slice_outputs(problem, range),
                size,
                threads: size.cpu_milli.threads() as u32,
                members: Vec::new(),
                prediction: SlicePrediction::default(),
                reason: String::new(),
                without_cut: None,
            }
        })
        .collect();
    let plan = Plan {
        header: Plan::header(),
        model: problem.model.clone(),
        profile_digest: problem.profile_digest.clone(),
        dimensions: problem.dimensions.clone(),
        strategy: strategy.to_string(),
        engine: problem.engine.clone(),
        constraints: *constraints,
        inputs: problem.inputs.clone(),
        outputs: problem.outputs.clone(),
        slices,
        edges: edges(problem, path),
        splits: Vec::new(),
        patch: None,
        prediction: PlanPrediction::default(),
        pricing: costs.model().pricing.identity.clone(),
        workload: costs.model().workload,
        order: String::new(),
        frontier: tranche_schema::Frontier::default(),
        residual: None,
        notes: Vec::new(),
    };
    priced(costs, plan, path, whole)
}

/// Pass: each edge gets the channel and codec that the cost model prefers.
fn transports(costs: &Costs<'_>, plan: &Plan, path: &[Segment], whole: &Option<Segment>) -> Plan {
    let mut plan = plan.clone();
    for edge in &mut plan.edges {
        let internal = edge.from.is_some() && !edge.to_caller;
        let transport = costs.model().transport_coded(
            edge.tensor.bytes(),
            internal,
            costs.problem().codings_of(&edge.tensor.name),
        );
        edge.codec = transport.codec;
        edge.channel = transport.channel;
    }
    priced(costs, plan, path, whole)
}

/// The plan with sizes and predictions as its slices and edges now are.
fn priced(costs: &Costs<'_>, mut plan: Plan, path: &[Segment], whole: &Option<Segment>) -> Plan {
    let model = costs.model();
    for (slice, segment) in plan.slices.iter_mut().zip(path) {
        slice.prediction = predict(segment);
    }
    let (hops, cold) = (hops(costs, &plan, path), model.workload.cold_fraction);
    let (p50_ms, p99_ms) = simulate::percentiles(&hops, cold);
    let alone: Vec<Hop> = whole.iter().map(|whole| hop(costs, whole, Vec::new())).collect();
    let of_whole = |value: fn(&Segment) -> f64| whole.as_ref().map_or(0.0, value);
    plan.prediction = PlanPrediction {
        latency_ms: simulate::latency(&hops, false),
        memory_time: path.iter().map(|segment| segment.memory_time).sum(),
        largest_memory_bytes: path.iter().map(|segment| segment.memory).max().unwrap_or_default(),
        lower_bound: costs.memory_time_bound(),
        unsplit_memory_time: GibSeconds(of_whole(|whole| whole.memory_time.0)),
        unsplit_latency_ms: simulate::latency(&alone, false),
        unsplit_memory_bytes: whole.as_ref().map(|whole| whole.memory).unwrap_or_default(),
        cost: path.iter().map(|segment| segment.cost).sum(),
        cost_lower_bound: costs.lower_bound(),
        unsplit_cost: of_whole(|whole| whole.cost),
        unsplit_cpu_milli: whole.as_ref().map_or(MilliCpu(0), |whole| whole.cpu),
        cold_latency_ms: simulate::latency(&hops, true),
        unsplit_cold_latency_ms: simulate::latency(&alone, true),
        p50_ms,
        p99_ms,
        unsplit_p99_ms: if alone.is_empty() { Millis(0.0) } else { simulate::percentiles(&alone, cold).1 },
    };
    plan
}

/// What a slice takes.
fn predict(segment: &Segment) -> SlicePrediction {
    SlicePrediction {
        run_ms: segment.run,
        handoff_ms: segment.handoff,
        billed_ms: segment.billed,
        memory_time: segment.memory_time,
        cost: segment.cost,
        start_up_ms: segment.start_up,
        weights_bytes: segment.weights,
        peak_activation_bytes: segment.peak_activation,
    }
}

/// The slices as a request meets them.
fn hops(costs: &Costs<'_>, plan: &Plan, path: &[Segment]) -> Vec<Hop> {
    let place: HashMap<&str, usize> =
        plan.slices.iter().enumerate().map(|(index, slice)| (slice.name.as_str(), index)).collect();
    let mut after = vec![Vec::new(); plan.slices.len()];
    for edge in &plan.edges {
        let Some(&from) = edge.from.as_deref().and_then(|from| place.get(from)) else { continue };
        for to in edge.to.iter().filter_map(|to| place.get(to.as_str())) {
            after[*to].push(from);
        }
    }
    let mut hops: Vec<Hop> =
        path.iter().zip(after).map(|(segment, after)| hop(costs, segment, after)).collect();
    // The driver calls the parts of a split one after the other.
    for (hop, slice) in hops.iter_mut().zip(&plan.slices) {
        hop.warm += costs.model().driver.0 * part_of(costs.problem(), slice).unwrap_or(0) as f64;
    }
    hops
}

/// Which part of a split a slice is, from 0.
fn part_of(problem: &Problem, slice: &SlicePlan) -> Option<usize> {
    let basis = problem.horizontal.basis.as_ref()?;
    let [layer] = slice.layers.as_slice() else { return None };
    basis
        .splits
        .iter()
        .find_map(|split| (0..split.parts as usize).find(|&part| part_name(&split.name, part) == *layer))
}

fn hop(costs: &Costs<'_>, segment: &Segment, after: Vec<usize>) -> Hop {
    Hop {
        after,
        warm: segment.latency.0,
        spread: costs.spread(&segment.layers, segment.cpu),
        start_up: segment.start_up.0,
        first_run_excess: segment.first_run_excess.0,
    }
}
