use std::fmt::Write as _;
use tranche_schema::{Plan, SlicePlan, TensorSpec};

/// A plan as text for people: slices with what they take, edges, totals beside
/// unsplit and the lower bound, reasons and notes. Ends with a newline.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    let count = plan.slices.len();
    let _ = writeln!(
        text,
        "Plan for {} ({}): {count} slice{} by {}, engine {}\n",
        plan.model.name,
        plan.model.digest.short(),
        if count == 1 { "" } else { "s" },
        plan.strategy,
        plan.engine
    );
    text.push_str(&slices(plan));
    text.push_str("\nTensors\n");
    text.push_str(&edges(plan));
    text.push('\n');
    text.push_str(&totals(plan));
    text.push_str("\nWhy\n");
    for slice in &plan.slices {
        let _ = writeln!(text, "  {}: {}", slice.name, slice.reason);
    }
    if !plan.notes.is_empty() {
        text.push_str("\nNotes\n");
        for note in &plan.notes {
            let _ = writeln!(text, "  - {note}");
        }
    }
    text
}

fn slices(plan: &Plan) -> String {
    let mut rows = vec![
        ["slice", "layers", "weights", "memory", "CPU", "run", "hand-off", "memory-time", "share"]
            .map(str::to_owned),
    ];
    let total = plan.prediction.memory_time.0;
    for slice in &plan.slices {
        let prediction = &slice.prediction;
        let share = if total > 0.0 { prediction.memory_time.0 / total * 100.0 } else { 0.0 };
        rows.push([
            slice.name.clone(),
            layer_span(slice),
            prediction.weights_bytes.to_string(),
            slice.size.memory_bytes.to_string(),
            format!("{:.2}", f64::from(slice.size.cpu_milli.0) / 1000.0),
            prediction.run_ms.to_string(),
            prediction.handoff_ms.to_string(),
            prediction.memory_time.to_string(),
            format!("{share:.1} %"),
        ]);
    }
    table(&rows, 2)
}

fn layer_span(slice: &SlicePlan) -> String {
    match slice.layers.as_slice() {
        [only] => only.clone(),
        [first, .., last] => format!("{first} .. {last} ({})", slice.layers.len()),
        [] => String::new(),
    }
}

fn edges(plan: &Plan) -> String {
    let rows: Vec<[String; 5]> = plan
        .edges
        .iter()
        .map(|edge| {
            let readers = edge.to.iter().cloned().chain(edge.to_caller.then(|| "caller".to_owned()));
            [
                edge.tensor.name.clone(),
                format!(
                    "{} -> {}",
                    edge.from.as_deref().unwrap_or("caller"),
                    readers.collect::<Vec<_>>().join(", ")
                ),
                tensor_type(&edge.tensor),
                format!("{}, {}", edge.channel, edge.codec),
                edge.tensor.bytes().to_string(),
            ]
        })
        .collect();
    table(&rows, 4)
}

fn tensor_type(spec: &TensorSpec) -> String {
    let shape: Vec<String> = spec.shape.iter().map(u64::to_string).collect();
    format!("{}[{}]", spec.element_type, shape.join("x"))
}

fn totals(plan: &Plan) -> String {
    let prediction = &plan.prediction;
    let beside = |value: f64| {
        let reference = prediction.unsplit_memory_time.0;
        if reference > 0.0 {
            format!("{:+.1} % of unsplit", (value / reference - 1.0) * 100.0)
        } else {
            String::new()
        }
    };
    let rows = [
        ["Total", "memory-time", "latency", "largest memory", ""].map(str::to_owned),
        [
            "this plan".to_owned(),
            prediction.memory_time.to_string(),
            prediction.latency_ms.to_string(),
            prediction.largest_memory_bytes.to_string(),
            beside(prediction.memory_time.0),
        ],
        [
            "unsplit".to_owned(),
            prediction.unsplit_memory_time.to_string(),
            prediction.unsplit_latency_ms.to_string(),
            prediction.unsplit_memory_bytes.to_string(),
            String::new(),
        ],
        [
            "lower bound".to_owned(),
            prediction.lower_bound.to_string(),
            String::new(),
            String::new(),
            beside(prediction.lower_bound.0),
        ],
    ];
    table(&rows, 1)
}

/// Aligned columns: the first `left` of them to the left, the others to the right.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]], left: usize) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if column < left {
                write!(line, "  {cell:<width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
