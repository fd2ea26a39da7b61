use super::table::{table, without_empty_columns};
use super::{PlanCosts, share};
use tranche_schema::{ByteCount, FrontierPoint, Millis, Plan};

/// The plan beside the whole model at its best size and the lower bound.
pub(super) fn totals(plan: &Plan) -> String {
    let (costs, prediction) = (PlanCosts::of(plan), &plan.prediction);
    let row = |name: String, cost: f64, times: [Millis; 3], memory: Option<ByteCount>| {
        let of = |reference: f64| {
            if reference > 0.0 && cost > 0.0 { share(cost / reference) } else { String::new() }
        };
        let [latency, cold, p99] = times.map(known);
        let memory = memory.map(|memory| memory.to_string()).unwrap_or_default();
        [name, costs.text(cost), of(costs.unsplit), of(costs.lower_bound), latency, cold, p99, memory]
    };
    let mut rows = vec![
        ["Total", costs.heading(), "to unsplit", "to bound", "latency", "cold", "p99", "largest memory"]
            .map(str::to_owned),
        row(
            "this plan".to_owned(),
            costs.total,
            [prediction.latency_ms, prediction.cold_latency_ms, prediction.p99_ms],
            Some(prediction.largest_memory_bytes),
        ),
        row(
            unsplit_name(plan),
            costs.unsplit,
            [prediction.unsplit_latency_ms, prediction.unsplit_cold_latency_ms, prediction.unsplit_p99_ms],
            Some(prediction.unsplit_memory_bytes),
        ),
        row("lower bound".to_owned(), costs.lower_bound, [Millis(0.0); 3], None),
    ];
    // What is measured against itself says nothing.
    rows[2][2] = String::new();
    rows[3][3] = String::new();
    table(&without_empty_columns(&rows), 1)
}

fn unsplit_name(plan: &Plan) -> String {
    match plan.prediction.unsplit_cpu_milli {
        share if share.0 > 0 => format!("unsplit, {share}"),
        _ => "unsplit".to_owned(),
    }
}

/// A time, or nothing where the plan does not know it.
fn known(time: Millis) -> String {
    if time.0 > 0.0 { time.to_string() } else { String::new() }
}

/// The frontier in a line; none where the strategy searched for none.
pub(super) fn frontier_line(plan: &Plan) -> Option<String> {
    let (points, costs) = (&plan.frontier.points, PlanCosts::of(plan));
    let said = |point: &FrontierPoint| {
        let own = if point.chosen { ", this one" } else { "" };
        let slices = super::counted(point.slices as usize, "slice");
        format!("{} for {} ({slices}{own})", point.latency_ms, costs.in_words(point.cost))
    };
    let searched = if plan.frontier.complete { "" } else { ", of those searched" };
    match points.as_slice() {
        [] => None,
        [only] => Some(format!("Frontier: one plan is both cheapest and fastest: {}{searched}", said(only))),
        [fastest, between @ .., cheapest] => {
            let chosen = between.iter().find(|point| point.chosen);
            let chosen = chosen.map(|point| format!(" over {}", said(point))).unwrap_or_default();
            Some(format!(
                "Frontier: {} that no other beats{searched}, from {}{chosen} to {}",
                super::counted(points.len(), "plan"),
                said(fastest),
                said(cheapest)
            ))
        }
    }
}

/// The frontier as a table, the chosen point marked; none where there is none.
pub(super) fn frontier_table(plan: &Plan) -> Option<String> {
    let costs = PlanCosts::of(plan);
    let mut rows = vec![
        ["", "slices", costs.heading(), "to unsplit", "latency", "cold", "largest memory"].map(str::to_owned),
    ];
    rows.extend(plan.frontier.points.iter().map(|point| {
        [
            if point.chosen { "*" } else { "" }.to_owned(),
            point.slices.to_string(),
            costs.text(point.cost),
            if costs.unsplit > 0.0 { share(point.cost / costs.unsplit) } else { String::new() },
            point.latency_ms.to_string(),
            known(point.cold_latency_ms),
            point.largest_memory_bytes.to_string(),
        ]
    }));
    (rows.len() > 1).then(|| table(&without_empty_columns(&rows), 1))
}
