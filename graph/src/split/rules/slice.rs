//! `Slice`: along each axis that is cut, `y[o] = x[start + step · o]`; a start or end below 0 counts from the
//! end of the axis, and both are moved within it. What is cut is said by attributes before version 10 of the
//! operator set, by inputs from then on (ONNX operators, Slice).
//!
//! - An axis that is not cut passes.
//! - Along one that is, places `a..b` are made of `start + step · a ..= start + step · (b − 1)`, or the
//!   other way round where `step` is below 0. Where it is 1, a part needs no cut along that axis.
//! - It is linear: a summand is made of a summand of `x`.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

/// How one axis is cut, as the node says it.
#[derive(Clone, Copy)]
struct Cut {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let mut needs: Vec<Option<Need>> =
        part.node.inputs.iter().map(|input| input.map(|_| Need::Whole)).collect();
    let (axis, ranges) = match part.only()? {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Summand => {
            needs[0] = Some(Need::Summand);
            return Ok(Rewrite::same(part, needs, 1.0));
        }
        Need::Along { axis, ranges } => (*axis, ranges),
    };
    let work = part.share(axis, ranges)?;
    if !axes(part)?.contains(&axis) {
        needs[0] = Some(Need::Along { axis, ranges: ranges.clone() });
        return Ok(Rewrite::same(part, needs, work));
    }
    let extent = part.shape(0)?.get(axis).copied().unwrap_or(0) as i64;
    let mut cuts = cuts(part)?;
    let wrong = || part.refuse("its starts, ends and axes differ in number");
    let own = cuts.iter().position(|cut| cut.axis == axis).ok_or_else(wrong)?;
    let Cut { start, step, .. } = cuts[own];
    let last = if step > 0 { extent } else { extent - 1 };
    let start = (if start < 0 { start + extent } else { start }).clamp(0, last);
    let places = if step == 1 {
        cuts.remove(own);
        ranges.shifted(start as u64)
    } else {
        let (first, end) = ranges
            .single()
            .ok_or_else(|| part.refuse("places that are not adjacent are wanted of every so many"))?;
        let ends = (start + step * first as i64, start + step * (end as i64 - 1));
        let (from, to) = (ends.0.min(ends.1), ends.0.max(ends.1) + 1);
        let held = to - from;
        // From the first to the last, or from the last (−1) to before the first.
        let (start, end) = if step > 0 { (0, held) } else { (-1, -held - 1) };
        cuts[own] = Cut { axis, start, end, step };
        Ranges::new(from as u64, to as u64).ok_or_else(|| part.refuse("nothing of it is wanted"))?
    };
    let mut needs = vec![None; part.node.inputs.len()];
    needs[0] = Some(Need::Along { axis, ranges: places });
    Ok(Rewrite { needs, operations: vec![written(part, &cuts)], work })
}

/// The axes that are cut.
fn axes(part: &Part<'_>) -> Result<Vec<usize>, Refusal> {
    let rank = part.shape(0)?.len();
    let first = |count: u64| (0..count as i64).collect();
    let said: Vec<i64> = if part.opset() < 10 {
        let starts = part.integer_list("starts").map_or(0, |starts| starts.len() as u64);
        part.integer_list("axes").map_or_else(|| first(starts), <[i64]>::to_vec)
    } else if part.input(3).is_some() {
        part.integers(3)?
    } else {
        first(part.shape(1)?.first().copied().unwrap_or(0))
    };
    said.iter().map(|&axis| part.axis(axis, rank)).collect()
}

fn cuts(part: &Part<'_>) -> Result<Vec<Cut>, Refusal> {
    let axes = axes(part)?;
    let (starts, ends, steps) = if part.opset() >= 10 {
        let steps = part.input(4).map(|_| part.integers(4)).transpose()?;
        (part.integers(1)?, part.integers(2)?, steps)
    } else {
        let list = |name: &str| part.integer_list(name).unwrap_or_default().to_vec();
        (list("starts"), list("ends"), None)
    };
    let steps = steps.unwrap_or_else(|| vec![1; axes.len()]);
    if [starts.len(), ends.len(), steps.len()] != [axes.len(); 3] || steps.contains(&0) {
        return Err(part.refuse("its starts, ends and axes differ in number, or a step is 0"));
    }
    let cut =
        |place: usize| Cut { axis: axes[place], start: starts[place], end: ends[place], step: steps[place] };
    Ok((0..axes.len()).map(cut).collect())
}

/// The node with these cuts.
fn written(part: &Part<'_>, cuts: &[Cut]) -> Operation {
    if cuts.is_empty() {
        return Operation::of("Identity", vec![Argument::Input(0)], Argument::Output(0));
    }
    let list = |of: &dyn Fn(&Cut) -> i64| cuts.iter().map(of).collect::<Vec<_>>();
    let (starts, ends) = (list(&|cut| cut.start), list(&|cut| cut.end));
    let (axes, steps) = (list(&|cut| cut.axis as i64), list(&|cut| cut.step));
    if part.opset() < 10 {
        return Operation::of("Slice", vec![Argument::Input(0)], Argument::Output(0))
            .with("starts", AttributeValue::Integers(starts))
            .with("ends", AttributeValue::Integers(ends))
            .with("axes", AttributeValue::Integers(axes));
    }
    let inputs = [starts, ends, axes, steps].into_iter().map(|values| Constant::integers(&values));
    let inputs = std::iter::once(Argument::Input(0)).chain(inputs).collect();
    Operation::of("Slice", inputs, Argument::Output(0))
}
