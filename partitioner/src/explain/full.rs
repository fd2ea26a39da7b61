use super::short::{cpus, notes, part};
use super::table::{table, without_empty_columns};
use super::totals::{frontier_line, frontier_table, totals};
use super::{PlanCosts, heading, layer_span, residual, share, workload};
use std::fmt::Write as _;
use tranche_schema::{Constraints, CostUnit, Edge, Plan, TensorSpec};

/// A plan as text for people, with everything: slices with all that is predicted of them,
/// tensors that pass between them, totals, the frontier's plans, every reason in full
/// with its alternatives, and all notes. Ends with a newline.
#[must_use]
pub fn render_in_full(plan: &Plan) -> String {
    let mut text = heading(plan);
    for line in asked(plan) {
        let _ = writeln!(text, "{line}");
    }
    let _ = write!(text, "\n{}\nTensors\n{}\n{}", slices(plan), edges(plan), totals(plan));
    if let (Some(line), Some(points)) = (frontier_line(plan), frontier_table(plan)) {
        let _ = write!(text, "\n{line}\n{points}");
    }
    text.push_str("\nWhy\n");
    for slice in &plan.slices {
        let without = slice
            .without_cut
            .map(|dearer| format!("; the best plan without this cut {}", share(1.0 + dearer)))
            .unwrap_or_default();
        let _ = writeln!(text, "  {}: {}{without}", slice.name, slice.reason);
    }
    if let Some(found) = &plan.residual {
        let _ = writeln!(text, "\nMeasured as deployed: {}", residual(found));
    }
    text.push_str(&super::splits::splits(plan));
    text.push_str(&notes(&plan.notes, usize::MAX));
    text
}

/// What the plan was asked for, besides what the heading says.
fn asked(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if super::pricing(plan).is_none() {
        lines.push(format!("Costs are memory-time, no prices; requests: {}", workload(plan)));
    }
    let bounds = bounds(&plan.constraints);
    if !bounds.is_empty() {
        lines.push(format!("Bounds: {}", bounds.join(", ")));
    }
    if !plan.order.is_empty() {
        lines.push(format!("Layers in the order: {}", plan.order));
    }
    if !plan.dimensions.is_empty() {
        let bound: Vec<String> =
            plan.dimensions.iter().map(|(name, extent)| format!("{name}={extent}")).collect();
        lines.push(format!("Dimensions: {}", bound.join(", ")));
    }
    lines
}

fn bounds(constraints: &Constraints) -> Vec<String> {
    let Constraints {
        max_memory_bytes,
        max_slices,
        min_slices,
        latency_ms,
        cold_latency_ms,
        max_weights_bytes,
        max_parts,
        lossy,
        accuracy,
    } = constraints;
    [
        max_memory_bytes.map(|most| format!("memory of a function {most}")),
        max_weights_bytes.map(|most| format!("weights of a function {most}")),
        max_slices.map(|most| format!("at most {}", super::counted(most as usize, "slice"))),
        min_slices.map(|least| format!("at least {}", super::counted(least as usize, "slice"))),
        latency_ms.map(|most| format!("latency {most}")),
        cold_latency_ms.map(|most| format!("cold latency {most}")),
        max_parts.filter(|&most| most > 1).map(|most| format!("at most {most} parts of a layer")),
        lossy.map(|codec| format!("tensors may take {codec}, which is lossy")),
        accuracy.map(|accuracy| accuracy.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn slices(plan: &Plan) -> String {
    let costs = PlanCosts::of(plan);
    let priced_apart = costs.unit == CostUnit::Usd;
    let mut rows = vec![
        [
            "slice",
            "layers",
            "weights",
            "activations",
            "memory",
            "CPU",
            "threads",
            "run",
            "hand-off",
            "billed",
            "start-up",
            if priced_apart { "memory-time" } else { "" },
            costs.heading(),
            "share",
        ]
        .map(str::to_owned),
    ];
    rows.extend(plan.slices.iter().map(|slice| {
        let prediction = &slice.prediction;
        let start_up = prediction.start_up_ms;
        [
            slice.name.clone(),
            layer_span(slice),
            prediction.weights_bytes.to_string(),
            prediction.peak_activation_bytes.to_string(),
            slice.size.memory_bytes.to_string(),
            cpus(slice),
            slice.threads.to_string(),
            prediction.run_ms.to_string(),
            prediction.handoff_ms.to_string(),
            prediction.billed_ms.to_string(),
            if start_up.0 > 0.0 { start_up.to_string() } else { String::new() },
            if priced_apart { prediction.memory_time.to_string() } else { String::new() },
            costs.text(costs.slice(slice)),
            part(costs.slice(slice), costs.total),
        ]
    }));
    table(&without_empty_columns(&rows), 2)
}

fn edges(plan: &Plan) -> String {
    let rows: Vec<[String; 5]> = plan
        .edges
        .iter()
        .map(|edge| {
            [
                edge.tensor.name.clone(),
                format!("{} -> {}", edge.from.as_deref().unwrap_or("caller"), readers(edge)),
                tensor_type(&edge.tensor),
                format!("{}, {}", edge.channel, edge.codec),
                edge.tensor.bytes().to_string(),
            ]
        })
        .collect();
    table(&rows, 4)
}

/// Who reads a tensor; of more than three slices the first, the last and their number.
#[must_use]
pub fn readers(edge: &Edge) -> String {
    let mut readers = match edge.to.as_slice() {
        [first, .., last] if edge.to.len() > 3 => vec![format!("{first} .. {last} ({})", edge.to.len())],
        few => few.to_vec(),
    };
    readers.extend(edge.to_caller.then(|| "caller".to_owned()));
    readers.join(", ")
}

/// A tensor's type and shape, as `float32[1x64x112x112]`.
#[must_use]
pub fn tensor_type(spec: &TensorSpec) -> String {
    let shape: Vec<String> = spec.shape.iter().map(u64::to_string).collect();
    format!("{}[{}]", spec.element_type, shape.join("x"))
}
