//! The report as one HTML file: no script, no font, no picture from elsewhere.

use super::CostReport;
use super::chart::{Level, Mark, Series, chart};
use super::text::{LIMITS, basis, lines};
use crate::page::{document, escape, number, table, tick_time};
use std::fmt::Write as _;
use tranche_partitioner::price::verdict::{Advice, dollars};
use tranche_partitioner::price::{Curve, Point};

/// The report as HTML.
#[must_use]
pub fn render(report: &CostReport) -> String {
    let title = format!("Cost of {} on {}", report.model, report.prices.title);
    let mut page = String::new();
    head(&mut page, report);
    figures(&mut page, report);
    sizes(&mut page, report);
    own_sizes(&mut page, report);
    walks(&mut page, report);
    foot(&mut page, report);
    document(&title, "", &page)
}

fn head(page: &mut String, report: &CostReport) {
    let workload = &report.workload;
    let _ = writeln!(
        page,
        "<p class=\"sub\">{}{}. {} requests a month, {} % of calls cold{}. Slices walked by: {}.</p>",
        escape(&report.engine),
        report
            .machine
            .as_ref()
            .map(|machine| format!(", measured on {}", escape(machine)))
            .unwrap_or_default(),
        workload.requests_per_month,
        number(workload.cold_fraction * 100.0),
        if workload.free_tier { ", free tier taken off" } else { "" },
        report.orchestration
    );
    let verdict = &report.comparison.verdict;
    let class = match verdict.advice {
        Advice::Slice => "yes",
        Advice::DoNotSlice => "no",
        Advice::Unknown => "unknown",
    };
    let _ = writeln!(page, "<section class=\"verdict {class}\">");
    for sentence in &verdict.sentences {
        let _ = writeln!(page, "<p>{}</p>", escape(sentence));
    }
    page.push_str("</section>\n");
}

fn figures(page: &mut String, report: &CostReport) {
    let own = report.comparison.own_sizes.as_ref();
    let cost = |point: &Point| point.per_million_usd.dollars();
    let time = |point: &Point| point.time_ms.0;
    let level = |y: f64, text: String| Level { class: "own", y, title: text };
    let dear = own.map(|own| {
        let text = format!("slices, each at its own best size: {} a million", dollars(own.per_million_usd));
        level(own.per_million_usd.dollars(), text)
    });
    let slow =
        own.map(|own| level(own.time_ms.0, format!("slices, each at its own best size: {}", own.time_ms)));
    page.push_str(
        "<p class=\"legend\"><span class=\"key whole\"></span>whole model <span class=\"key slices\"></span>slices, \
         all at one size <span class=\"key own\"></span>slices, each at its own best size <span class=\"dot\"></span>measured \
         <span class=\"dot hollow\"></span>fitted or extrapolated <span class=\"dot ring\"></span>best</p>\n<div class=\"figures\">\n",
    );
    for (caption, value, level, unit) in [
        (
            "Cost of a million requests",
            &cost as &dyn Fn(&Point) -> f64,
            dear,
            tick_dollars as fn(f64) -> String,
        ),
        ("Time of a warm request", &time, slow, tick_time),
    ] {
        let svg = chart(caption, &series(report, value), level.as_ref(), unit);
        let _ = writeln!(
            page,
            "<figure>\n<figcaption>{caption} <small>(logarithmic axes)</small></figcaption>\n{svg}</figure>"
        );
    }
    page.push_str("</div>\n");
}

fn tick_dollars(value: f64) -> String {
    format!("${}", number(value))
}

fn series(report: &CostReport, value: &dyn Fn(&Point) -> f64) -> Vec<Series> {
    let comparison = &report.comparison;
    let line = |class: &'static str, name: &str, curve: &Curve| Series {
        class,
        name: name.to_owned(),
        marks: curve
            .points
            .iter()
            .enumerate()
            .filter(|(_, point)| point.fits)
            .map(|(at, point)| Mark {
                x: point.memory_mib.into(),
                y: value(point),
                measured: point.basis == tranche_partitioner::price::Basis::Measured,
                best: curve.best == Some(at),
                title: format!(
                    "{name} at {} MB: {}, {} a million ({})",
                    point.memory_mib,
                    point.time_ms,
                    dollars(point.per_million_usd),
                    basis(point.basis)
                ),
            })
            .collect(),
    };
    let whole = comparison.unsplit.iter().map(|curve| line("whole", "whole model", curve));
    let sliced = (comparison.slices.len() > 1).then(|| line("slices", "slices", &comparison.one_size));
    whole.chain(sliced).collect()
}

fn sizes(page: &mut String, report: &CostReport) {
    let comparison = &report.comparison;
    for (title, curve) in [
        ("The whole model at every size", comparison.unsplit.as_ref()),
        ("All slices at one size", Some(&comparison.one_size)),
    ] {
        let Some(curve) = curve.filter(|curve| curve.name == "whole" || comparison.slices.len() > 1) else {
            continue;
        };
        let rows: Vec<(bool, Vec<String>)> = curve
            .points
            .iter()
            .enumerate()
            .map(|(at, point)| (curve.best == Some(at), point_row(point)))
            .collect();
        let header = ["memory", "CPU", "time", "start-up", "a million requests", "a month", "time is"];
        table(page, title, &header, &rows);
    }
}

fn point_row(point: &Point) -> Vec<String> {
    let start_up =
        point.start_up_ms.filter(|_| point.fits).map_or_else(|| "–".to_owned(), |time| time.to_string());
    let (time, million, month, from) = if point.fits {
        (
            point.time_ms.to_string(),
            dollars(point.per_million_usd),
            dollars(point.month.total_usd),
            basis(point.basis).to_owned(),
        )
    } else {
        ("out of memory".to_owned(), "–".to_owned(), "–".to_owned(), String::new())
    };
    vec![
        format!("{} MB", point.memory_mib),
        point.cpu_milli.to_string(),
        time,
        start_up,
        million,
        month,
        from,
    ]
}

fn own_sizes(page: &mut String, report: &CostReport) {
    let Some(own) = report.comparison.own_sizes.as_ref().filter(|own| own.sizes.len() > 1) else { return };
    let rows: Vec<(bool, Vec<String>)> = own
        .sizes
        .iter()
        .map(|used| {
            let start_up = used.start_up_ms.map_or_else(|| "–".to_owned(), |time| time.to_string());
            let row = vec![
                used.name.clone(),
                format!("{} MB", used.memory_mib),
                used.time_ms.to_string(),
                start_up,
            ];
            (false, row)
        })
        .collect();
    table(page, "Each slice at its own best size", &["slice", "memory", "time", "start-up"], &rows);
}

fn walks(page: &mut String, report: &CostReport) {
    if report.comparison.slices.len() < 2 {
        return;
    }
    let rows: Vec<(bool, Vec<String>)> = report
        .comparison
        .walks
        .iter()
        .map(|walk| {
            let row = vec![walk.orchestration.to_string(), dollars(walk.month.total_usd), lines(&walk.month)];
            (walk.orchestration == report.orchestration, row)
        })
        .collect();
    table(page, "Who walks the slices", &["walked by", "a month", "of which"], &rows);
}

fn foot(page: &mut String, report: &CostReport) {
    page.push_str("<footer>\n");
    for note in report.notes.iter().map(String::as_str).chain([LIMITS]) {
        let _ = writeln!(page, "<p>{}.</p>", escape(note));
    }
    let sources: Vec<String> = report
        .prices
        .sources
        .iter()
        .map(|source| format!("<a href=\"{0}\">{0}</a>", escape(source)))
        .collect();
    let _ = writeln!(
        page,
        "<p>Prices: {}, read on {}, from {}.</p>\n</footer>",
        escape(&report.prices.title),
        escape(&report.prices.date),
        sources.join(", ")
    );
}
