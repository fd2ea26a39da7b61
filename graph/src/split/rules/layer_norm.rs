//! Normalisation over the last axes: `LayerNormalization`, `RMSNormalization` (ONNX operators of those
//! names), `SimplifiedLayerNormalization`, and `SkipLayerNormalization` and
//! `SkipSimplifiedLayerNormalization`, which first add their second input to the first (ONNX Runtime,
//! contrib operators).
//!
//! All axes from `axis` on are normalised together, so places of those before it are made of the
//! same places of the input, and of all of scale and shift. So are the same places of the
//! mean, the deviation and the sum, which have the same axes.

use super::super::part::{Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    match part.agreed()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Summand => {
            Err(part.refuse("it is not linear, so it needs the whole sum: let the parts end before it"))
        }
        Need::Along { axis, ranges } => {
            let rank = part.shape(0)?.len();
            let worked = part.axis(part.integer("axis", -1), rank)?;
            if *axis >= worked {
                return Err(part.refuse(format!("axis {axis} is normalised: every place needs all of them")));
            }
            let mut needs = Vec::with_capacity(part.node.inputs.len());
            for place in 0..part.node.inputs.len() {
                needs.push(match part.input(place) {
                    Some(_) => Some(part.broadcast(place, *axis, rank, ranges)?),
                    None => None,
                });
            }
            Ok(Rewrite::same(part, needs, part.share(*axis, ranges)?))
        }
    }
}
