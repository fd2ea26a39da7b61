//! Normalisations with statistics of, or stored for, channels.
//!
//! - `BatchNormalization` at inference: `y[n, c, p] = scale[c] · (x[n, c, p] − mean[c]) / √(var[c] + ε) + b[c]`.
//!   Channels of `y` are made of those of `x` and of all four vectors; other places of the same of `x`.
//! - `InstanceNormalization`: the same with mean and variance over all places `p` of one channel of
//!   one sample: channels and batch are divided, space is not.
//! - `GroupNormalization`: mean and variance over all places of one group of channels of one sample: batch and
//!   groups are divided. `scale` and `bias` have one element for each group in version 18 of the operator
//!   set, for each channel from version 21 on; their shape tells.
//! - `LRN`: `y[n, c, p] = x[n, c, p] / (bias + α/size · Σ x[n, c′, p]²)^β` over channels `c′` near `c`: places
//!   of batch and space are divided, channels are not.
//!
//! (ONNX operators of these names.)

use super::super::part::{Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let operator = part.node.operator();
    if operator == "BatchNormalization" {
        is_inference(part)?;
    }
    let (axis, ranges) = match part.only()? {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => (*axis, ranges),
        Need::Summand => return Err(part.refuse("it is not linear, so it needs the whole sum")),
    };
    let work = part.share(axis, ranges)?;
    let along = |axis: usize| Need::Along { axis, ranges: ranges.clone() };
    let needs = |others: Need| -> Vec<Option<Need>> {
        let mut needs = vec![Some(others); part.node.inputs.len()];
        if let Some(first) = needs.first_mut() {
            *first = Some(along(axis));
        }
        needs
    };
    match (operator, axis) {
        (_, 0) | ("BatchNormalization" | "LRN", 2..) => Ok(Rewrite::same(part, needs(Need::Whole), work)),
        ("BatchNormalization" | "InstanceNormalization", 1) => Ok(Rewrite::same(part, needs(along(0)), work)),
        ("GroupNormalization", 1) => groups(part, ranges, work),
        ("LRN", _) => Err(part.refuse("a channel is divided by a sum over those beside it")),
        _ => Err(part.refuse("its mean and variance are over all places of space")),
    }
}

/// Channels in groups that stay together.
fn groups(part: &Part<'_>, ranges: &Ranges, work: f64) -> Result<Rewrite, Refusal> {
    let channels = part.shape(0)?.get(1).copied().unwrap_or(0);
    let count = part.integer("num_groups", 1).max(1) as u64;
    let each = channels / count;
    let groups = ranges.grouped(each).ok_or_else(|| part.cuts_through("a group", each))?;
    let vector = |place: usize| -> Result<Need, Refusal> {
        let is_by_group = part.shape(place)?.first() == Some(&count) && count != channels;
        Ok(Need::Along { axis: 0, ranges: if is_by_group { groups.clone() } else { ranges.clone() } })
    };
    let needs =
        vec![Some(Need::Along { axis: 1, ranges: ranges.clone() }), Some(vector(1)?), Some(vector(2)?)];
    let held = AttributeValue::Integer(groups.count() as i64);
    let operations = vec![Operation::same(part, &needs).with("num_groups", held)];
    Ok(Rewrite { needs, operations, work })
}

fn is_inference(part: &Part<'_>) -> Result<(), Refusal> {
    let opset = part.opset();
    if part.integer("training_mode", 0) != 0 || (opset < 7 && part.integer("is_test", 0) == 0) {
        return Err(part.refuse("it is in training mode, where statistics are over the whole batch"));
    }
    if opset < 9 && part.integer("spatial", 1) == 0 {
        return Err(part.refuse("it has statistics for each place, not for each channel"));
    }
    Ok(())
}
