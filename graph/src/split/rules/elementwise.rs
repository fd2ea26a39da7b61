//! Operators that make each element of the element at the same place of each input.
//!
//! With inputs broadcast to the output's rank `r`, `y[i] = f(a[i], b[i], …)`, where an input's axis of
//! extent 1 stands for every place (ONNX, "Broadcasting"). Places of axis `x` of `y` are therefore made
//! of places of axis `x − (r − rank)` of each input that has it with more than one place, and of all of
//! the others.
//!
//! A summand of `a + b` is a summand of `a` plus one of `b`: a term that the parts can share is wanted
//! as a summand, and one that they cannot is added by the first part alone.

use super::super::part::{Argument, Operation, Part, Rewrite};
use super::super::{Need, Refusal};

const OPERATORS: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Where",
    "Xor",
];

pub(super) fn is_elementwise(operator: &str) -> bool {
    OPERATORS.contains(&operator)
}

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let rank = part.output_shape(0)?.len();
            let mut needs = Vec::with_capacity(part.node.inputs.len());
            for place in 0..part.node.inputs.len() {
                if part.input(place).is_none() {
                    needs.push(None);
                    continue;
                }
                needs.push(Some(part.broadcast(place, *axis, rank, ranges)?));
            }
            Ok(Rewrite::same(part, needs, part.share(*axis, ranges)?))
        }
        Need::Summand => summand(part),
    }
}

fn summand(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let operator = part.node.operator();
    if matches!(operator, "Identity" | "Neg") {
        return Ok(Rewrite::same(part, vec![Some(Need::Summand)], 1.0));
    }
    // A sum may be scaled by what is the same in every part.
    if matches!(operator, "Mul" | "Div") {
        let scaled = if part.can_sum(0) { 0 } else { 1 };
        if !part.can_sum(scaled) || (operator == "Div" && scaled == 1) {
            return Err(
                part.refuse("a summand of a product is wanted, and neither factor is a sum that parts share")
            );
        }
        let needs =
            (0..2).map(|place| Some(if place == scaled { Need::Summand } else { Need::Whole })).collect();
        return Ok(Rewrite::same(part, needs, 1.0));
    }
    if !matches!(operator, "Add" | "Sum") {
        return Err(part.refuse("it is not linear, so it needs the whole sum: let the parts end before it"));
    }
    let shared: Vec<bool> = (0..part.node.inputs.len()).map(|place| part.can_sum(place)).collect();
    if !shared.contains(&true) {
        return Err(part.refuse("no term of it is a sum that parts share"));
    }
    let output = part.output_shape(0)?;
    if (0..shared.len()).any(|place| shared[place] && part.shape(place).is_ok_and(|shape| shape != output)) {
        return Err(part.refuse("a term that parts share is broadcast"));
    }
    let needs: Vec<Option<Need>> = shared
        .iter()
        .map(|&shared| match (shared, part.index()) {
            (true, _) => Some(Need::Summand),
            (false, 0) => Some(Need::Whole),
            (false, _) => None,
        })
        .collect();
    let inputs: Vec<Argument> = needs
        .iter()
        .enumerate()
        .filter(|(_, need)| need.is_some())
        .map(|(place, _)| Argument::Input(place))
        .collect();
    let operations = if inputs.len() == 1 {
        vec![Operation::of("Identity", inputs, Argument::Output(0))]
    } else {
        vec![Operation { inputs, ..Operation::same(part, &needs) }]
    };
    Ok(Rewrite { needs, operations, work: 1.0 })
}
