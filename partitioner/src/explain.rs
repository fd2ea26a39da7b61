//! Plans as text for people: in short, and with everything that a plan holds.

mod costs;
mod full;
mod short;
mod splits;
mod table;
mod totals;

pub use costs::{PlanCosts, share};
pub use full::{readers, render_in_full, tensor_type};
pub use short::render;
pub(crate) use table::table;

use tranche_schema::{Billing, CostUnit, Plan, Residual, SlicePlan};

/// `1 slice`, `3 slices`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// First and last layer of a slice and how many it has, as `conv1 .. pool2 (7)`.
#[must_use]
pub fn layer_span(slice: &SlicePlan) -> String {
    match slice.layers.as_slice() {
        [only] => only.clone(),
        [first, .., last] => format!("{first} .. {last} ({})", slice.layers.len()),
        [] => String::new(),
    }
}

/// The prices of a plan and what is paid for, as
/// `openfaas of 2026-11-25, paid by the request, in GiB·s`; none where the plan knows none.
#[must_use]
pub fn pricing(plan: &Plan) -> Option<String> {
    let pricing = &plan.pricing;
    let paid = match pricing.billing {
        Billing::PerRequest => "paid by the request",
        Billing::AlwaysOn => "paid by the replica, always on",
    };
    let unit = match pricing.unit {
        CostUnit::GibSeconds => "in GiB·s",
        CostUnit::Usd => "in dollars a million requests",
    };
    let name = match (pricing.name.as_str(), pricing.date.as_str()) {
        ("", _) => return None,
        (name, "") => name.to_owned(),
        (name, date) => format!("{name} of {date}"),
    };
    Some(format!("{name}, {paid}, {unit}"))
}

/// The requests of a plan, as `1.0 % cold, 0.5 a second, idle functions kept for 600 s`.
#[must_use]
pub fn workload(plan: &Plan) -> String {
    let workload = &plan.workload;
    let mut parts = vec![if workload.cold_fraction > 0.0 {
        format!("{:.1} % cold", workload.cold_fraction * 100.0)
    } else {
        "all warm".to_owned()
    }];
    parts.extend(workload.rate_per_second.map(|rate| format!("{rate} a second")));
    parts.extend(workload.keep_alive_seconds.map(|kept| format!("idle functions kept for {kept} s")));
    parts.join(", ")
}

/// Prediction beside measurement in a sentence without its point.
#[must_use]
pub fn residual(residual: &Residual) -> String {
    format!(
        "{} billed against {} predicted ({}), at most {:.1} % in a slice, after {}",
        residual.measured_ms,
        residual.predicted_ms,
        share(1.0 + residual.relative()),
        residual.largest_of_a_slice * 100.0,
        counted(residual.rounds as usize, "round")
    )
}

/// What every text about a plan begins with: model, strategy, prices, requests.
fn heading(plan: &Plan) -> String {
    let mut text = format!(
        "Plan for {} ({}): {} by {}, engine {}\n",
        plan.model.name,
        plan.model.digest.short(),
        counted(plan.slices.len(), "slice"),
        plan.strategy,
        plan.engine
    );
    if let Some(pricing) = pricing(plan) {
        text.push_str(&format!("Priced by {pricing}; requests: {}\n", workload(plan)));
    }
    text
}
