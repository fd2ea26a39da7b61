//! `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`: the same elements in the same order under other extents
//! (ONNX operators of those names).
//!
//! An axis of extent `E` with `Q` places after it counts the digits of an element's number between `Q` and
//! `E·Q`. One of `x` that counts those between `Q'` and `E'·Q'` has in common with it those between
//! `l = max(Q, Q')` and `t = min(E·Q, E'·Q')`, where these divide each other; what is beside them on
//! either axis are factors of it. Places of the axis wanted that are whole groups of `l/Q`, the same
//! in each of `E·Q/t` stretches, are made of groups of `l/Q'` in each of `E'·Q'/t` stretches. So a head of
//! a hidden axis is `D` adjacent columns, heads of three packed projections are three stretches, and
//! columns are heads where they are whole ones.
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
    let digits = |shape: &[u64], axis: usize| {
        let after = shape[axis + 1..].iter().product::<u64>();
        (after, after * shape[axis])
    };
    let (inner, outer) = digits(output, axis);
    let mut grain = None;
    for own in (0..input.len()).filter(|&own| input[own] > 1) {
        let (own_inner, own_outer) = digits(input, own);
        let (low, top) = (inner.max(own_inner), outer.min(own_outer));
        let divides = |factor: u64, of: u64| of.is_multiple_of(factor);
        let common = low < top && divides(low, top);
        if !common || ![inner, own_inner].iter().all(|&factor| divides(factor, low)) {
            continue;
        }
        if ![outer, own_outer].iter().all(|&of| divides(top, of)) {
            continue;
        }
        let (each, stretches) = (low / inner, outer / top);
        let first = ranges.within(0, top / inner);
        let groups = first.as_ref().and_then(|first| first.grouped(each));
        if let Some((first, groups)) = first.zip(groups)
            && first.repeated(stretches, top / inner) == *ranges
        {
            let stretches = own_outer / top;
            if stretches * groups.as_slice().len() as u64 > MOST_RANGES {
                return Err(part.refuse(format!("places of axis {axis} lie in {stretches} stretches apart")));
            }
            return Ok((own, groups.spread(low / own_inner).repeated(stretches, top / own_inner)));
        }
        if stretches == 1 {
            grain = grain.or(Some(each));
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
