use std::fmt::Write as _;
use tranche_schema::{Edge, GibSeconds, Plan, SlicePlan, TensorSpec};

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
    let decimals = decimals(plan);
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
            memory_time(prediction.memory_time, decimals),
            format!("{share:.1} %"),
        ]);
    }
    table(&rows, 2)
}

pub(crate) fn layer_span(slice: &SlicePlan) -> String {
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
fn readers(edge: &Edge) -> String {
    let mut readers = match edge.to.as_slice() {
        [first, .., last] if edge.to.len() > 3 => vec![format!("{first} .. {last} ({})", edge.to.len())],
        few => few.to_vec(),
    };
    readers.extend(edge.to_caller.then(|| "caller".to_owned()));
    readers.join(", ")
}

fn tensor_type(spec: &TensorSpec) -> String {
    let shape: Vec<String> = spec.shape.iter().map(u64::to_string).collect();
    format!("{}[{}]", spec.element_type, shape.join("x"))
}

fn totals(plan: &Plan) -> String {
    let prediction = &plan.prediction;
    let decimals = decimals(plan);
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
            memory_time(prediction.memory_time, decimals),
            prediction.latency_ms.to_string(),
            prediction.largest_memory_bytes.to_string(),
            beside(prediction.memory_time.0),
        ],
        [
            "unsplit".to_owned(),
            memory_time(prediction.unsplit_memory_time, decimals),
            prediction.unsplit_latency_ms.to_string(),
            prediction.unsplit_memory_bytes.to_string(),
            String::new(),
        ],
        [
            "lower bound".to_owned(),
            memory_time(prediction.lower_bound, decimals),
            String::new(),
            String::new(),
            beside(prediction.lower_bound.0),
        ],
    ];
    table(&rows, 1)
}

/// Decimals that show four digits of the plan's memory-time.
fn decimals(plan: &Plan) -> usize {
    let total = plan.prediction.memory_time.0;
    if total > 0.0 { (3 - total.log10().floor() as i32).clamp(1, 9) as usize } else { 4 }
}

fn memory_time(value: GibSeconds, decimals: usize) -> String {
    format!("{:.decimals$} GiB·s", value.0)
}

/// Aligned columns: the first `left` of them to the left, the others to the right.
pub(crate) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]], left: usize) -> String {
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
