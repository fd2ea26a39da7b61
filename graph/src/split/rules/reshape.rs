//! `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`: the same elements in the same order under other extents
//! (ONNX operators of those names).
//!
//! Element `(p, e, q)` of `y`, where `e` is its place along the axis wanted, of extent `E`, `p` counts
//! the axes before it and `q < Q` those after, is the element `(p·E + e)·Q + q` of `x` in order. An axis
//! of `x` with `P'` and `Q'` places before and after it has to do with the axis wanted in three ways:
//!
//! - `P' = P` and `Q' = Q`: it is the same axis.
//! - `P = r·P'` and `Q = c·Q'`: the axis wanted is a factor of it (heads of a hidden axis). Place `e` is
//!   made of the `c` adjacent places from `e·c` on, in each of `r` stretches of `E·c`.
//! - `P' = r·P` and `Q' = c·Q`: it is a factor of the axis wanted. Places in whole groups of `c`, the same
//!   in each of `r` stretches, are made of one place for each group.
//!
//! A summand of `y` is made of one of `x`.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

/// More ranges than this are not taken apart.
const MOST_RANGES: u64 = 1024;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Summand => Ok(Rewrite::linear(part)),
        Need::Along { axis, ranges } => {
            let (own, places) = source(part, *axis, ranges)?;
            let work = part.share(*axis, ranges)?;
            let need = Some(Need::along(own, &places));
            let as_it_is = || {
                let steering = part.node.inputs.iter().skip(1).map(|input| input.map(|_| Need::Whole));
                Rewrite::same(part, [need.clone()].into_iter().chain(steering).collect(), work)
            };
            let operation = match part.node.operator() {
                "Reshape" => reshape(part, own, *axis, ranges)?,
                // All axes of extent 1 are removed, and the part may have one more of them.
                "Squeeze" if part.input(1).is_none() && part.integer_list("axes").is_none() => squeeze(part)?,
                _ => return Ok(as_it_is()),
            };
            Ok(Rewrite { needs: vec![need, None], operations: vec![operation], work })
        }
    }
}

/// The axis of the input, and the places of it, that places of an axis of the output are made of.
fn source(part: &Part<'_>, axis: usize, ranges: &Ranges) -> Result<(usize, Ranges), Refusal> {
    let (input, output) = (part.shape(0)?, part.output_shape(0)?);
    if input.contains(&0) || axis >= output.len() {
        return Err(part.refuse("it is empty"));
    }
    let before = |shape: &[u64], axis: usize| shape[..axis].iter().product::<u64>();
    let after = |shape: &[u64], axis: usize| shape[axis + 1..].iter().product::<u64>();
    let (outer, inner) = (before(output, axis), after(output, axis));
    let mut grain = None;
    for (own, &extent) in input.iter().enumerate().filter(|(_, extent)| **extent > 1) {
        let (own_outer, own_inner) = (before(input, own), after(input, own));
        if outer.is_multiple_of(own_outer) && inner.is_multiple_of(own_inner) {
            let (stretches, each) = (outer / own_outer, inner / own_inner);
            if stretches * ranges.as_slice().len() as u64 > MOST_RANGES {
                return Err(part.refuse(format!("places of axis {axis} lie in {stretches} stretches apart")));
            }
            return Ok((own, ranges.spread(each).repeated(stretches, output[axis] * each)));
        }
        if own_outer.is_multiple_of(outer) && own_inner.is_multiple_of(inner) {
            let (stretches, each) = (own_outer / outer, own_inner / inner);
            let period = extent * each;
            let first = ranges.within(0, period);
            if let Some(places) = first.as_ref().and_then(|first| first.grouped(each))
                && first.is_some_and(|first| first.repeated(stretches, period) == *ranges)
            {
                return Ok((own, places));
            }
            if stretches == 1 {
                grain = grain.or(Some(each));
            }
        }
    }
    Err(match grain {
        Some(grain) => part.cuts_through("a group", grain),
        None => part.refuse(format!("axis {axis} of what it makes is mixed of axes of what it reads")),
    })
}

/// With a shape of the part's own. Entries that copy or infer an extent stay, but for the axis wanted and
/// the one that it is made of.
fn reshape(part: &Part<'_>, own: usize, axis: usize, ranges: &Ranges) -> Result<Operation, Refusal> {
    let output = part.output_shape(0)?;
    let old = part.opset() < 5;
    let stored = if old { part.integer_list("shape").map(<[i64]>::to_vec) } else { part.integers(1).ok() };
    let allows_zero = part.integer("allowzero", 0) != 0;
    let mut shape: Vec<i64> = output.iter().map(|&extent| extent as i64).collect();
    shape[axis] = ranges.count() as i64;
    // A computed shape has these extents for the sizes at hand.
    if let Some(stored) = stored.filter(|stored| stored.len() == shape.len()) {
        for (place, &entry) in stored.iter().enumerate() {
            let copies = entry == 0 && !allows_zero && place != axis && place != own;
            if copies || entry == -1 {
                shape[place] = entry;
            }
        }
    }
    let operation = Operation { inputs: vec![Argument::Input(0)], ..Operation::same(part, &[]) };
    Ok(if old {
        operation.with("shape", AttributeValue::Integers(shape))
    } else {
        Operation { inputs: vec![Argument::Input(0), Constant::integers(&shape)], ..operation }
    })
}

/// With the axes that the whole node removes.
fn squeeze(part: &Part<'_>) -> Result<Operation, Refusal> {
    let axes: Vec<i64> =
        (0..).zip(part.shape(0)?).filter(|(_, extent)| **extent == 1).map(|(axis, _)| axis).collect();
    let operation = Operation { inputs: vec![Argument::Input(0)], ..Operation::same(part, &[]) };
    Ok(if part.opset() < 13 {
        operation.with("axes", AttributeValue::Integers(axes))
    } else {
        Operation { inputs: vec![Argument::Input(0), Constant::integers(&axes)], ..operation }
    })
}
