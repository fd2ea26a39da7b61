//! `Transpose`: axis `a` of `y` is axis `perm[a]` of `x`; without `perm` the axes are in reverse (ONNX
//! operators, Transpose). Places of an axis are those of the axis that it was; a summand of `y` is
//! made of one of `x`.

use super::super::part::{Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Summand => Ok(Rewrite::linear(part)),
        Need::Along { axis, ranges } => {
            let rank = part.shape(0)?.len();
            let own = match part.integer_list("perm") {
                Some(order) => {
                    let place = order.get(*axis).copied();
                    part.axis(place.ok_or_else(|| part.refuse("`perm` has the wrong length"))?, rank)?
                }
                None => (rank - 1)
                    .checked_sub(*axis)
                    .ok_or_else(|| part.refuse("it has fewer axes than are wanted"))?,
            };
            Ok(Rewrite::same(part, vec![Some(Need::along(own, ranges))], part.share(*axis, ranges)?))
        }
    }
}
