//! Why each cut is there, and what a reader of the plan should know.

use crate::horizontal::part_name;
use crate::price::curve::is_near;
use crate::search::{least_cost, without_each_cut};
use crate::{Costs, Pricing, Problem, Segment, Strategy};
use std::ops::Range;
use tranche_schema::{Billing, ByteCount, Constraints, CostUnit, MilliCpu, Plan};

/// Savings below this share of the unsplit cost are within the error of prediction.
const UNSURE: f64 = 0.05;

/// Largest number of layers for which plans of each number of slices are looked at.
const MOST_COUNTED_LAYERS: usize = 400;

/// A latency longer than unsplit's by this share is worth a note.
const NOTABLY_SLOWER: f64 = 0.1;

/// Pass: fills the reason of each slice and the notes of the plan. `costs` are of the
/// layers in the plan's order, `problem` has them in the graph's.
pub(crate) fn explain_cuts(
    costs: &Costs<'_>,
    strategy: &Strategy,
    plan: &Plan,
    path: &[Segment],
    problem: &Problem,
) -> Plan {
    let mut plan = plan.clone();
    let without = without_each_cut(costs, &plan.constraints);
    for index in 0..path.len() {
        let reason = match path.get(index + 1) {
            _ if part_reason(costs, &path[index]).is_some() => {
                part_reason(costs, &path[index]).unwrap_or_default()
            }
            Some(_) => cut_reason(costs, strategy, &plan, path, index),
            None if path.len() == 1 => "the whole model in one function".to_owned(),
            None => "runs to the end of the model".to_owned(),
        };
        let best = without.get(path[index].layers.end).copied().flatten();
        let more = |best: f64| best / plan.prediction.cost - 1.0;
        let is_part = part_reason(costs, &path[index]).is_some();
        let without_cut =
            best.map(more).filter(|more| more.is_finite() && index + 1 < path.len() && !is_part);
        if let Some(slice) = plan.slices.get_mut(index) {
            slice.reason = reason;
            slice.without_cut = without_cut;
        }
    }
    plan.notes = notes(costs, strategy, &plan, path, problem);
    plan
}

/// What part of which layers a slice is; none where it is a slice of whole layers.
fn part_reason(costs: &Costs<'_>, segment: &Segment) -> Option<String> {
    let basis = costs.problem().horizontal.basis.as_ref()?;
    let layer = &costs.problem().layers.get(segment.layers.start)?.name;
    let (split, part) = basis.splits.iter().find_map(|split| {
        let part = (0..split.parts as usize).find(|&part| part_name(&split.name, part) == *layer)?;
        Some((split, part))
    })?;
    let (first, last) = (split.layers.first()?, split.layers.last()?);
    Some(format!(
        "part {} of {} of `{first}`{}: {:.0} % of its work, {} of its {} of weights",
        part + 1,
        split.parts,
        if first == last { String::new() } else { format!(" to `{last}`") },
        split.work.get(part)? * 100.0,
        split.weights_bytes.get(part)?,
        split.whole_weights_bytes,
    ))
}

fn total(path: &[Segment]) -> f64 {
    path.iter().map(|segment| segment.cost).sum()
}

fn cut_reason(costs: &Costs<'_>, strategy: &Strategy, plan: &Plan, path: &[Segment], index: usize) -> String {
    let (left, right) = (&path[index].layers, &path[index + 1].layers);
    let lead = match strategy {
        Strategy::Optimal => "cut",
        Strategy::Gillis => "fastest: cut",
        Strategy::Similarity { .. } => "resource use changes: cut",
        Strategy::Uniform(_) => "equal time: cut",
        Strategy::Unsplit | Strategy::Manual(_) => "as asked: cut",
    };
    let cost = total(path);
    let rest = cost - path[index].cost - path[index + 1].cost;
    let instead = |parts: &[Range<usize>]| {
        let parts: Vec<Segment> = parts.iter().filter_map(|part| costs.segment(part.clone())).collect();
        if let Some(most) = plan.constraints.max_memory_bytes
            && let Some(needed) = parts.iter().map(|part| part.memory).max().filter(|&needed| needed > most)
        {
            return format!("would need {needed}, above max-memory");
        }
        let largest = costs.model().pricing.largest_memory();
        if let Some(needed) = parts.iter().map(|part| part.memory).max().filter(|&needed| needed > largest) {
            return format!("would need {needed}, more than a function may have");
        }
        percent(rest + total(&parts), cost)
    };
    let mut alternatives =
        vec![format!("no cut here {}", instead(std::slice::from_ref(&(left.start..right.end))))];
    if left.len() > 1 {
        let moved = left.end - 1;
        alternatives.push(format!("one layer earlier {}", instead(&[left.start..moved, moved..right.end])));
    }
    if right.len() > 1 {
        let moved = left.end + 1;
        alternatives.push(format!("one layer later {}", instead(&[left.start..moved, moved..right.end])));
    }
    let passing: ByteCount = plan
        .edges
        .iter()
        .filter(|edge| {
            let place = |name: &String| plan.slices.iter().position(|slice| slice.name == *name);
            let before = edge.from.as_ref().and_then(place).is_some_and(|from| from <= index);
            before && edge.to.iter().filter_map(place).any(|to| to > index)
        })
        .map(|edge| edge.tensor.bytes())
        .sum();
    format!(
        "{lead} after `{}`, passing {passing}; {}",
        costs.problem().layers[left.end - 1].name,
        alternatives.join(", ")
    )
}

/// How much dearer than `reference`, as `+4.1 %`.
fn percent(value: f64, reference: f64) -> String {
    if reference > 0.0 { format!("{:+.1} %", (value / reference - 1.0) * 100.0) } else { "+0.0 %".to_owned() }
}

fn notes(
    costs: &Costs<'_>,
    strategy: &Strategy,
    plan: &Plan,
    path: &[Segment],
    problem: &Problem,
) -> Vec<String> {
    let mut notes = Vec::new();
    let layers = costs.problem().layers.len();
    let cost = total(path);
    let unsplit = plan.prediction.unsplit_cost;
    let constraints = &plan.constraints;
    let best = |constraints: &Constraints| least_cost(problem, costs.model(), constraints);
    if path.len() == 1 && *strategy == Strategy::Optimal && layers > 1 {
        notes.push(why_unsplit(constraints, cost, best));
    }
    if path.len() > 1 {
        notes.extend(why_split(costs, strategy, plan, cost, unsplit));
    }
    if path.len() > 1 && *strategy == Strategy::Optimal && layers <= MOST_COUNTED_LAYERS {
        notes.extend(fewer_slices(constraints, cost, path.len(), best));
    }
    let (latency, unsplit_latency) = (plan.prediction.latency_ms.0, plan.prediction.unsplit_latency_ms.0);
    if latency > unsplit_latency * (1.0 + NOTABLY_SLOWER) {
        notes.push(format!(
            "a request takes {} against unsplit: bound latency where that matters",
            percent(latency, unsplit_latency)
        ));
    }
    if constraints.latency_ms.is_some() && *strategy == Strategy::Optimal {
        let free = Constraints { latency_ms: None, ..*constraints };
        let unbound = best(&free).map_or(cost, |totals| totals.cost);
        if unbound < cost * (1.0 - 1e-9) {
            notes.push(format!(
                "the latency bound binds: without it the plan costs {}",
                percent(unbound, cost)
            ));
        }
    }
    let measured = path.iter().filter(|segment| segment.measured).count();
    if measured < path.len() {
        notes.push(format!(
            "{measured} of {} slices measured whole; the others are estimated from their layers",
            path.len()
        ));
    }
    notes.extend(unmeasured_shares(problem, path));
    notes.extend(late_starts(&costs.model().pricing, plan, path));
    notes.push(priced(&costs.model().pricing, plan));
    notes
}

fn why_split(costs: &Costs<'_>, strategy: &Strategy, plan: &Plan, cost: f64, unsplit: f64) -> Vec<String> {
    let mut notes = Vec::new();
    let constraints = &plan.constraints;
    let largest = costs.model().pricing.largest_memory();
    let need = plan.prediction.unsplit_memory_bytes;
    if let Some(most) = constraints.max_memory_bytes.filter(|&most| need > most) {
        notes.push(format!("cut because the whole model needs {need}, above max-memory {most}"));
    } else if need > largest {
        notes.push(format!(
            "cut because the whole model needs {need}, more than a function may have ({largest})"
        ));
    }
    if let Some(most) = costs.model().pricing.longest_call
        && plan.prediction.unsplit_latency_ms > most
    {
        let (whole, most) = (plan.prediction.unsplit_latency_ms.as_seconds(), most.as_seconds());
        notes.push(format!(
            "cut because the whole model takes {whole:.1} s, longer than a call may ({most:.0} s)"
        ));
    }
    if cost >= unsplit {
        let forced = constraints.min_slices.filter(|&least| least > 1 && *strategy == Strategy::Optimal);
        let cause = forced.map_or_else(
            || "slicing does not pay here".to_owned(),
            |least| format!("slicing does not pay here and is forced by min-slices {least}"),
        );
        notes.push(format!("{cause}: the whole model in one function costs {}", percent(unsplit, cost)));
    } else if cost > unsplit * (1.0 - UNSURE) {
        notes.push(format!(
            "saves {:.1} % against unsplit, which is within the error of prediction: measure before relying on it",
            (1.0 - cost / unsplit) * 100.0
        ));
    }
    notes
}

/// The fewest slices whose cost is not distinguishable from that of the plan.
fn fewer_slices(
    constraints: &Constraints,
    cost: f64,
    slices: usize,
    best: impl Fn(&Constraints) -> Option<crate::search::Totals>,
) -> Option<String> {
    let with_at_most = |most: usize| {
        let fewer = Constraints { max_slices: Some(most as u32), ..*constraints };
        best(&fewer).filter(|totals| totals.cost <= cost * (1.0 + UNSURE))
    };
    let (mut least, mut most) = (1, slices);
    let mut found = None;
    // The least cost falls with the number of slices allowed: halve the range.
    while least < most {
        let middle = least.midpoint(most);
        match with_at_most(middle) {
            Some(totals) => {
                most = totals.slices.min(middle);
                found = Some(totals);
            }
            None => least = middle + 1,
        }
    }
    let totals = found?;
    let dearer = percent(totals.cost, cost);
    Some(format!(
        "{} slices cost {dearer}: max-slices {} gives almost the same",
        totals.slices, totals.slices
    ))
}

fn why_unsplit(
    constraints: &Constraints,
    cost: f64,
    best: impl Fn(&Constraints) -> Option<crate::search::Totals>,
) -> String {
    if constraints.max_slices == Some(1) {
        return "not cut because max-slices is 1".to_owned();
    }
    let split = Constraints { min_slices: Some(2), ..*constraints };
    match best(&split) {
        Some(totals) => format!(
            "unsplit is cheapest: the best plan of two or more slices has {} and costs {}",
            totals.slices,
            percent(totals.cost, cost)
        ),
        None => "not cut: no plan of two or more slices satisfies the constraints".to_owned(),
    }
}

/// CPU shares of the plan at which nothing was measured.
fn unmeasured_shares(problem: &Problem, path: &[Segment]) -> Option<String> {
    let known: Vec<MilliCpu> = problem
        .whole
        .shares
        .iter()
        .map(|sample| sample.cpu)
        .chain([problem.profiled_cpu])
        .chain(problem.measured.iter().map(|slice| slice.cpu))
        .collect();
    let near = |share: MilliCpu| known.iter().any(|&known| is_near(known, share));
    let mut shares: Vec<_> = path.iter().map(|segment| segment.cpu).filter(|share| !near(*share)).collect();
    shares.sort_unstable();
    shares.dedup();
    let (first, last) = (shares.first()?, shares.last()?);
    let shares = if first == last { first.to_string() } else { format!("{first} to {last}") };
    Some(format!("times at {shares} follow from those measured at other shares"))
}

/// Slices that take longer to start than the platform waits at first.
fn late_starts(pricing: &Pricing, plan: &Plan, path: &[Segment]) -> Option<String> {
    let most = pricing.longest_start?;
    let late: Vec<&str> = plan
        .slices
        .iter()
        .zip(path)
        .filter(|(_, segment)| segment.start_up > most)
        .map(|(slice, _)| slice.name.as_str())
        .collect();
    let longest = path.iter().map(|segment| segment.start_up.0).fold(0.0, f64::max) / 1000.0;
    (!late.is_empty()).then(|| {
        format!(
            "{} may take {longest:.1} s to start, longer than the {:.0} s that a start has: more slices start sooner",
            late.join(", "),
            most.as_seconds()
        )
    })
}

fn priced(pricing: &Pricing, plan: &Plan) -> String {
    let workload = &plan.workload;
    let rate = workload.rate_per_second.unwrap_or(crate::DEFAULT_RATE);
    match (pricing.identity.unit, pricing.identity.billing) {
        (CostUnit::GibSeconds, _) => {
            "priced: memory-time of one warm request; start-up, idle time and fees are not".to_owned()
        }
        (CostUnit::Usd, Billing::AlwaysOn) => format!(
            "priced: replicas that are always on, by {} of {}, at {rate} requests a second",
            pricing.identity.name, pricing.identity.date
        ),
        (CostUnit::Usd, Billing::PerRequest) => format!(
            "priced: run, hand-off and fees by {} of {}, {:.1} % of requests cold",
            pricing.identity.name,
            pricing.identity.date,
            workload.cold_fraction * 100.0
        ),
    }
}
