//! `Dropout`: at inference `y = x` (ONNX operators, Dropout). What is wanted of `y` is wanted of `x`; in
//! training, elements are dropped by chance, other ones in every part.

use super::super::part::{Argument, Operation, Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    if is_training(part) {
        return Err(part.refuse("it may be in training mode, where it drops elements by chance"));
    }
    let need = part.only()?;
    let work = match need {
        Need::Along { axis, ranges } => part.share(*axis, ranges)?,
        Need::Whole | Need::Summand => 1.0,
    };
    let mut needs = vec![None; part.node.inputs.len()];
    needs[0] = Some(need.clone());
    let operation = Operation::of("Identity", vec![Argument::Input(0)], Argument::Output(0));
    Ok(Rewrite { needs, operations: vec![operation], work })
}

/// Its third input says so (version 12 of the operator set), or `is_test` does not (before version 7).
fn is_training(part: &Part<'_>) -> bool {
    let is_stored_false = |place: usize| {
        let stored = part.input(place).and_then(|tensor| part.graph.initializer(tensor));
        let bytes = stored.and_then(|stored| part.graph.model().tensor_bytes(stored).ok());
        bytes.is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0))
    };
    let is_old = part.opset() < 7 && part.integer("is_test", 0) == 0;
    is_old || (part.input(2).is_some() && !is_stored_false(2))
}
