use crate::manual::manual;
use crate::optimal::{Bounds, optimal};
use crate::similarity::similarity;
use crate::uniform::uniform;
use crate::{CostModel, Costs, PlanError, Problem, Segment, Strategy, reason, verify};
use std::ops::Range;
use tranche_schema::{
    ByteCount, Channel, Codec, Constraints, Document as _, Edge, FunctionSize, GibSeconds, Millis, Plan,
    PlanPrediction, SlicePlan, SlicePrediction, TensorSpec,
};

/// Cuts the layer order by `strategy` and makes the plan, in passes: vertical
/// (segments to slices and edges), transports (channel and codec of each edge),
/// reasons (why each cut is there). After each pass [`verify`] checks the plan.
///
/// `constraints` steer `optimal` and `similarity` without a number; every
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
    let costs = Costs::new(problem, model);
    let path = choose(&costs, strategy, constraints)?;
    make(&costs, strategy, constraints, &path)
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
    let costs = Costs::new(problem, model);
    let mut path = Vec::with_capacity(plan.slices.len());
    let mut start = 0;
    for slice in &plan.slices {
        let end = start + slice.layers.len();
        let same = problem
            .layers
            .get(start..end)
            .is_some_and(|layers| layers.iter().map(|layer| &layer.name).eq(&slice.layers));
        if !same {
            return Err(PlanError::OtherLayers { slice: slice.name.clone() });
        }
        path.push(start..end);
        start = end;
    }
    make(&costs, strategy, &plan.constraints, &path)
}

/// The passes after the choice of cuts.
fn make(
    costs: &Costs<'_>,
    strategy: &Strategy,
    constraints: &Constraints,
    path: &[Range<usize>],
) -> Result<Plan, PlanError> {
    check_constraints(costs, strategy, constraints, path)?;
    let mut plan = vertical(costs, strategy, constraints, path);
    check_pass(costs, "vertical", &plan)?;
    plan = transports(costs, &plan);
    check_pass(costs, "transports", &plan)?;
    plan = reason::explain_cuts(costs, strategy, &plan, path);
    check_pass(costs, "reasons", &plan)?;
    Ok(plan)
}

fn choose(
    costs: &Costs<'_>,
    strategy: &Strategy,
    constraints: &Constraints,
) -> Result<Vec<Range<usize>>, PlanError> {
    match strategy {
        Strategy::Optimal => optimal(costs, constraints),
        Strategy::Similarity { slices } => similarity(costs, *slices, constraints),
        Strategy::Uniform(parts) => uniform(costs, *parts),
        Strategy::Unsplit => Ok(std::iter::once(0..costs.problem().layers.len()).collect()),
        Strategy::Manual(names) => manual(costs, names),
    }
}

fn check_pass(costs: &Costs<'_>, pass: &'static str, plan: &Plan) -> Result<(), PlanError> {
    verify(costs, plan).map_err(|rule| PlanError::BrokenPlan { pass, rule })
}

fn check_constraints(
    costs: &Costs<'_>,
    strategy: &Strategy,
    constraints: &Constraints,
    path: &[Range<usize>],
) -> Result<(), PlanError> {
    let bounds = Bounds::new(constraints, costs.problem().layers.len()).map_err(PlanError::Infeasible)?;
    let fail = |what: String| Err(PlanError::BreaksConstraint { strategy: strategy.to_string(), what });
    if path.len() < bounds.least {
        return fail(format!("it has {} slices, min-slices is {}", path.len(), bounds.least));
    }
    if let Some(most) = bounds.most
        && path.len() > most
    {
        return fail(format!("it has {} slices, max-slices is {most}", path.len()));
    }
    for (index, segment) in segments(costs, path).iter().enumerate() {
        if segment.outputs == 0 {
            return fail(format!("nobody reads what slice-{index} computes"));
        }
        if !bounds.admits(segment) {
            let most = bounds.memory.unwrap_or_default();
            return fail(format!("slice-{index} needs {}, max-memory is {most}", segment.memory));
        }
    }
    let latency = Millis(crate::optimal::total_latency(costs, path));
    match bounds.latency {
        Some(most) if latency > most => fail(format!("it takes {latency}, latency is bound to {most}")),
        _ => Ok(()),
    }
}

fn segments(costs: &Costs<'_>, path: &[Range<usize>]) -> Vec<Segment> {
    path.iter().filter_map(|layers| costs.segment(layers.clone())).collect()
}

/// Pass: segments become slices, and tensors that cross become raw inline edges.
fn vertical(
    costs: &Costs<'_>,
    strategy: &Strategy,
    constraints: &Constraints,
    path: &[Range<usize>],
) -> Plan {
    let problem = costs.problem();
    let size = FunctionSize { memory_bytes: ByteCount(0), cpu_milli: costs.model().cpu };
    let slices = path
        .iter()
        .enumerate()
        .map(|(index, range)| {
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
        prediction: PlanPrediction::default(),
        pricing: tranche_schema::PlanPricing::default(),
        workload: tranche_schema::PlanWorkload::default(),
        order: String::new(),
        frontier: tranche_schema::Frontier::default(),
        residual: None,
        notes: Vec::new(),
    };
    priced(costs, plan)
}

/// Tensors read in the range and written before it, in problem order.
fn slice_inputs(problem: &Problem, range: &Range<usize>) -> Vec<TensorSpec> {
    let reads = |tensor: &&crate::BorderTensor| {
        tensor.producer.is_none_or(|producer| producer < range.start)
            && tensor.consumers.iter().any(|consumer| range.contains(consumer))
    };
    problem.tensors.iter().filter(reads).map(|tensor| tensor.spec.clone()).collect()
}

/// Tensors written in the range and needed after it, in problem order.
fn slice_outputs(problem: &Problem, range: &Range<usize>) -> Vec<TensorSpec> {
    let writes = |tensor: &&crate::BorderTensor| {
        tensor.producer.is_some_and(|producer| range.contains(&producer))
            && (tensor.to_caller || tensor.consumers.last().is_some_and(|&last| last >= range.end))
    };
    problem.tensors.iter().filter(writes).map(|tensor| tensor.spec.clone()).collect()
}

/// Edges by producer (the caller first), then by name.
fn edges(problem: &Problem, path: &[Range<usize>]) -> Vec<Edge> {
    let slice_of = |layer: usize| path.iter().position(|range| range.contains(&layer));
    let mut edges = Vec::new();
    for tensor in &problem.tensors {
        let from = tensor.producer.and_then(slice_of);
        let mut to: Vec<usize> = tensor
            .consumers
            .iter()
            .filter_map(|&layer| slice_of(layer))
            .filter(|&to| Some(to) != from)
            .collect();
        to.dedup();
        if to.is_empty() && !tensor.to_caller {
            continue;
        }
        let name = |slice: usize| format!("slice-{slice}");
        let edge = Edge {
            tensor: tensor.spec.clone(),
            from: from.map(name),
            to: to.into_iter().map(name).collect(),
            to_caller: tensor.to_caller,
            codec: Codec::Raw,
            channel: Channel::Inline,
        };
        edges.push((from, edge));
    }
    edges.sort_by(|(left_from, left), (right_from, right)| {
        left_from.cmp(right_from).then_with(|| left.tensor.name.cmp(&right.tensor.name))
    });
    edges.into_iter().map(|(_, edge)| edge).collect()
}

/// Pass: each edge gets the channel and codec that the cost model prefers.
fn transports(costs: &Costs<'_>, plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for edge in &mut plan.edges {
        let internal = edge.from.is_some() && !edge.to_caller;
        let transport = costs.model().transport(edge.tensor.bytes(), internal);
        edge.codec = transport.codec;
        edge.channel = transport.channel;
    }
    priced(costs, plan)
}

/// The plan with sizes and predictions as its slices and edges now are.
fn priced(costs: &Costs<'_>, mut plan: Plan) -> Plan {
    let mut start = 0;
    let mut latency = Millis(0.0);
    for slice in &mut plan.slices {
        let range = start..start + slice.layers.len();
        start = range.end;
        let Some(segment) = costs.segment(range) else { continue };
        slice.size.memory_bytes = segment.memory;
        slice.prediction = predict(costs.model(), &slice.name, &segment, &plan.edges);
        latency = latency + slice.prediction.billed_ms + costs.model().driver;
    }
    let whole = costs.segment(0..costs.problem().layers.len());
    let unsplit = |value: fn(&Segment) -> f64| whole.as_ref().map_or(0.0, value);
    plan.prediction = PlanPrediction {
        latency_ms: latency,
        memory_time: plan.slices.iter().map(|slice| slice.prediction.memory_time).sum(),
        largest_memory_bytes: plan
            .slices
            .iter()
            .map(|slice| slice.size.memory_bytes)
            .max()
            .unwrap_or_default(),
        lower_bound: costs.lower_bound(),
        unsplit_memory_time: GibSeconds(unsplit(|whole| whole.cost.0)),
        unsplit_latency_ms: Millis(unsplit(|whole| whole.latency.0)),
        unsplit_memory_bytes: whole.as_ref().map(|whole| whole.memory).unwrap_or_default(),
        ..PlanPrediction::default()
    };
    if plan.slices.len() == 1 {
        // The same sums in another order would differ in the last digit.
        plan.prediction.unsplit_memory_time = plan.prediction.memory_time;
        plan.prediction.unsplit_latency_ms = plan.prediction.latency_ms;
    }
    plan
}

/// What a slice takes with these edges.
fn predict(model: &CostModel, name: &str, segment: &Segment, edges: &[Edge]) -> SlicePrediction {
    let mut handoff = model.per_request;
    for edge in edges {
        let rate = model.rate(edge.tensor.bytes(), edge.codec, edge.channel);
        if edge.from.as_deref() == Some(name) {
            handoff += rate.send;
        }
        if edge.to.iter().any(|to| to == name) {
            handoff += rate.receive;
        }
    }
    let billed = segment.run + handoff;
    SlicePrediction {
        run_ms: segment.run,
        handoff_ms: handoff,
        billed_ms: billed,
        memory_time: GibSeconds::of(segment.memory, billed),
        weights_bytes: segment.weights,
        peak_activation_bytes: segment.peak_activation,
        ..SlicePrediction::default()
    }
}
