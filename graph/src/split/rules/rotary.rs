//! `RotaryEmbedding`: each head of each step turned by angles of the step's position (ONNX operators,
//! RotaryEmbedding; ONNX Runtime, contrib operators, RotaryEmbedding).
//!
//! Elements lie as batch, step and heads side by side, or as batch, head, step and element of the head.
//! Places of the batch, of steps and of heads are made of the same places, with the positions, or
//! cosines and sines where there are no positions, of the same batch and steps. Elements of a head cannot be
//! parted: one half is turned with the other. To turn is linear: a summand is made of one of what is turned.

use super::super::part::{Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let (axis, ranges) = match part.only()? {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Summand => return Ok(Rewrite::linear(part)),
        Need::Along { axis, ranges } => (*axis, ranges),
    };
    if part.integer("is_packed_batching", 0) != 0 {
        return Err(part.refuse("sequences of its batch lie end to end"));
    }
    let shape = part.shape(0)?;
    let names = if shape.len() == 3 { "bsh" } else { "bhse" };
    let Some(&name) = names.as_bytes().get(axis) else { return Err(part.refuse("it has too many axes")) };
    // Where positions, cosines and sines are.
    let [positions, cosines, sines] = if part.node.domain().is_empty() { [3, 1, 2] } else { [1, 2, 3] };
    let mut needs: Vec<Option<Need>> =
        part.node.inputs.iter().map(|input| input.map(|_| Need::Whole)).collect();
    needs[0] = Some(Need::along(axis, ranges));
    let mut operation = Operation::same(part, &needs);
    match name {
        b'b' | b's' => {
            let own = usize::from(name == b's');
            let stepwise: &[usize] =
                if part.input(positions).is_some() { &[positions] } else { &[cosines, sines] };
            for &place in stepwise {
                needs[place] = Some(of_steps(part, place, own, ranges)?);
            }
        }
        b'h' => {
            let count = u64::try_from(part.integer("num_heads", 0)).unwrap_or(0);
            let heads = match shape {
                &[_, _, hidden] => {
                    let half = part.shape(cosines)?.last().copied().unwrap_or(1);
                    let each = hidden.checked_div(count).unwrap_or(2 * half);
                    ranges.grouped(each).ok_or_else(|| part.cuts_through("a head", each))?
                }
                _ => ranges.clone(),
            };
            if count > 0 {
                operation = operation.with("num_heads", AttributeValue::Integer(heads.count() as i64));
            }
        }
        _ => return Err(part.refuse("the halves of a head are turned together")),
    }
    let work = part.share(axis, ranges)?;
    Ok(Rewrite { needs, operations: vec![operation], work })
}

/// What positions, or cosines and sines, a share of the batch or of the steps needs.
fn of_steps(part: &Part<'_>, place: usize, axis: usize, ranges: &Ranges) -> Result<Need, Refusal> {
    match (part.shape(place)?, axis) {
        // Where the first step is.
        ([_], 0) => Ok(Need::Whole),
        ([_], _) => Err(part.refuse("its positions follow from that of its first step")),
        (shape, _) if shape.get(axis) == Some(&1) => Ok(Need::Whole),
        _ => Ok(Need::along(axis, ranges)),
    }
}
