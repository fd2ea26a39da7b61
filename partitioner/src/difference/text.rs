//! A difference as text for a terminal, and as Markdown for a pull request.

use super::{PlanDifference, PlanSummary, SliceChange, SliceDifference, SliceSummary};
use crate::explain::{share, table};
use std::fmt::{Display, Write as _};

/// As text for people: totals, functions, cuts. Ends with a newline.
#[must_use]
pub fn render(difference: &PlanDifference) -> String {
    let mut text = format!("{}\n\n", headline(difference));
    let mut rows = vec![["", "base", "head", "change"].map(str::to_owned)];
    rows.extend(totals(difference));
    text.push_str(&table(&rows, 1));
    let mut rows = vec![["slice", "", "layers", "memory", "billed", "memory-time"].map(str::to_owned)];
    rows.extend(difference.slices.iter().map(slice));
    let _ = write!(text, "\n{}", table(&rows, 3));
    for line in cuts(difference, &str::to_owned) {
        let _ = writeln!(text, "\n{line}");
    }
    text
}

/// As Markdown of GitHub and GitLab: what [`render`] says. Names out of the model are
/// escaped: whoever writes a model does not write the page. Ends with a newline.
#[must_use]
pub fn markdown(difference: &PlanDifference) -> String {
    let mut text = format!(
        "### {}\n\n| | base | head | change |\n|---|---:|---:|---:|\n",
        headline_markdown(difference)
    );
    for row in totals(difference) {
        line(&mut text, &row);
    }
    text.push_str("\n| slice | | layers | memory | billed | memory-time |\n|---|---|---|---:|---:|---:|\n");
    for one in &difference.slices {
        line(&mut text, &slice(one));
    }
    for cut in cuts(difference, &escape) {
        let _ = writeln!(text, "\n{cut}");
    }
    text
}

fn line(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Whatever the text, it opens no link, no element, no cell and no line. Underscores stay:
/// within words they mean nothing, and layers' names are full of them.
fn escape(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for letter in cell.chars() {
        match letter {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '|' => text.push_str("&#124;"),
            '`' => text.push('\''),
            '*' | '[' | ']' | '\\' | '!' | '~' => {
                let _ = write!(text, "&#{};", u32::from(letter));
            }
            control if control.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    text
}

fn headline(difference: &PlanDifference) -> String {
    let name = &difference.head.model.name;
    format!("{name}: {}", verdict(difference))
}

fn headline_markdown(difference: &PlanDifference) -> String {
    format!("{}: {}", escape(&difference.head.model.name), verdict(difference))
}

fn verdict(difference: &PlanDifference) -> String {
    let count = difference.head.slices;
    let slices = format!("{count} slice{}", if count == 1 { "" } else { "s" });
    let functions = match (difference.same, difference.model_changed) {
        (true, _) => "the same functions",
        (false, true) => "another model",
        (false, false) => "other functions",
    };
    match difference.memory_time_ratio {
        Some(ratio) => format!("{functions}, {slices}, memory-time {}", share(ratio)),
        None => format!("{functions}, {slices}"),
    }
}

fn totals(difference: &PlanDifference) -> Vec<[String; 4]> {
    let (base, head) = (&difference.base, &difference.head);
    let row = |name: &str, of: &dyn Fn(&PlanSummary) -> String, change: String| {
        [name.to_owned(), of(base), of(head), change]
    };
    let of = |over: f64, under: f64| if under > 0.0 { share(over / under) } else { String::new() };
    let bytes = |of_plan: fn(&PlanSummary) -> u64| of(of_plan(head) as f64, of_plan(base) as f64);
    let gain = |plan: &PlanSummary| plan.unsplit_memory_time.0 / plan.memory_time.0;
    let change = |ratio: Option<f64>| ratio.map(share).unwrap_or_default();
    let difference_in_slices = head.slices as i64 - base.slices as i64;
    let slices =
        if difference_in_slices == 0 { "±0".to_owned() } else { format!("{difference_in_slices:+}") };
    let mut rows = vec![
        row("model", &|plan| plan.model.digest.short().to_owned(), String::new()),
        row("strategy, engine", &|plan| format!("{}, {}", plan.strategy, plan.engine), String::new()),
        row("slices", &|plan| plan.slices.to_string(), slices),
        row(
            "memory-time predicted",
            &|plan| plan.memory_time.to_string(),
            change(difference.memory_time_ratio),
        ),
        row("latency predicted", &|plan| plan.latency_ms.to_string(), change(difference.latency_ratio)),
        row(
            "largest memory",
            &|plan| plan.largest_memory_bytes.to_string(),
            bytes(|plan| plan.largest_memory_bytes.0),
        ),
        row("memory of all", &|plan| plan.memory_bytes.to_string(), bytes(|plan| plan.memory_bytes.0)),
        row("hand-off", &|plan| plan.handoff_bytes.to_string(), bytes(|plan| plan.handoff_bytes.0)),
    ];
    if [base, head].iter().all(|plan| plan.memory_time.0 > 0.0) {
        rows.push(row("unsplit / slices", &|plan| format!("{:.2}x", gain(plan)), of(gain(head), gain(base))));
    }
    rows
}

fn slice(slice: &SliceDifference) -> [String; 6] {
    let change = match slice.change {
        SliceChange::Added => "added",
        SliceChange::Removed => "removed",
        SliceChange::Changed => "changed",
        SliceChange::Same => "",
    };
    let (base, head) = (slice.base.as_ref(), slice.head.as_ref());
    [
        slice.name.clone(),
        change.to_owned(),
        head.or(base).map(|side| side.layers.clone()).unwrap_or_default(),
        arrow(base, head, |side| &side.memory_bytes),
        arrow(base, head, |side| &side.billed_ms),
        arrow(base, head, |side| &side.memory_time),
    ]
}

/// Before and after, once where they read the same.
fn arrow<T: Display>(
    base: Option<&SliceSummary>,
    head: Option<&SliceSummary>,
    of: impl Fn(&SliceSummary) -> &T,
) -> String {
    let text = |side: Option<&SliceSummary>| side.map_or_else(|| "–".to_owned(), |side| of(side).to_string());
    let (before, after) = (text(base), text(head));
    if before == after { after } else { format!("{before} → {after}") }
}

fn cuts(difference: &PlanDifference, name: &dyn Fn(&str) -> String) -> Vec<String> {
    let list = |what: &str, layers: &[String]| {
        let names: Vec<String> = layers.iter().map(|layer| name(layer)).collect();
        (!names.is_empty()).then(|| format!("{what} after: {}", names.join(", ")))
    };
    let added = list("cuts added", &difference.cuts_added);
    added.into_iter().chain(list("cuts removed", &difference.cuts_removed)).collect()
}
