//! `LSTM`, `GRU`, `RNN` (ONNX operators of those names): in each direction a step makes the hidden units of the
//! next from one element of the sequence and all hidden units of the step before.
//!
//! - Places of the batch are made of the same places of the sequences, their lengths and the initial
//!   states, and of all weights.
//! - A direction of a bidirectional layer is a layer of one direction, with that direction's weights and
//!   initial states: the axis of directions is split, and a part is set to run `forward` or in `reverse`.
//! - Hidden units cannot be split: every unit of a step reads all units of the step before, so parts would
//!   have to pass them after every step. Nor can steps, each of which waits for the one before.

use super::super::part::{Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

/// What is wanted of every output.
#[derive(PartialEq)]
enum Share {
    Batch(Ranges),
    Direction(u64),
}

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let batch_first = part.integer("layout", 0) != 0;
    let directions = part.shape(1)?.first().copied().unwrap_or(1);
    let mut agreed: Option<Share> = None;
    for (place, wanted) in part.wanted.iter().enumerate() {
        let Some(wanted) = wanted else { continue };
        let share = share(part, place, wanted, batch_first)?;
        if agreed.as_ref().is_some_and(|known| *known != share) {
            return Err(part.refuse("different places of its outputs are wanted"));
        }
        agreed = Some(share);
    }
    let share = agreed.ok_or_else(|| part.refuse("nothing of it is wanted"))?;
    let state = usize::from(!batch_first);
    let needs = |of: &dyn Fn(usize) -> Need| -> Vec<Option<Need>> {
        part.node.inputs.iter().enumerate().map(|(place, input)| input.map(|_| of(place))).collect()
    };
    match share {
        Share::Batch(ranges) => {
            let count = part.shape(0)?.get(state).copied().unwrap_or(1);
            let needs = needs(&|place| match place {
                0 | 5 => Need::along(state, &ranges),
                6 if part.node.operator() == "LSTM" => Need::along(state, &ranges),
                4 => Need::along(0, &ranges),
                _ => Need::Whole,
            });
            Ok(Rewrite::same(part, needs, ranges.count() as f64 / count.max(1) as f64))
        }
        Share::Direction(direction) => {
            let own = |axis| Need::range(axis, direction, direction + 1).unwrap_or(Need::Whole);
            let needs = needs(&|place| match place {
                0 | 4 => Need::Whole,
                5 => own(1 - state),
                6 if part.node.operator() == "LSTM" => own(1 - state),
                _ => own(0),
            });
            let operation = one_direction(part, &needs, direction)?;
            Ok(Rewrite { needs, operations: vec![operation], work: 1.0 / directions.max(1) as f64 })
        }
    }
}

/// What a share of an output is of all of them: `Y` has the axes step, direction, batch and unit, or batch,
/// step, direction and unit; the last states have no step.
fn share(part: &Part<'_>, place: usize, wanted: &Need, batch_first: bool) -> Result<Share, Refusal> {
    let (axis, ranges) = match wanted {
        Need::Along { axis, ranges } => (*axis, ranges),
        Need::Whole => return Err(part.refuse("places of one of its outputs and all of another are wanted")),
        Need::Summand => {
            return Err(
                part.refuse("it is not linear, so it needs the whole sum: let the parts end before it")
            );
        }
    };
    let names = match (place, batch_first) {
        (0, false) => "sdbu",
        (0, true) => "bsdu",
        (_, false) => "dbu",
        (_, true) => "bdu",
    };
    match names.as_bytes().get(axis) {
        Some(b'b') => Ok(Share::Batch(ranges.clone())),
        Some(b'd') => match ranges.single() {
            Some((start, end)) if end == start + 1 => Ok(Share::Direction(start)),
            _ => Err(part.refuse("a part makes one direction")),
        },
        Some(b's') => Err(part.refuse("each step waits for the one before")),
        _ => Err(part.refuse("every hidden unit of a step reads all those of the step before")),
    }
}

/// The layer of one direction of a bidirectional one.
fn one_direction(part: &Part<'_>, needs: &[Option<Need>], direction: u64) -> Result<Operation, Refusal> {
    let has = |name| part.node.attribute(name).is_some();
    if has("activation_alpha") || has("activation_beta") {
        return Err(part.refuse("its activations have parameters, which a part of it cannot be given"));
    }
    let usual: &[&str] = match part.node.operator() {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        _ => &["Tanh"],
    };
    if let Some(activations) = part.node.attribute("activations") {
        let mut expected = usual.iter().cycle();
        let is_usual =
            |name: &[u8]| expected.next().is_some_and(|usual| usual.as_bytes().eq_ignore_ascii_case(name));
        if !activations.strings.iter().map(AsRef::as_ref).all(is_usual) {
            return Err(part.refuse("its activations are not the usual ones, which a part of it would have"));
        }
    }
    let name = if direction == 0 { "forward" } else { "reverse" };
    let operation = Operation::same(part, needs).with("direction", AttributeValue::Text(name.to_owned()));
    Ok(operation.without("activations"))
}
