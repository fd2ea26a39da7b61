//! Tensors repeated or filled (ONNX operators of these names).
//!
//! - `Expand`: `x` broadcast to a shape. Places of an axis of which `x` has one alone are made of that one,
//!   others of the same places of `x`.
//! - `Tile`: `y[i, …] = x[i mod n, …]` for an axis of `n` places. Places in whole copies are made of all
//!   of `x`; places within one copy of those places of `x`.
//! - `ConstantOfShape`: the same value everywhere, of fewer places.
//! - `Range`: a row of numbers, made whole, of which a part takes its own.
//!
//! `Expand` and `Tile` are linear: a summand of `y` is made of one of `x`.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let operator = part.node.operator();
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Summand if matches!(operator, "Expand" | "Tile") => Ok(Rewrite::linear(part)),
        Need::Summand => Err(part.refuse("it sums nothing that parts could share")),
        Need::Along { axis, ranges } => match operator {
            "Expand" => expand(part, *axis, ranges),
            "Tile" => tile(part, *axis, ranges),
            "Range" => range(part, ranges),
            "ConstantOfShape" => {
                let shape = extents(part, 0, *axis, ranges)?;
                let work = part.share(*axis, ranges)?;
                Ok(steered(part, vec![None], vec![Constant::integers(&shape)], work))
            }
            _ => Err(part.refuse("it makes no elements that parts could share")),
        },
    }
}

fn steered(part: &Part<'_>, needs: Vec<Option<Need>>, inputs: Vec<Argument>, work: f64) -> Rewrite {
    Rewrite { needs, operations: vec![Operation { inputs, ..Operation::same(part, &[]) }], work }
}

/// The shape that a part makes; entries of 1 in a stored shape at `place` stay.
fn extents(part: &Part<'_>, place: usize, axis: usize, ranges: &Ranges) -> Result<Vec<i64>, Refusal> {
    let mut shape: Vec<i64> = part.output_shape(0)?.iter().map(|&extent| extent as i64).collect();
    if let Some(extent) = shape.get_mut(axis) {
        *extent = ranges.count() as i64;
    }
    // A computed shape has these extents for the sizes at hand.
    if let Ok(stored) = part.integers(place) {
        let missing = shape.len().saturating_sub(stored.len());
        for (extent, _) in shape.iter_mut().skip(missing).zip(&stored).filter(|(_, entry)| **entry == 1) {
            *extent = 1;
        }
    }
    Ok(shape)
}

fn expand(part: &Part<'_>, axis: usize, ranges: &Ranges) -> Result<Rewrite, Refusal> {
    let need = part.broadcast(0, axis, part.output_shape(0)?.len(), ranges)?;
    let inputs = vec![Argument::Input(0), Constant::integers(&extents(part, 1, axis, ranges)?)];
    Ok(steered(part, vec![Some(need), None], inputs, part.share(axis, ranges)?))
}

fn tile(part: &Part<'_>, axis: usize, ranges: &Ranges) -> Result<Rewrite, Refusal> {
    let (input, output) = (part.shape(0)?, part.output_shape(0)?);
    let extent = input.get(axis).copied().unwrap_or(1).max(1);
    let mut repeats: Vec<i64> =
        input.iter().zip(output).map(|(&own, &all)| (all / own.max(1)) as i64).collect();
    let (start, end) = ranges.hull();
    let copy = start / extent;
    let (need, count) = match ranges.grouped(extent) {
        Some(copies) => (Need::Whole, copies.count()),
        None => match ranges.within(copy * extent, (copy + 1) * extent) {
            Some(own) if end <= (copy + 1) * extent => (Need::along(axis, &own), 1),
            _ => return Err(part.cuts_through("a copy", extent)),
        },
    };
    if let Some(entry) = repeats.get_mut(axis) {
        *entry = count as i64;
    }
    let inputs = vec![Argument::Input(0), Constant::integers(&repeats)];
    Ok(steered(part, vec![Some(need), None], inputs, part.share(axis, ranges)?))
}

fn range(part: &Part<'_>, ranges: &Ranges) -> Result<Rewrite, Refusal> {
    let needs = vec![Some(Need::Whole); 3];
    let places: Vec<i64> = ranges.as_slice().iter().flat_map(|&(from, to)| from as i64..to as i64).collect();
    let whole = Argument::Local("whole");
    let operations = vec![
        Operation { outputs: vec![whole.clone()], ..Operation::same(part, &needs) },
        Operation::of("Gather", vec![whole, Constant::integers(&places)], Argument::Output(0))
            .with("axis", AttributeValue::Integer(0)),
    ];
    Ok(Rewrite { needs, operations, work: 1.0 })
}
