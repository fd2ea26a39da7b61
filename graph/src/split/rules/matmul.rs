//! `MatMul`: `y[…, i, j] = Σ_k a[…, i, k] · b[…, k, j]`, leading axes broadcast (ONNX operators, MatMul).
//!
//! - Rows `i` of `y` are made of rows `i` of `a` and all of `b`.
//! - Columns `j` are made of all of `a` and columns `j` of `b`: where `b` is a weight, a part holds
//!   those columns alone.
//! - Places of a leading axis are made of those places of each factor that has the axis.
//! - A summand is made of some places `k` of both factors; the summands of all parts add up to `y`.

use super::super::part::{Part, Rewrite};
use super::super::{Need, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let (left, right) = (part.shape(0)?, part.shape(1)?);
    if left.len() < 2 || right.len() < 2 {
        return Err(part.refuse("a factor is a vector"));
    }
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let rank = part.output_shape(0)?.len();
            let along = |axis: usize| Some(Need::along(axis, ranges));
            let needs = if axis + 1 == rank {
                vec![Some(Need::Whole), along(right.len() - 1)]
            } else if axis + 2 == rank {
                vec![along(left.len() - 2), Some(Need::Whole)]
            } else {
                let of = |place: usize| part.broadcast(place, *axis, rank, ranges).map(Some);
                vec![of(0)?, of(1)?]
            };
            Ok(Rewrite::same(part, needs, part.share(*axis, ranges)?))
        }
        Need::Summand => {
            let extent = left.last().copied().unwrap_or(1);
            let ranges = part.contraction(extent)?;
            let work = ranges.count() as f64 / extent.max(1) as f64;
            let needs = vec![
                Some(Need::Along { axis: left.len() - 1, ranges: ranges.clone() }),
                Some(Need::Along { axis: right.len() - 2, ranges }),
            ];
            Ok(Rewrite::same(part, needs, work))
        }
    }
}
