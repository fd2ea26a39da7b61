//! One model planned by every strategy, side by side.

use crate::failure::Failure;
use crate::pipeline::Walk;
use crate::table;
use tranche_partitioner::Strategy;
use tranche_partitioner::explain::{PlanCosts, pricing, workload};
use tranche_schema::{
    ComparedStrategy, Comparison, Document as _, Millis, Plan, PlanFigures, Profile, Refusal, exit_code,
};

/// Plans by every strategy, once for each of `walks`, which differ in their prices.
///
/// # Errors
/// When the profile is not of the model, or no strategy has a plan at any prices.
pub fn compare(walks: &[Walk<'_>], profile: &Profile) -> Result<Comparison, Failure> {
    let mut strategies = Vec::new();
    let mut first_refusal = None;
    for walk in walks {
        strategies.extend(at_prices(walk, profile, &mut first_refusal)?);
    }
    let plan = strategies.iter().find_map(|row| row.plan.as_ref());
    match (plan, first_refusal) {
        (Some(plan), _) => Ok(Comparison {
            header: Comparison::header(),
            model: plan.model.clone(),
            profile_digest: plan.profile_digest.clone(),
            engine: plan.engine.clone(),
            strategies,
        }),
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Err(Failure::bug("no strategy was tried")),
    }
}

fn at_prices(
    walk: &Walk<'_>,
    profile: &Profile,
    first_refusal: &mut Option<Failure>,
) -> Result<Vec<ComparedStrategy>, Failure> {
    let mut planned = vec![(Strategy::Optimal, plan(walk, profile, &Strategy::Optimal)?)];
    let optimum = planned.iter().find_map(|(_, plan)| plan.as_ref().ok()).map(|plan| plan.slices.len());
    // Parts of equal time as many as the optimum has slices, two where it does not cut.
    let parts = optimum.map(|slices| slices.max(2).min(profile.layers.len()));
    for strategy in others(parts, &walk.settings.strategy)? {
        let found = plan(walk, profile, &strategy)?;
        planned.push((strategy, found));
    }
    let prices = planned
        .iter()
        .find_map(|(_, plan)| plan.as_ref().ok())
        .map(|plan| plan.pricing.name.clone())
        .unwrap_or_default();
    let row = |(strategy, found): (Strategy, Result<Plan, Failure>)| {
        let (plan, failure) = match found {
            Ok(plan) => (Some(plan), None),
            Err(failure) => (None, Some(failure)),
        };
        let row = ComparedStrategy {
            strategy: strategy.to_string(),
            prices: prices.clone(),
            figures: plan.as_ref().map(figures),
            refusal: failure
                .as_ref()
                .map(|failure| Refusal { message: failure.message.clone(), hint: failure.hint.clone() }),
            plan,
        };
        if first_refusal.is_none() {
            *first_refusal = failure;
        }
        row
    };
    Ok(planned.into_iter().map(row).collect())
}

/// A strategy's plan, or why it has none: it breaks a constraint, or does not fit the model.
///
/// # Errors
/// When nothing can be planned, by no strategy.
fn plan(walk: &Walk<'_>, profile: &Profile, strategy: &Strategy) -> Result<Result<Plan, Failure>, Failure> {
    match walk.partition_as(profile, strategy, &walk.settings.constraints()) {
        Ok(plan) => Ok(Ok(plan)),
        Err(failure) if failure.exit_code == exit_code::INFEASIBLE => Ok(Err(failure)),
        Err(failure) => Err(failure),
    }
}

/// The strategies beside `optimal`: the usual ones, and the one that was asked for.
fn others(parts: Option<usize>, asked: &str) -> Result<Vec<Strategy>, Failure> {
    let mut strategies = vec![Strategy::Similarity { slices: None }];
    strategies.extend(parts.map(|parts| Strategy::Uniform(parts as u32)));
    strategies.extend("gillis".parse::<Strategy>());
    strategies.push(Strategy::Unsplit);
    let asked: Strategy = asked.parse()?;
    if asked != Strategy::Optimal && !strategies.contains(&asked) {
        strategies.push(asked);
    }
    Ok(strategies)
}

/// A plan in the numbers that plans are compared by.
#[must_use]
pub fn figures(plan: &Plan) -> PlanFigures {
    let (costs, prediction) = (PlanCosts::of(plan), &plan.prediction);
    PlanFigures {
        slices: plan.slices.len() as u32,
        unit: costs.unit,
        cost: costs.total,
        cost_over_unsplit: costs.over_unsplit(),
        cost_over_lower_bound: costs.over_lower_bound(),
        latency_ms: prediction.latency_ms,
        cold_latency_ms: prediction.cold_latency_ms,
        p99_ms: prediction.p99_ms,
        largest_memory_bytes: prediction.largest_memory_bytes,
    }
}

/// The comparison as text: a table for each price file, the cheapest plan marked.
#[must_use]
pub fn text(comparison: &Comparison) -> String {
    let mut text = format!(
        "{} ({}), engine {}\n",
        comparison.model.name,
        comparison.model.digest.short(),
        comparison.engine
    );
    for rows in comparison.strategies.chunk_by(|left, right| left.prices == right.prices) {
        let planned: Vec<(&ComparedStrategy, &Plan, PlanFigures)> =
            rows.iter().filter_map(|row| Some((row, row.plan.as_ref()?, row.figures?))).collect();
        if let Some((_, plan, _)) = planned.first() {
            let priced = pricing(plan).map_or_else(
                || "Costs are memory-time, no prices".to_owned(),
                |pricing| format!("Priced by {pricing}"),
            );
            text.push_str(&format!(
                "{priced}; requests: {}\n\n{}\n",
                workload(plan),
                figures_table(&planned)
            ));
        }
        for row in rows {
            if let Some(refusal) = &row.refusal {
                text.push_str(&format!("\n{}: {}", row.strategy, refusal.message));
            }
        }
        text.push('\n');
    }
    text
}

/// Columns of a table of plans' figures; the first says which plan.
pub(crate) fn figures_header(costs: &PlanCosts) -> [&'static str; 9] {
    [
        "strategy",
        "slices",
        costs.heading(),
        "of unsplit",
        "of bound",
        "latency",
        "cold",
        "p99",
        "largest memory",
    ]
}

/// A row of that table.
pub(crate) fn figures_row(name: String, figures: &PlanFigures, costs: &PlanCosts) -> Vec<String> {
    let known = |time: Millis| if time.0 > 0.0 { time.to_string() } else { String::new() };
    let times = |value: Option<f64>| value.map(|value| table::ratio(value, 1.0)).unwrap_or_default();
    vec![
        name,
        figures.slices.to_string(),
        costs.text(figures.cost),
        times(figures.cost_over_unsplit),
        times(figures.cost_over_lower_bound),
        figures.latency_ms.to_string(),
        known(figures.cold_latency_ms),
        known(figures.p99_ms),
        figures.largest_memory_bytes.to_string(),
    ]
}

fn figures_table(planned: &[(&ComparedStrategy, &Plan, PlanFigures)]) -> String {
    let cheapest = cheapest(planned.iter().map(|(_, _, figures)| figures));
    let Some((_, first, _)) = planned.first() else { return String::new() };
    let costs = PlanCosts::of(first);
    let rows: Vec<Vec<String>> = planned
        .iter()
        .enumerate()
        .map(|(at, (row, _, figures))| {
            let mark = if cheapest == Some(at) { " *" } else { "" };
            figures_row(format!("{}{mark}", row.strategy), figures, &costs)
        })
        .collect();
    let (header, rows) = table::without_empty_columns(&figures_header(&costs), &rows);
    table::render(&header, &rows, &["strategy"])
}

/// The place of the cheapest; of equally cheap ones that of the fewest slices.
pub fn cheapest<'a>(figures: impl Iterator<Item = &'a PlanFigures>) -> Option<usize> {
    figures
        .enumerate()
        .min_by(|(_, left), (_, right)| left.cost.total_cmp(&right.cost).then(left.slices.cmp(&right.slices)))
        .map(|(at, _)| at)
}
