use super::table::table;
use super::totals::{frontier_line, totals};
use super::{PlanCosts, heading, layer_span, residual, share};
use std::fmt::Write as _;
use tranche_schema::{Plan, SlicePlan};

/// Notes that are shown; the rest is counted.
const NOTES: usize = 3;

/// A plan as text for people, in short: each slice with what it is given, takes and
/// costs, and why it ends where it ends; totals beside unsplit and the lower bound; the
/// frontier in a line; the first notes. Ends with a newline.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let mut text = heading(plan);
    let _ = write!(text, "\n{}\n{}", slices(plan), totals(plan));
    let lines = frontier_line(plan)
        .into_iter()
        .chain(plan.residual.as_ref().map(|found| format!("Measured as deployed: {}", residual(found))));
    for line in lines {
        let _ = writeln!(text, "\n{line}");
    }
    text.push_str(&super::splits::splits(plan));
    text.push_str(&notes(&plan.notes, NOTES));
    text
}

/// Notes under their heading, those after `most` counted.
pub(super) fn notes(notes: &[String], most: usize) -> String {
    let mut text = String::new();
    if !notes.is_empty() {
        text.push_str("\nNotes\n");
    }
    for note in notes.iter().take(most) {
        let _ = writeln!(text, "  - {note}");
    }
    match notes.len().saturating_sub(most) {
        0 => {}
        1 => text.push_str("  … and 1 more\n"),
        more => {
            let _ = writeln!(text, "  … and {more} more");
        }
    }
    text
}

/// Two lines a slice: what it is, and why it ends where it ends.
fn slices(plan: &Plan) -> String {
    let costs = PlanCosts::of(plan);
    let mut rows =
        vec![["  slice", "layers", "memory", "CPU", "time", costs.heading(), "share"].map(str::to_owned)];
    rows.extend(plan.slices.iter().map(|slice| {
        let cost = costs.slice(slice);
        [
            format!("+ {}", slice.name),
            layer_span(slice),
            slice.size.memory_bytes.to_string(),
            cpus(slice),
            slice.prediction.billed_ms.to_string(),
            costs.text(cost),
            part(cost, costs.total),
        ]
    }));
    let mut text = String::new();
    let lines = table(&rows, 2);
    let mut lines = lines.lines();
    for line in lines.by_ref().take(1) {
        let _ = writeln!(text, "{line}");
    }
    for (line, slice) in lines.zip(&plan.slices) {
        let _ = writeln!(text, "{line}\n      {}", why(slice));
    }
    text
}

/// The reason as far as its first semicolon where the plan knows what it would cost
/// without the cut, which says more than the alternatives beside it.
fn why(slice: &SlicePlan) -> String {
    match slice.without_cut {
        Some(dearer) => {
            let lead = slice.reason.split_once("; ").map_or(slice.reason.as_str(), |(lead, _)| lead);
            format!("{lead}; without this cut {}", share(1.0 + dearer))
        }
        None => slice.reason.clone(),
    }
}

pub(super) fn cpus(slice: &SlicePlan) -> String {
    format!("{:.2}", f64::from(slice.size.cpu_milli.0) / 1000.0)
}

/// A part of a total, as `52.8 %`.
pub(super) fn part(value: f64, total: f64) -> String {
    format!("{:.1} %", if total > 0.0 { value / total * 100.0 } else { 0.0 })
}
