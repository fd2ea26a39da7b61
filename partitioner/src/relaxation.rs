//! Why no plan satisfies the constraints, and the least that must give.

use crate::optimal::{Bounds, Table, latency_table};
use crate::{Costs, Infeasible};
use tranche_schema::{ByteCount, Millis};

/// Names the binding constraint of bounds that no plan satisfies: memory with
/// any number of slices, then the number of slices within the memory, then
/// latency within both.
pub(crate) fn diagnose(costs: &Costs<'_>, bounds: &Bounds) -> Infeasible {
    let any = bounds.any_count();
    if let Some(why) = memory(costs, bounds, &any) {
        return why;
    }
    let fewest = slice_count(costs, &any, |value, best| value < best);
    if let Some(most) = bounds.most
        && fewest > most
    {
        let memory = least_memory(costs, bounds).0;
        return Infeasible::MaxSlices { asked: most as u32, needed: fewest as u32, memory };
    }
    let possible = slice_count(costs, &any, |value, best| value > best);
    if possible < bounds.least {
        return Infeasible::MinSlices { asked: bounds.least as u32, possible: possible as u32 };
    }
    memory(costs, bounds, bounds).unwrap_or_else(|| latency(costs, bounds))
}

/// Whether the memory bound alone, with slices counted as in `counted`, is too low.
fn memory(costs: &Costs<'_>, bounds: &Bounds, counted: &Bounds) -> Option<Infeasible> {
    let asked = bounds.memory?;
    let (needed, place) = least_memory(costs, counted);
    (needed > asked).then_some(Infeasible::MaxMemory { asked, needed, place })
}

fn latency(costs: &Costs<'_>, bounds: &Bounds) -> Infeasible {
    let fastest = latency_table(costs, bounds).path(bounds).unwrap_or_default();
    Infeasible::Latency {
        asked: bounds.latency.unwrap_or_default(),
        needed: Millis(crate::optimal::total_latency(costs, &fastest)),
    }
}

/// The least memory bound that some segmentation within the slice counts meets,
/// and the segment that needs it.
fn least_memory(costs: &Costs<'_>, bounds: &Bounds) -> (ByteCount, String) {
    let free = Bounds { memory: None, ..*bounds };
    let table = Table::solve(
        costs,
        &free,
        ByteCount(0),
        |segment, rest| segment.memory.max(rest),
        |value, best| value < best,
    );
    let needed = table.best().unwrap_or_default();
    let place = table
        .path(&free)
        .unwrap_or_default()
        .into_iter()
        .find(|layers| costs.segment(layers.clone()).is_some_and(|segment| segment.memory == needed))
        .map_or_else(String::new, |layers| {
            let all = &costs.problem().layers;
            match &all[layers] {
                [only] => format!("layer `{}` alone", only.name),
                [first, .., last] => format!("the part from `{}` to `{}`", first.name, last.name),
                [] => String::new(),
            }
        });
    (needed, place)
}

/// The number of slices that is best by `better` among segmentations within the memory bound.
fn slice_count(costs: &Costs<'_>, bounds: &Bounds, better: impl Fn(&usize, &usize) -> bool) -> usize {
    Table::solve(costs, bounds, 0, |_, rest| rest + 1, better).best().unwrap_or(0)
}
