//! `MaxPool`, `AveragePool`, `LpPool`: `y[n, c, p] = f(x[n, c, s·p + d·q − pad] for q in 0..k)`, where `f`
//! is the largest, the mean, or the p-norm of the window; padding is no element of the largest, and
//! counts in the mean when `count_include_pad` says so (ONNX operators, MaxPool, AveragePool, LpPool).
//!
//! - Places `a..b` of a spatial axis are made of their windows in `x` ([`super::window`]). A part is
//!   padded where the whole is, and its last window hangs over where that of the whole does: every
//!   window has the same elements as in the whole, so means have the same divisor.
//! - Channels and places of the batch are made of the same ones of `x`.
//! - A mean is linear: a summand of it is made of a summand of `x`.

use super::super::part::{Part, Rewrite};
use super::super::{Need, Refusal};
use super::window::Window;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let work = part.share(*axis, ranges)?;
            if *axis < 2 {
                let along = Need::Along { axis: *axis, ranges: ranges.clone() };
                return Ok(Rewrite::same(part, vec![Some(along)], work));
            }
            let kernel: Option<Vec<u64>> = part
                .integer_list("kernel_shape")
                .and_then(|kernel| kernel.iter().map(|&extent| u64::try_from(extent).ok()).collect());
            let kernel = kernel.ok_or_else(|| part.refuse("it lacks a `kernel_shape`, or it is negative"))?;
            let (need, operation) = Window::of(part, &kernel)?.tile(part, *axis, ranges)?;
            Ok(Rewrite { needs: vec![Some(need)], operations: vec![operation], work })
        }
        Need::Summand if part.node.operator() == "AveragePool" => {
            Ok(Rewrite::same(part, vec![Some(Need::Summand)], 1.0))
        }
        Need::Summand => Err(part.refuse("it is not linear, so it needs the whole sum")),
    }
}
