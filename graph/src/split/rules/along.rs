//! Operators that work along one axis, each row by itself (ONNX operators of these names).
//!
//! `CumSum` sums up, `TopK` sorts, `ArgMax` and `ArgMin` look for an extreme along `axis`, and `OneHot` spreads
//! each index over a new one. Places of any other axis are made of the same places of the input; places
//! along the axis worked cannot be made of less than all of it. `CumSum` is linear: a summand is made of
//! one of its input.

use super::super::part::{Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let operator = part.node.operator();
    let (axis, ranges) = match part.agreed()? {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Summand if operator == "CumSum" => return Ok(Rewrite::linear(part)),
        Need::Summand => {
            return Err(
                part.refuse("it is not linear, so it needs the whole sum: let the parts end before it")
            );
        }
        Need::Along { axis, ranges } => (*axis, ranges),
    };
    let rank = part.shape(0)?.len();
    // The axis of the input that an axis of the output is; the one worked is no other.
    let (worked, own) = match operator {
        "CumSum" => {
            let worked = part.integers(1)?.first().copied().unwrap_or(0);
            (part.axis(worked, rank)?, axis)
        }
        "TopK" => (part.axis(part.integer("axis", -1), rank)?, axis),
        "OneHot" => {
            let worked = part.axis(part.integer("axis", -1), rank + 1)?;
            (worked, axis - usize::from(axis > worked))
        }
        _ => {
            let worked = part.axis(part.integer("axis", 0), rank)?;
            let removed = part.integer("keepdims", 1) == 0 && axis >= worked;
            (worked, axis + usize::from(removed))
        }
    };
    let is_worked = if operator == "OneHot" { axis == worked } else { own == worked };
    if is_worked {
        return Err(part.refuse(format!("it works along axis {axis}: every place needs all of them")));
    }
    let steering = part.node.inputs.iter().skip(1).map(|input| input.map(|_| Need::Whole));
    let needs = [Some(Need::along(own, ranges))].into_iter().chain(steering).collect();
    Ok(Rewrite::same(part, needs, part.share(axis, ranges)?))
}
