use crate::Costs;
use crate::horizontal::{compose, placed_of};
use crate::plan::cuts_of;
use std::collections::{HashMap, HashSet};
use tranche_schema::{Channel, Edge, Plan, SlicePlan, TensorSpec};

/// Relative difference allowed between sums of the same times in another order.
const ROUNDING: f64 = 1e-9;

/// Checks a plan against its problem, by these invariants:
///
/// 1. Slice names are unique and there is at least one slice.
/// 2. Slices in order hold each of the problem's layers exactly once, in an order in
///    which they can run.
/// 3. Each node is in exactly one slice, that of its layer; nodes of a slice are
///    in graph order.
/// 4. The quotient is acyclic and slices are in a runnable order: no tensor is
///    written in a later slice than one that reads it.
/// 5. There is exactly one edge for each tensor that crosses a border, with its
///    type and shape, its writer, all its readers in plan order, and whether the
///    caller gets it.
/// 6. A slice's inputs are exactly the tensors of edges to it, its outputs those
///    of edges from it, each once and at least one; every output of the model has
///    an edge to the caller.
/// 7. Mapped files are used between slices alone.
/// 8. A slice's memory limit holds what the cost model expects, threads fit its
///    CPU share.
/// 9. Predictions are finite, not negative, and add up; no request is faster than its
///    slowest slice, or slower than all slices one after the other.
/// 10. Members of a slice hold each of its nodes exactly once, read what is there when
///     they run, and write the slice's outputs.
///
/// # Errors
/// The first broken invariant, naming the slice, node or tensor.
pub fn verify(costs: &Costs<'_>, plan: &Plan) -> Result<(), String> {
    if !plan.splits.is_empty() && costs.problem().horizontal.basis.is_none() {
        let composed = placed_of(costs.problem(), plan).and_then(|placed| compose(costs.problem(), &placed));
        let (composed, _) = composed.map_err(|error| error.to_string())?;
        return verify(&Costs::new(&composed, costs.model()), plan);
    }
    if let Some(basis) = &costs.problem().horizontal.basis {
        let same = plan.patch.as_ref().is_none_or(|patch| *patch == basis.patch)
            && (plan.splits.is_empty() || plan.splits == basis.splits);
        ensure(same, || "the patch is not what its splits make of the graph".to_owned())?;
    }
    // Where its layers are not the problem's, the check below says which.
    let order = cuts_of(costs.problem(), plan).map(|(order, _)| order).unwrap_or_default();
    if order.is_sorted() {
        return check(costs, plan);
    }
    let reordered = costs.problem().reordered(&order);
    check(&Costs::new(&reordered, costs.model()), plan)
}

fn check(costs: &Costs<'_>, plan: &Plan) -> Result<(), String> {
    let slice_of_layer = check_layers(costs, plan)?;
    check_nodes(costs, plan, &slice_of_layer)?;
    check_edges(costs, plan, &slice_of_layer)?;
    for slice in &plan.slices {
        check_borders(plan, slice)?;
        check_members(slice)?;
    }
    check_outputs(plan)?;
    check_sizes(costs, plan)
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}

/// Invariants 1 and 2; gives the slice of each layer.
fn check_layers(costs: &Costs<'_>, plan: &Plan) -> Result<Vec<usize>, String> {
    ensure(!plan.slices.is_empty(), || "there is no slice".to_owned())?;
    let mut names = HashSet::new();
    let mut slice_of_layer = Vec::new();
    let mut expected = costs.problem().layers.iter();
    for (index, slice) in plan.slices.iter().enumerate() {
        ensure(names.insert(&slice.name), || format!("two slices are named `{}`", slice.name))?;
        ensure(!slice.layers.is_empty(), || format!("`{}` has no layer", slice.name))?;
        for layer in &slice.layers {
            let next = expected.next().map(|layer| layer.name.as_str());
            ensure(next == Some(layer), || {
                format!("`{}` has layer `{layer}` where `{}` is next", slice.name, next.unwrap_or("none"))
            })?;
            slice_of_layer.push(index);
        }
    }
    match expected.next() {
        Some(layer) => Err(format!("layer `{}` is in no slice", layer.name)),
        None => Ok(slice_of_layer),
    }
}

/// Invariant 3.
fn check_nodes(costs: &Costs<'_>, plan: &Plan, slice_of_layer: &[usize]) -> Result<(), String> {
    let mut home = HashMap::new();
    for (layer, &slice) in costs.problem().layers.iter().zip(slice_of_layer) {
        home.extend(layer.nodes.iter().map(|node| (node.name.as_str(), (slice, node.index))));
    }
    for (index, slice) in plan.slices.iter().enumerate() {
        let mut last = None;
        for node in &slice.nodes {
            let found = home.remove(node.as_str());
            ensure(found.is_some_and(|(slice, _)| slice == index), || {
                format!("node `{node}` does not belong in `{}`, or is there twice", slice.name)
            })?;
            let place = found.map(|(_, place)| place);
            ensure(last < place, || format!("node `{node}` of `{}` is out of graph order", slice.name))?;
            last = place;
        }
    }
    match home.keys().min() {
        Some(node) => Err(format!("node `{node}` is in no slice")),
        None => Ok(()),
    }
}

/// Invariants 4, 5 and 7.
fn check_edges(costs: &Costs<'_>, plan: &Plan, slice_of_layer: &[usize]) -> Result<(), String> {
    let mut edges: HashMap<&str, &Edge> = HashMap::new();
    for edge in &plan.edges {
        let name = edge.tensor.name.as_str();
        ensure(edges.insert(name, edge).is_none(), || format!("tensor `{name}` has two edges"))?;
        ensure(edge.channel == Channel::Inline || (edge.from.is_some() && !edge.to_caller), || {
            format!("tensor `{name}` goes between slice and caller in a mapped file")
        })?;
    }
    let name_of = |slice: usize| plan.slices[slice].name.as_str();
    for tensor in &costs.problem().tensors {
        let name = &tensor.spec.name;
        let writer = tensor.producer.map(|layer| slice_of_layer[layer]);
        let mut readers: Vec<usize> = tensor.consumers.iter().map(|&layer| slice_of_layer[layer]).collect();
        ensure(readers.iter().all(|&reader| writer <= Some(reader)), || {
            format!("tensor `{name}` is read in a slice before the one that writes it")
        })?;
        readers.dedup();
        readers.retain(|&reader| Some(reader) != writer);
        let edge = edges.remove(name.as_str());
        if readers.is_empty() && !tensor.to_caller {
            ensure(edge.is_none(), || format!("tensor `{name}` has an edge but crosses no border"))?;
            continue;
        }
        let Some(edge) = edge else {
            return Err(format!("tensor `{name}` crosses a border without an edge"));
        };
        ensure(edge.tensor == tensor.spec, || format!("the edge of `{name}` has another type or shape"))?;
        let right = edge.from.as_deref() == writer.map(name_of)
            && edge.to.iter().map(String::as_str).eq(readers.iter().map(|&reader| name_of(reader)))
            && edge.to_caller == tensor.to_caller;
        ensure(right, || format!("the edge of `{name}` has the wrong ends"))?;
    }
    match edges.keys().min() {
        Some(name) => Err(format!("edge `{name}` is of no tensor between layers")),
        None => Ok(()),
    }
}

/// Invariant 6, of one slice.
fn check_borders(plan: &Plan, slice: &SlicePlan) -> Result<(), String> {
    fn sorted<'a>(specs: impl Iterator<Item = &'a TensorSpec>) -> Vec<&'a TensorSpec> {
        let mut specs: Vec<_> = specs.collect();
        specs.sort();
        specs
    }
    ensure(!slice.outputs.is_empty(), || format!("nobody reads what `{}` computes", slice.name))?;
    let incoming = plan.edges.iter().filter(|edge| edge.to.contains(&slice.name)).map(|edge| &edge.tensor);
    let outgoing =
        plan.edges.iter().filter(|edge| edge.from.as_ref() == Some(&slice.name)).map(|edge| &edge.tensor);
    ensure(sorted(slice.inputs.iter()) == sorted(incoming), || {
        format!("the inputs of `{}` are not its incoming edges", slice.name)
    })?;
    ensure(sorted(slice.outputs.iter()) == sorted(outgoing), || {
        format!("the outputs of `{}` are not its outgoing edges", slice.name)
    })
}

/// Invariant 10.
fn check_members(slice: &SlicePlan) -> Result<(), String> {
    let mut left: HashSet<&String> = slice.nodes.iter().collect();
    let mut there: HashSet<&TensorSpec> = slice.inputs.iter().collect();
    for (place, member) in slice.members.iter().enumerate() {
        let name = format!("member {place} of `{}`", slice.name);
        for node in &member.nodes {
            ensure(left.remove(node), || format!("node `{node}` of {name} is not in the slice, or twice"))?;
        }
        for input in &member.inputs {
            ensure(there.contains(input), || {
                format!("{name} reads `{}`, which is not there yet", input.name)
            })?;
        }
        there.extend(&member.outputs);
    }
    if slice.members.is_empty() {
        return Ok(());
    }
    ensure(left.is_empty(), || format!("`{}` has nodes that are in no member", slice.name))?;
    ensure(slice.outputs.iter().all(|output| there.contains(output)), || {
        format!("no member of `{}` writes one of its outputs", slice.name)
    })
}

/// Invariant 6, of the model.
fn check_outputs(plan: &Plan) -> Result<(), String> {
    for output in &plan.outputs {
        let given = plan.edges.iter().any(|edge| edge.to_caller && edge.tensor == *output);
        ensure(given, || format!("output `{}` never reaches the caller", output.name))?;
    }
    Ok(())
}

/// Invariants 8 and 9.
fn check_sizes(costs: &Costs<'_>, plan: &Plan) -> Result<(), String> {
    let mut start = 0;
    let mut memory_time = 0.0;
    let mut billed = 0.0;
    let mut cost = 0.0;
    let mut slowest = 0.0_f64;
    for slice in &plan.slices {
        let name = &slice.name;
        let range = start..start + slice.layers.len();
        start = range.end;
        let need = costs.stretch(range).map(|stretch| stretch.need).unwrap_or_default();
        ensure(slice.size.memory_bytes >= need, || format!("`{name}` needs {need} and is given less"))?;
        ensure(slice.threads as usize == slice.size.cpu_milli.threads(), || {
            format!("`{name}` has {} threads on {}", slice.threads, slice.size.cpu_milli)
        })?;
        let prediction = &slice.prediction;
        let parts = [
            prediction.run_ms.0,
            prediction.handoff_ms.0,
            prediction.memory_time.0,
            prediction.cost,
            prediction.start_up_ms.0,
        ];
        ensure(parts.iter().all(|part| part.is_finite() && *part >= 0.0), || {
            format!("a prediction of `{name}` is not a finite amount")
        })?;
        ensure(close(prediction.billed_ms.0, prediction.run_ms.0 + prediction.handoff_ms.0), || {
            format!("`{name}` is not billed for its run and hand-off")
        })?;
        memory_time += prediction.memory_time.0;
        billed += prediction.billed_ms.0;
        cost += prediction.cost;
        slowest = slowest.max(prediction.billed_ms.0);
    }
    ensure(close(plan.prediction.memory_time.0, memory_time), || {
        "the plan's memory-time is not the sum of its slices'".to_owned()
    })?;
    ensure(close(plan.prediction.cost, cost), || "the plan's cost is not the sum of its slices'".to_owned())?;
    let model = costs.model();
    let all = billed + (model.driver.0 + model.call.0) * plan.slices.len() as f64;
    let latency = plan.prediction.latency_ms.0;
    ensure(latency >= slowest * (1.0 - ROUNDING) && latency <= all * (1.0 + ROUNDING), || {
        "the plan's latency is not within those of its slices".to_owned()
    })
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= ROUNDING * left.abs().max(right.abs())
}
