//! `LSTM`, `GRU`, `RNN` (ONNX operators of those names): in each direction a step makes the hidden units of the
//! next from one element of the sequence and all hidden units of the step before.
//!
//! - Places of the batch are made of the same places of the sequences, their lengths and the initial
//!   states, and of all weights.
//! - A direction of a bidirectional layer is a layer of one direction, with that direction's weights and
//!   initial states. The axis of directions is split; the part that goes backwards goes forwards over the
//!   sequence turned round, for tract runs a layer in `reverse` as one that goes `forward`. Where sequences
//!   have lengths of their own it is set to go in `reverse`.
//! - Hidden units cannot be split: every unit of a step reads all units of the step before, so parts would
//!   have to pass them after every step. Nor can steps, each of which waits for the one before.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

/// What is wanted of every output.
#[derive(PartialEq)]
enum Share {
    Batch(Ranges),
    Direction(u64),
}

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    if part.integer("layout", 0) != 0 {
        return Err(part.refuse("its batch comes first, which ONNX Runtime does not run"));
    }
    let directions = part.shape(1)?.first().copied().unwrap_or(1);
    let mut agreed: Option<Share> = None;
    for (place, wanted) in part.wanted.iter().enumerate() {
        let Some(wanted) = wanted else { continue };
        let share = share(part, place, wanted)?;
        if agreed.as_ref().is_some_and(|known| *known != share) {
            return Err(part.refuse("different places of its outputs are wanted"));
        }
        agreed = Some(share);
    }
    let share = agreed.ok_or_else(|| part.refuse("nothing of it is wanted"))?;
    let needs = |of: &dyn Fn(usize) -> Need| -> Vec<Option<Need>> {
        part.node.inputs.iter().enumerate().map(|(place, input)| input.map(|_| of(place))).collect()
    };
    match share {
        Share::Batch(ranges) => {
            let count = part.shape(0)?.get(1).copied().unwrap_or(1);
            let needs = needs(&|place| match place {
                0 | 5 => Need::along(1, &ranges),
                6 if part.node.operator() == "LSTM" => Need::along(1, &ranges),
                4 => Need::along(0, &ranges),
                _ => Need::Whole,
            });
            Ok(Rewrite::same(part, needs, ranges.count() as f64 / count.max(1) as f64))
        }
        Share::Direction(direction) => {
            let own = |axis| Need::range(axis, direction, direction + 1).unwrap_or(Need::Whole);
            let needs = needs(&|place| match place {
                0 | 4 => Need::Whole,
                _ => own(0),
            });
            let operations = one_direction(part, &needs, direction)?;
            Ok(Rewrite { needs, operations, work: 1.0 / directions.max(1) as f64 })
        }
    }
}

/// What a share of an output is of all of them: `Y` has the axes step, direction, batch and unit, the last
/// states have no step.
fn share(part: &Part<'_>, place: usize, wanted: &Need) -> Result<Share, Refusal> {
    let (axis, ranges) = match wanted {
        Need::Along { axis, ranges } => (*axis, ranges),
        Need::Whole => return Err(part.refuse("places of one of its outputs and all of another are wanted")),
        Need::Summand => {
            return Err(
                part.refuse("it is not linear, so it needs the whole sum: let the parts end before it")
            );
        }
    };
    let names = if place == 0 { "sdbu" } else { "dbu" };
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
fn one_direction(part: &Part<'_>, needs: &[Option<Need>], direction: u64) -> Result<Vec<Operation>, Refusal> {
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
    let set = |name: &str| {
        let operation = Operation::same(part, needs).with("direction", AttributeValue::Text(name.to_owned()));
        operation.without("activations")
    };
    if direction == 0 {
        return Ok(vec![set("forward")]);
    }
    if part.input(4).is_some() || part.opset() < 10 {
        return Ok(vec![set("reverse")]);
    }
    let mut forward = set("forward");
    forward.inputs[0] = Argument::Local("turned");
    let mut operations = vec![turned(Argument::Input(0), Argument::Local("turned"))];
    if forward.outputs[0] == Argument::Output(0) {
        forward.outputs[0] = Argument::Local("backwards");
        operations.push(forward);
        operations.push(turned(Argument::Local("backwards"), Argument::Output(0)));
    } else {
        operations.push(forward);
    }
    Ok(operations)
}

/// The steps from the last to the first.
fn turned(from: Argument, to: Argument) -> Operation {
    let one = |value| Constant::integers(&[value]);
    // An end before the first place, however long the sequence.
    let inputs = vec![from, one(-1), one(i32::MIN.into()), one(0), one(-1)];
    Operation::of("Slice", inputs, to)
}
