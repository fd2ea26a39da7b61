//! The page as a whole.

use super::{Report, bars, layers, pareto, tables};
use crate::failure::Failure;
use crate::page::{document, escape};
use std::fmt::Write as _;
use tranche_partitioner::explain::{PlanCosts, counted, pricing, residual, share, workload};

const STYLE: &str = include_str!("report.css");

/// The report as HTML.
///
/// # Errors
/// When the profile lacks a layer of the plan.
pub fn render(report: &Report) -> Result<String, Failure> {
    let plan = &report.plan;
    let title = format!("Plan for {}: {}", plan.model.name, counted(plan.slices.len(), "slice"));
    let mut page = String::new();
    head(&mut page, report);
    tiles(&mut page, report);
    figures(&mut page, report);
    let _ = writeln!(
        page,
        "<h2>Layers</h2>\n{LAYER_LEGEND}<div class=\"wide\"><figure class=\"layers\">{}</figure></div>",
        layers::chart(report)?
    );
    tables::slices(&mut page, report);
    tables::strategies(&mut page, report);
    tables::bill(&mut page, report);
    tables::tensors(&mut page, report);
    notes(&mut page, report);
    Ok(document(&title, STYLE, &page))
}

const PLAN_LEGEND: &str = "<p class=\"legend\"><span class=\"shape slices ringed\"></span>this plan \
<span class=\"shape slices hollow\"></span>plans that no other beats <span class=\"shape own square\"></span>other strategies \
<span class=\"shape whole diamond\"></span>whole model <span class=\"key bound\"></span>lower bound</p>\n";

const LAYER_LEGEND: &str = "<p class=\"legend\"><span class=\"swatch time\"></span>time \
<span class=\"swatch weights\"></span>weights <span class=\"swatch activations\"></span>live activations \
<span class=\"key slices\"></span>memory limit of a slice <span class=\"key whole dashed\"></span>of the whole model \
<span class=\"key cutting\"></span>cut <span class=\"arrow\">▼</span>stands out from its neighbours</p>\n";

fn head(page: &mut String, report: &Report) {
    let plan = &report.plan;
    let priced = pricing(plan).map_or_else(
        || "costs are memory-time, no prices".to_owned(),
        |pricing| format!("priced by {pricing}"),
    );
    let machine = &report.profile.environment;
    let _ = writeln!(
        page,
        "<p class=\"sub\">By {}, on {} {}, measured on {}; {}; requests: {}.</p>",
        escape(&plan.strategy),
        escape(&machine.engine),
        escape(&machine.engine_version),
        escape(&machine.cpu_model),
        escape(&priced),
        escape(&workload(plan))
    );
}

/// The numbers that decide.
fn tiles(page: &mut String, report: &Report) {
    let (plan, prediction) = (&report.plan, &report.plan.prediction);
    let costs = PlanCosts::of(plan);
    let against = |value: f64, reference: f64| {
        if value > 0.0 && reference > 0.0 {
            format!("{} against the whole model", share(value / reference))
        } else {
            String::new()
        }
    };
    let mut tiles =
        vec![("one request costs", costs.in_words(costs.total), against(costs.total, costs.unsplit))];
    if let Some(ratio) = costs.over_lower_bound() {
        tiles.push((
            "above the lower bound",
            share(ratio),
            format!("{} is the least of any vertical plan", costs.in_words(costs.lower_bound)),
        ));
    }
    let latency = prediction.latency_ms;
    tiles.push((
        "a warm request takes",
        latency.to_string(),
        against(latency.0, prediction.unsplit_latency_ms.0),
    ));
    let cold = prediction.cold_latency_ms;
    if cold.0 > 0.0 {
        let beside = against(cold.0, prediction.unsplit_cold_latency_ms.0);
        tiles.push(("a cold request takes", cold.to_string(), beside));
    }
    let memory = prediction.largest_memory_bytes;
    tiles.push((
        "largest function",
        memory.to_string(),
        against(memory.0 as f64, prediction.unsplit_memory_bytes.0 as f64),
    ));
    page.push_str("<dl class=\"tiles\">\n");
    for (name, value, beside) in tiles {
        let _ = writeln!(
            page,
            "<div><dt>{name}</dt><dd>{}<small>{}</small></dd></div>",
            escape(&value),
            escape(&beside)
        );
    }
    page.push_str("</dl>\n");
}

fn figures(page: &mut String, report: &Report) {
    let complete = match (report.plan.frontier.points.len(), report.plan.frontier.complete) {
        (0, _) => "no frontier: this strategy searches none",
        (_, true) => "all plans over the orders tried that no other beats",
        (_, false) => "plans that no other beats, of those searched",
    };
    let _ = writeln!(
        page,
        "{PLAN_LEGEND}<div class=\"figures\">\n\
         <figure><figcaption>Cost over latency <small>(logarithmic axes; {complete})</small></figcaption>\n{}</figure>\n\
         <figure><figcaption>Strategies <small>(each bar in the parts of its slices)</small></figcaption>\n{}</figure>\n</div>",
        pareto::chart(report),
        bars::chart(report)
    );
}

fn notes(page: &mut String, report: &Report) {
    let measured =
        report.plan.residual.as_ref().map(|found| format!("measured as deployed: {}", residual(found)));
    let notes: Vec<&String> = measured.iter().chain(&report.plan.notes).chain(&report.notes).collect();
    if !notes.is_empty() {
        page.push_str("<h2>Notes</h2>\n<ul class=\"notes\">\n");
        for note in notes {
            let _ = writeln!(page, "<li>{}</li>", escape(note));
        }
        page.push_str("</ul>\n");
    }
    let _ = writeln!(
        page,
        "<footer><p>{} {}, profile {}, tranche {}.</p></footer>",
        escape(&report.plan.model.name),
        escape(report.plan.model.digest.short()),
        escape(report.plan.profile_digest.short()),
        env!("CARGO_PKG_VERSION")
    );
}
