//! `Conv`: `y[n, m, p] = b[m] + Σ_c Σ_q w[m, c, q] · x[n, g·C + c, s·p + d·q − pad]` in one to three
//! dimensions, with stride `s`, dilation `d`, padding `pad` before, and `C` input channels in group
//! `g = m / (M / groups)` (ONNX operators, Conv).
//!
//! - Places `a..b` of a spatial axis are made of places `s·a − pad .. s·(b − 1) − pad + d·(k − 1) + 1` of
//!   `x` where it has them; where it has not, the part is padded, as the whole is.
//! - Output channels are made of the same channels of `w` and `b`, and of all of `x`, or of the channels
//!   of their groups.
//! - A summand is made of some input channels of `x` and `w`; the first part adds `b`.
//! - Places of the batch are made of the same places of `x`.

use super::super::part::{Operation, Part, Rewrite};
use super::super::{Need, Refusal};
use super::window::Window;
use tranche_schema::AttributeValue;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let (input, weights) = (part.shape(0)?, part.shape(1)?);
    let output = part.output_shape(0)?;
    let groups = part.integer("group", 1).max(1) as u64;
    let has_bias = part.input(2).is_some();
    let needs = |input: Need, weights: Need, bias: Option<Need>| {
        let mut needs = vec![Some(input), Some(weights)];
        if has_bias {
            needs.push(bias);
        }
        needs
    };
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let work = part.share(*axis, ranges)?;
            let along = Need::along;
            match axis {
                0 => {
                    let needs = needs(along(0, ranges), Need::Whole, Some(Need::Whole));
                    Ok(Rewrite::same(part, needs, work))
                }
                1 if groups == 1 => {
                    let needs = needs(Need::Whole, along(0, ranges), Some(along(0, ranges)));
                    Ok(Rewrite::same(part, needs, work))
                }
                1 => {
                    let each = output.get(1).copied().unwrap_or(0) / groups;
                    let of = ranges.grouped(each).ok_or_else(|| part.cuts_through("a group", each))?;
                    let input = along(1, &of.spread(weights.get(1).copied().unwrap_or(1)));
                    let needs = needs(input, along(0, ranges), Some(along(0, ranges)));
                    let count = AttributeValue::Integer(of.count() as i64);
                    let operations = vec![Operation::same(part, &needs).with("group", count)];
                    Ok(Rewrite { needs, operations, work })
                }
                _ => {
                    let window = Window::of(part, weights.get(2..).unwrap_or_default())?;
                    let (need, operation) = window.tile(part, *axis, ranges)?;
                    let needs = needs(need, Need::Whole, Some(Need::Whole));
                    let operations =
                        vec![Operation { inputs: Operation::same(part, &needs).inputs, ..operation }];
                    Ok(Rewrite { needs, operations, work })
                }
            }
        }
        Need::Summand => {
            if groups > 1 {
                return Err(
                    part.refuse("its channels are in groups, which have no channel in common to sum over")
                );
            }
            let extent = input.get(1).copied().unwrap_or(1);
            let ranges = part.contraction(extent)?;
            let work = ranges.count() as f64 / extent.max(1) as f64;
            let along = Need::Along { axis: 1, ranges };
            let bias = (part.index() == 0).then_some(Need::Whole);
            Ok(Rewrite::same(part, needs(along.clone(), along, bias), work))
        }
    }
}
