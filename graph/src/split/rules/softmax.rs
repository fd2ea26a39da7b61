//! `Softmax`, `LogSoftmax`, `Hardmax`: each element beside all those of its row, which lies along `axis`
//! (ONNX operators, Softmax). Before operator set 13 a row is everything from `axis` on, flattened.
//!
//! Places of an axis that lies across the rows are made of the same places of `x`. Along a row they
//! cannot be: each element is divided by the sum of its whole row.

use super::super::part::{Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Summand => {
            Err(part.refuse("it is not linear, so it needs the whole sum: let the parts end before it"))
        }
        Need::Along { axis, ranges } => {
            let rank = part.shape(0)?.len();
            let flattens = part.opset() < 13;
            let worked = part.axis(part.integer("axis", if flattens { 1 } else { -1 }), rank)?;
            if *axis == worked || (flattens && *axis > worked) {
                return Err(part.refuse(format!("axis {axis} is normalised: every place needs all of them")));
            }
            Ok(Rewrite::same(part, vec![Some(Need::along(*axis, ranges))], part.share(*axis, ranges)?))
        }
    }
}
