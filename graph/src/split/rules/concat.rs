//! `Concat`: along one axis the places of each input follow those of the inputs before (ONNX operators,
//! Concat).
//!
//! - Places of another axis are made of the same places of every input.
//! - Of places of the axis itself, each input gives those that lie within its own; an input that has
//!   none of them is left out.

use super::super::part::{Argument, Operation, Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let (axis, ranges) = match part.only()? {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => (*axis, ranges),
        Need::Summand => return Err(part.refuse("parts do not share a sum of each of its inputs")),
    };
    let work = part.share(axis, ranges)?;
    let own = part.axis(part.integer("axis", 1), part.output_shape(0)?.len())?;
    if axis != own {
        let along = Need::Along { axis, ranges: ranges.clone() };
        return Ok(Rewrite::same(part, vec![Some(along); part.node.inputs.len()], work));
    }
    let mut needs = Vec::with_capacity(part.node.inputs.len());
    let mut start = 0;
    for place in 0..part.node.inputs.len() {
        let end = start + part.shape(place)?.get(axis).copied().unwrap_or(0);
        needs.push(ranges.within(start, end).map(|ranges| Need::Along { axis, ranges }));
        start = end;
    }
    let inputs: Vec<Argument> =
        (0..needs.len()).filter(|&place| needs[place].is_some()).map(Argument::Input).collect();
    let operation = if inputs.len() == 1 {
        Operation::of("Identity", inputs, Argument::Output(0))
    } else {
        Operation { inputs, ..Operation::same(part, &needs) }
    };
    Ok(Rewrite { needs, operations: vec![operation], work })
}
