//! The results as Markdown.

use crate::line::{Comparison, Measured, Outcome, Record};
use crate::money::PriceList;
use crate::statistics::{geometric_mean, median, quantile};
use std::fmt::Write as _;

/// The tables of `records`: for each engine, list of prices and strategy what each model
/// gains; predictions against measurements; what a million requests are charged.
#[must_use]
pub fn render(records: &[&Record], prices: &[PriceList]) -> String {
    let mut text = summary(records);
    for group in groups(records) {
        let Some(first) = group.first() else { continue };
        let _ = writeln!(text, "## {}\n", title(first));
        text.push_str(&gains(&group));
        text.push_str(&used(&group));
        text.push_str(&charges(&group, prices));
    }
    text.push_str(&predictions(records));
    text
}

/// One line for each engine, list of prices and strategy: means over the models.
fn summary(records: &[&Record]) -> String {
    let mut text = String::from(
        "## Summary\n\n\
         | plans | models | failed | sliced | gain over whole | losses | gain over Python | losses | \
         latency against whole | efficiency: Python, whole, sliced |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for group in groups(records) {
        let Some(first) = group.first() else { continue };
        let found: Vec<&Comparison> = group.iter().filter_map(|record| record.measured()).collect();
        let over_whole: Vec<f64> =
            found.iter().filter_map(|one| gain(Some(&one.unsplit), &one.sliced)).collect();
        let over_python: Vec<f64> =
            found.iter().filter_map(|one| gain(one.python.as_ref(), &one.sliced)).collect();
        let latency: Vec<f64> =
            found.iter().map(|one| one.sliced.latency.median / one.unsplit.latency.median).collect();
        let losses = |gains: &[f64]| gains.iter().filter(|gain| is_loss(**gain)).count();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {}, {}, {} |",
            title(first),
            found.len(),
            group.len() - found.len(),
            found.iter().filter(|one| one.sliced.functions.len() > 1).count(),
            shown_gain(geometric_mean(&over_whole)),
            losses(&over_whole),
            shown_gain(geometric_mean(&over_python)),
            losses(&over_python),
            geometric_mean(&latency).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}x")),
            mean_efficiency(&found, |one| one.python.as_ref()),
            mean_efficiency(&found, |one| Some(&one.unsplit)),
            mean_efficiency(&found, |one| Some(&one.sliced)),
        );
    }
    text.push('\n');
    text
}

/// The arithmetic mean: efficiencies are shares, not ratios of costs.
fn mean_efficiency(found: &[&Comparison], of: impl Fn(&Comparison) -> Option<&Measured>) -> String {
    let shares: Vec<f64> = found.iter().filter_map(|one| of(one)?.efficiency()).collect();
    if shares.is_empty() {
        return "–".to_owned();
    }
    format!("{:.0} %", shares.iter().sum::<f64>() / shares.len() as f64 * 100.0)
}

/// Records of one engine, list of prices and strategy, in order of their first.
fn groups<'a>(records: &[&'a Record]) -> Vec<Vec<&'a Record>> {
    let mut groups: Vec<Vec<&Record>> = Vec::new();
    for &record in records {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| same(first, record))) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    groups
}

fn same(left: &Record, right: &Record) -> bool {
    left.engine == right.engine && left.prices == right.prices && left.strategy == right.strategy
}

fn title(record: &Record) -> String {
    let prices = match record.prices.as_str() {
        crate::evaluate::LOCAL => "memory-time".to_owned(),
        name => format!("prices of {name}"),
    };
    format!("{} on {}, {prices}", record.strategy, record.engine)
}

/// Memory-time, gains and latencies.
fn gains(group: &[&Record]) -> String {
    let mut text = String::from(
        "| model | slices | memory-time: Python, whole, sliced (GiB·s) | gain over whole | gain over Python | \
         p50: Python, whole, sliced (ms) | p99: Python, whole, sliced (ms) | middle half of the memory-time |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let (mut over_whole, mut over_python) = (Vec::new(), Vec::new());
    for record in group {
        let found = match &record.outcome {
            Outcome::Measured(found) => found,
            Outcome::Failed(reason) => {
                let reason = reason.lines().next().unwrap_or_default().replace('|', "\\|");
                let _ = writeln!(text, "| {} | – | not measured: {reason} | | | | | |", record.model);
                continue;
            }
        };
        let (whole, python) =
            (gain(Some(&found.unsplit), &found.sliced), gain(found.python.as_ref(), &found.sliced));
        over_whole.extend(whole);
        over_python.extend(python);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | ± {:.1} % |",
            record.model,
            slices(&found.sliced),
            three(found, 4, |one| one.memory_time.median),
            shown_gain(whole),
            shown_gain(python),
            three(found, 1, |one| one.latency.median),
            three(found, 1, |one| one.latency.p99),
            found.sliced.memory_time.relative() * 50.0,
        );
    }
    let _ = writeln!(
        text,
        "| **geometric mean of {}** | | | **{}** | **{}** | | | |\n",
        over_whole.len(),
        shown_gain(geometric_mean(&over_whole)),
        shown_gain(geometric_mean(&over_python)),
    );
    text
}

fn slices(sliced: &Measured) -> String {
    let count = sliced.functions.len();
    let free = sliced.functions.iter().any(|function| !function.limited);
    let notes =
        [(free, "without limits".to_owned()), (sliced.retries > 0, format!("{} retries", sliced.retries))];
    let notes: Vec<String> = notes.into_iter().filter_map(|(is, note)| is.then_some(note)).collect();
    if notes.is_empty() { count.to_string() } else { format!("{count} ({})", notes.join(", ")) }
}

/// How many times the memory-time of the slices the other's is.
fn gain(other: Option<&Measured>, sliced: &Measured) -> Option<f64> {
    let (other, sliced) = (other?.memory_time.median, sliced.memory_time.median);
    (sliced > 0.0).then(|| other / sliced)
}

/// What is equal to two digits is none.
fn is_loss(gain: f64) -> bool {
    gain < 0.995
}

/// A loss says that it is one.
fn shown_gain(gain: Option<f64>) -> String {
    match gain {
        None => "–".to_owned(),
        Some(gain) if is_loss(gain) => format!("{gain:.2}x (loss)"),
        Some(gain) => format!("{gain:.2}x"),
    }
}

/// A number of Python, the whole and the slices.
fn three(found: &Comparison, digits: usize, number: impl Fn(&Measured) -> f64) -> String {
    let shown = |one: Option<&Measured>| {
        one.map_or_else(|| "–".to_owned(), |one| format!("{:.digits$}", number(one)))
    };
    [shown(found.python.as_ref()), shown(Some(&found.unsplit)), shown(Some(&found.sliced))].join(", ")
}

/// Resource efficiency, sizes, agreement.
fn used(group: &[&Record]) -> String {
    let mut text = String::from(
        "| model | efficiency: Python, whole, sliced | memory: Python, whole, sum of slices (MiB) | \
         difference from Python | load average |\n|---|---|---|---|---|\n",
    );
    let mut rows = 0;
    for record in group {
        let Some(found) = record.measured() else { continue };
        rows += 1;
        let efficiency = |one: Option<&Measured>| {
            let share = one.and_then(Measured::efficiency);
            share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0))
        };
        let memory = |one: &Measured| {
            one.functions.iter().map(|function| function.memory_bytes.0).sum::<u64>() as f64 / 1048576.0
        };
        let _ = writeln!(
            text,
            "| {} | {}, {}, {} | {} | {} | {:.2} |",
            record.model,
            efficiency(found.python.as_ref()),
            efficiency(Some(&found.unsplit)),
            efficiency(Some(&found.sliced)),
            three(found, 0, memory),
            found.difference_from_python.map_or_else(|| "–".to_owned(), |one| format!("{one:.1e}")),
            record.machine.load_after[0],
        );
    }
    text.push('\n');
    if rows == 0 { String::new() } else { text }
}

/// What a million warm requests are charged by each list of prices.
fn charges(group: &[&Record], prices: &[PriceList]) -> String {
    let mut text = String::new();
    for list in prices {
        let mut rows = String::new();
        let mut ratios = Vec::new();
        for record in group {
            let Some(found) = record.measured() else { continue };
            let of = |one: Option<&Measured>| one.and_then(|one| list.per_million(&one.functions));
            let (python, whole, sliced) =
                (of(found.python.as_ref()), of(Some(&found.unsplit)), of(Some(&found.sliced)));
            if whole.is_none() && sliced.is_none() {
                continue;
            }
            let ratio = whole.zip(sliced).map(|(whole, sliced)| whole / sliced);
            ratios.extend(ratio);
            let shown =
                |amount: Option<f64>| amount.map_or_else(|| "–".to_owned(), |amount| format!("{amount:.2}"));
            let amounts = [shown(python), shown(whole), shown(sliced)].join(" | ");
            let _ = writeln!(rows, "| {} | {amounts} | {} |", record.model, shown_gain(ratio));
        }
        if !rows.is_empty() {
            let _ = writeln!(
                text,
                "$ for a million warm requests, prices of {}\n\n\
                 | model | Python | whole | sliced | gain over whole |\n|---|---|---|---|---|\n{rows}\
                 | **geometric mean** | | | | **{}** |\n",
                list.name(),
                shown_gain(geometric_mean(&ratios)),
            );
        }
    }
    text
}

/// How far predictions are from measurements.
fn predictions(records: &[&Record]) -> String {
    let mut text = String::from(
        "## Predicted against measured billed time\n\n\
         | plans | models | median difference | p95 | worst |\n|---|---|---|---|---|\n",
    );
    for group in groups(records) {
        let differences: Vec<(f64, &str)> = group
            .iter()
            .filter_map(|record| Some((difference(record.measured()?)?, record.model.as_str())))
            .collect();
        let (Some(first), Some(worst)) =
            (group.first(), differences.iter().max_by(|left, right| left.0.total_cmp(&right.0)))
        else {
            continue;
        };
        let numbers: Vec<f64> = differences.iter().map(|(number, _)| *number).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} % | {:.1} % | {} {:.1} % |",
            title(first),
            numbers.len(),
            median(&numbers) * 100.0,
            quantile(&numbers, 0.95) * 100.0,
            worst.1,
            worst.0 * 100.0,
        );
    }
    text
}

/// |measured ∕ predicted − 1| of the billed time.
fn difference(found: &Comparison) -> Option<f64> {
    let (predicted, measured) = (found.predicted.billed_ms, found.sliced.billed.median);
    (predicted > 0.0 && measured > 0.0).then(|| (measured / predicted - 1.0).abs())
}
