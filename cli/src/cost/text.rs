//! The report as text: the curve, the slices' own sizes, who walks, what comes of it.

use super::CostReport;
use crate::page::number;
use crate::table;
use tranche_partitioner::price::verdict::dollars;
use tranche_partitioner::price::{Basis, Curve, Month, Point, SlicedPoint};

/// The report as text.
#[must_use]
pub fn render(report: &CostReport) -> String {
    let workload = &report.workload;
    let mut text = format!(
        "{}  {}{}\n{}, as of {}; {} requests a month, {} % of calls cold{}\n\n",
        report.model,
        report.engine,
        report.machine.as_ref().map(|machine| format!(", measured on {machine}")).unwrap_or_default(),
        report.prices.title,
        report.prices.date,
        workload.requests_per_month,
        number(workload.cold_fraction * 100.0),
        if workload.free_tier { ", free tier taken off" } else { "" },
    );
    text.push_str(&curves(report));
    if let Some(own) = &report.comparison.own_sizes {
        text.push_str(&format!("\n\n{}", own_sizes(report, own)));
    }
    if report.comparison.slices.len() > 1 {
        text.push_str(&format!("\n\n{}", walks(report)));
    }
    text.push('\n');
    for sentence in &report.comparison.verdict.sentences {
        text.push_str(&format!("\n{sentence}"));
    }
    for note in &report.notes {
        text.push_str(&format!("\nnote: {note}"));
    }
    text.push_str(&format!("\nnote: {}", LIMITS));
    text
}

/// What no number of the report holds.
pub(super) const LIMITS: &str = "times are this machine's at the CPU share of each size; the platform's processors, \
its network between functions and calls, and fetching images are not in them";

fn curves(report: &CostReport) -> String {
    let comparison = &report.comparison;
    let header =
        ["size", "CPU", "whole", "per million", "a month", "slices", "per million", "a month", "times"];
    let rows: Vec<Vec<String>> = comparison
        .one_size
        .points
        .iter()
        .enumerate()
        .map(|(at, point)| {
            let mut row = vec![format!("{} MB", point.memory_mib), point.cpu_milli.to_string()];
            row.extend(cells(comparison.unsplit.as_ref(), at));
            row.extend(cells(Some(&comparison.one_size), at));
            let whole_fits = comparison
                .unsplit
                .as_ref()
                .is_some_and(|curve| curve.points.get(at).is_some_and(|whole| whole.fits));
            row.push(if point.fits || whole_fits { basis(point.basis).to_owned() } else { String::new() });
            row
        })
        .collect();
    table::render(&header, &rows, &["times"])
}

/// Time, cost of a million and of a month; the best marked.
fn cells(curve: Option<&Curve>, at: usize) -> [String; 3] {
    let nothing = || "–".to_owned();
    let Some((curve, point)) = curve.and_then(|curve| Some((curve, curve.points.get(at)?))) else {
        return [nothing(), nothing(), nothing()];
    };
    if !point.fits {
        return ["out of memory".to_owned(), nothing(), nothing()];
    }
    let mark = if curve.best == Some(at) { " *" } else { "" };
    [
        point.time_ms.to_string(),
        dollars(point.per_million_usd),
        format!("{}{mark}", dollars(point.month.total_usd)),
    ]
}

pub(super) fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Measured => "measured",
        Basis::Fitted => "fitted",
        Basis::Extrapolated => "extrapolated",
    }
}

fn own_sizes(report: &CostReport, own: &SlicedPoint) -> String {
    let unsplit = report.comparison.unsplit.as_ref().and_then(Curve::best);
    let mut rows: Vec<Vec<String>> = own
        .sizes
        .iter()
        .map(|used| {
            vec![
                used.name.clone(),
                format!("{} MB", used.memory_mib),
                used.time_ms.to_string(),
                used.start_up_ms.map_or_else(|| "–".to_owned(), |time| time.to_string()),
                String::new(),
                String::new(),
            ]
        })
        .collect();
    rows.push(vec![
        "all slices".to_owned(),
        String::new(),
        own.time_ms.to_string(),
        String::new(),
        dollars(own.per_million_usd),
        dollars(own.month.total_usd),
    ]);
    if let Some(whole) = unsplit {
        rows.push(whole_row(whole));
    }
    table::render(
        &["at its best size", "memory", "time", "start-up", "per million", "a month"],
        &rows,
        &["at its best size"],
    )
}

fn whole_row(whole: &Point) -> Vec<String> {
    vec![
        "whole model".to_owned(),
        format!("{} MB", whole.memory_mib),
        whole.time_ms.to_string(),
        whole.start_up_ms.map_or_else(|| "–".to_owned(), |time| time.to_string()),
        dollars(whole.per_million_usd),
        dollars(whole.month.total_usd),
    ]
}

fn walks(report: &CostReport) -> String {
    let rows: Vec<Vec<String>> = report
        .comparison
        .walks
        .iter()
        .map(|walk| {
            let chosen = if walk.orchestration == report.orchestration { " *" } else { "" };
            vec![format!("{}{chosen}", walk.orchestration), dollars(walk.month.total_usd), lines(&walk.month)]
        })
        .collect();
    table::render(&["slices walked by", "a month", "of which"], &rows, &["slices walked by", "of which"])
}

/// A month's lines in one.
pub(super) fn lines(month: &Month) -> String {
    let parts: Vec<String> =
        month.lines.iter().map(|line| format!("{} {}", line.kind.words().0, dollars(line.usd))).collect();
    parts.join(", ")
}
