//! Why each cut is there, and what a reader of the plan should know.

use crate::optimal::{optimal, total_cost};
use crate::{Costs, Strategy};
use std::ops::Range;
use tranche_schema::{Constraints, Plan};

/// Savings below this share of the unsplit cost are within the error of prediction.
const UNSURE: f64 = 0.05;

/// A latency longer than unsplit's by this share is worth a note.
const NOTABLY_SLOWER: f64 = 0.1;

/// Pass: fills the reason of each slice and the notes of the plan.
pub(crate) fn explain_cuts(
    costs: &Costs<'_>,
    strategy: &Strategy,
    plan: &Plan,
    path: &[Range<usize>],
) -> Plan {
    let mut plan = plan.clone();
    for index in 0..path.len() {
        let reason = match path.get(index + 1) {
            Some(_) => cut_reason(costs, strategy, &plan, path, index),
            None if path.len() == 1 => "the whole model in one function".to_owned(),
            None => "runs to the end of the model".to_owned(),
        };
        if let Some(slice) = plan.slices.get_mut(index) {
            slice.reason = reason;
        }
    }
    plan.notes = notes(costs, strategy, &plan, path);
    plan
}

fn cut_reason(
    costs: &Costs<'_>,
    strategy: &Strategy,
    plan: &Plan,
    path: &[Range<usize>],
    index: usize,
) -> String {
    let (left, right) = (&path[index], &path[index + 1]);
    let lead = match strategy {
        Strategy::Optimal => "cut",
        Strategy::Similarity { .. } => "resource use changes: cut",
        Strategy::Uniform(_) => "equal time: cut",
        Strategy::Unsplit | Strategy::Manual(_) => "as asked: cut",
    };
    let cost = total_cost(costs, path);
    let instead = |parts: &[Range<usize>]| {
        let mut other = path.to_vec();
        other.splice(index..index + 2, parts.iter().cloned());
        if let Some(most) = plan.constraints.max_memory_bytes {
            let needed =
                parts.iter().filter_map(|part| costs.segment(part.clone())).map(|part| part.memory).max();
            if let Some(needed) = needed.filter(|&needed| needed > most) {
                return format!("would need {needed}, above max-memory");
            }
        }
        percent(total_cost(costs, &other), cost)
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
    let passing: tranche_schema::ByteCount = plan
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

fn notes(costs: &Costs<'_>, strategy: &Strategy, plan: &Plan, path: &[Range<usize>]) -> Vec<String> {
    let mut notes = Vec::new();
    let layers = costs.problem().layers.len();
    let cost = total_cost(costs, path);
    let unsplit = plan.prediction.unsplit_memory_time.0;
    let constraints = &plan.constraints;
    if path.len() == 1 && *strategy == Strategy::Optimal && layers > 1 {
        notes.push(why_unsplit(costs, constraints, cost));
    }
    if path.len() > 1 {
        if let Some(most) =
            constraints.max_memory_bytes.filter(|&most| plan.prediction.unsplit_memory_bytes > most)
        {
            notes.push(format!(
                "cut because the whole model needs {}, above max-memory {most}",
                plan.prediction.unsplit_memory_bytes
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
    }
    if path.len() > 1 && *strategy == Strategy::Optimal {
        notes.extend(fewer_slices(costs, constraints, cost, path.len()));
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
        let unbound = optimal(costs, &free).map_or(cost, |path| total_cost(costs, &path));
        if unbound < cost * (1.0 - 1e-9) {
            notes.push(format!(
                "the latency bound binds: without it the plan costs {}",
                percent(unbound, cost)
            ));
        }
    }
    let measured = path
        .iter()
        .filter(|part| costs.segment((*part).clone()).is_some_and(|segment| segment.measured))
        .count();
    if measured < path.len() {
        notes.push(format!(
            "{measured} of {} slices measured whole; the others are estimated from their layers",
            path.len()
        ));
    }
    let slowdown = costs.model().slowdown(costs.problem().profiled_cpu);
    if slowdown > 1.0 {
        notes.push(format!(
            "times are scaled by {slowdown:.2} from the profiled {} to {}, not measured there",
            costs.problem().profiled_cpu,
            costs.model().cpu
        ));
    }
    notes.push("priced: memory-time of one warm request; start-up, idle time and fees are not".to_owned());
    notes
}

/// The fewest slices whose cost is not distinguishable from that of the plan.
fn fewer_slices(costs: &Costs<'_>, constraints: &Constraints, cost: f64, slices: usize) -> Option<String> {
    let with_at_most = |most: usize| {
        let fewer = Constraints { max_slices: Some(most as u32), ..*constraints };
        optimal(costs, &fewer).ok().filter(|path| total_cost(costs, path) <= cost * (1.0 + UNSURE))
    };
    let (mut least, mut most) = (1, slices);
    let mut found = None;
    // The least cost falls with the number of slices allowed: halve the range.
    while least < most {
        let middle = least.midpoint(most);
        match with_at_most(middle) {
            Some(path) => {
                most = path.len().min(middle);
                found = Some(path);
            }
            None => least = middle + 1,
        }
    }
    let path = found?;
    let dearer = percent(total_cost(costs, &path), cost);
    Some(format!("{} slices cost {dearer}: max-slices {} gives almost the same", path.len(), path.len()))
}

fn why_unsplit(costs: &Costs<'_>, constraints: &Constraints, cost: f64) -> String {
    if constraints.max_slices == Some(1) {
        return "not cut because max-slices is 1".to_owned();
    }
    let split = Constraints { min_slices: Some(2), ..*constraints };
    match optimal(costs, &split) {
        Ok(path) => format!(
            "unsplit is cheapest: the best plan of two or more slices has {} and costs {}",
            path.len(),
            percent(total_cost(costs, &path), cost)
        ),
        Err(_) => "not cut: no plan of two or more slices satisfies the constraints".to_owned(),
    }
}
