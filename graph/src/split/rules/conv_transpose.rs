//! `ConvTranspose`: every place `i` of `x` adds to places `s·i + d·q − pad` of `y`, for `q` in `0..k`:
//! `y[n, m, o] = b[m] + Σ_c Σ_{i, q: s·i + d·q − pad = o} w[c, m, q] · x[n, c, i]`, channels in groups as those
//! of `Conv`, weights as input channels × output channels of a group × window (ONNX operators,
//! ConvTranspose).
//!
//! - Places `a..b` of a spatial axis are made of the `i` with `a + pad ≤ s·i + d·q < b + pad` for some `q`:
//!   `⌈(a + pad − d·(k − 1)) / s⌉ ..= ⌊(b − 1 + pad) / s⌋` where `x` has them. What these add to places
//!   before `a` and from `b` on is padding of the part, that is, cut away.
//! - Output channels are made of axis 1 of `w` and of `b`, and of all of `x`; with groups, of whole groups of
//!   both.
//! - A summand is made of some input channels of `x` and `w`; the first part adds `b`.
//! - Places of the batch are made of the same places of `x`.

use super::super::part::{Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let (input, weights) = (part.shape(0)?, part.shape(1)?);
    let groups = part.integer("group", 1).max(1) as u64;
    let has_bias = part.input(2).is_some();
    let needs = |input: Need, weights: Need, bias: Option<Need>| {
        let mut needs = vec![Some(input), Some(weights)];
        if has_bias {
            needs.push(bias);
        }
        needs
    };
    let along = |axis: usize, ranges: &Ranges| Need::Along { axis, ranges: ranges.clone() };
    let channels = input.get(1).copied().unwrap_or(0);
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let work = part.share(*axis, ranges)?;
            match axis {
                0 => {
                    let needs = needs(along(0, ranges), Need::Whole, Some(Need::Whole));
                    Ok(Rewrite::same(part, needs, work))
                }
                1 if groups == 1 => {
                    let needs = needs(Need::Whole, along(1, ranges), Some(along(0, ranges)));
                    Ok(Rewrite::same(part, needs, work))
                }
                1 => {
                    let each = weights.get(1).copied().unwrap_or(1);
                    let of = ranges.grouped(each).ok_or_else(|| part.cuts_through("a group", each))?;
                    let held = of.spread(channels / groups);
                    let needs = needs(along(1, &held), along(0, &held), Some(along(0, ranges)));
                    let count = AttributeValue::Integer(of.count() as i64);
                    let operations = vec![Operation::same(part, &needs).with("group", count)];
                    Ok(Rewrite { needs, operations, work })
                }
                _ => {
                    let (need, pads, more) = tile(part, *axis, ranges)?;
                    let needs = needs(need, Need::Whole, Some(Need::Whole));
                    let operation = Operation::same(part, &needs)
                        .with("pads", AttributeValue::Integers(pads))
                        .with("output_padding", AttributeValue::Integers(more))
                        .without("auto_pad")
                        .without("output_shape");
                    Ok(Rewrite { needs, operations: vec![operation], work })
                }
            }
        }
        Need::Summand if groups > 1 => {
            Err(part.refuse("its channels are in groups, which have no channel in common to sum over"))
        }
        Need::Summand => {
            let ranges = part.contraction(channels)?;
            let work = ranges.count() as f64 / channels.max(1) as f64;
            let bias = (part.index() == 0).then_some(Need::Whole);
            Ok(Rewrite::same(part, needs(along(1, &ranges), along(0, &ranges), bias), work))
        }
    }
}

/// A spatial axis.
#[derive(Clone, Copy)]
struct Axis {
    input: i64,
    stride: i64,
    /// Places that one place of the input adds to, and those between.
    span: i64,
    /// Cut away before and after.
    before: i64,
    after: i64,
    /// Places at the end that nothing is added to.
    more: i64,
}

/// What these places need of the input, and the pads and output paddings that make just them.
fn tile(part: &Part<'_>, axis: usize, ranges: &Ranges) -> Result<(Need, Vec<i64>, Vec<i64>), Refusal> {
    let (start, end) =
        ranges.single().ok_or_else(|| part.refuse("places that are not adjacent are wanted"))?;
    let mut axes = axes(part)?;
    let wrong = || part.refuse(format!("it has no window along axis {axis}"));
    let own = axes.get_mut(axis - 2).ok_or_else(wrong)?;
    // Counted as if nothing were cut away.
    let (start, end) = (start as i64 + own.before, end as i64 + own.before);
    let mut from = ceiling(start - own.span + 1, own.stride).max(0);
    let mut to = ((end - 1).div_euclid(own.stride) + 1).min(own.input);
    // Where windows leave gaps, a place more, of which nothing is wanted, tells where the wanted ones are.
    if from * own.stride > start {
        from -= 1;
    }
    let makes = |to: i64| (to - 1) * own.stride + own.span;
    if makes(to) < end && to < own.input {
        to += 1;
    }
    let need = (from < to).then(|| Need::range(axis, from as u64, to as u64)).flatten();
    let need = need.ok_or_else(|| part.refuse("a part would be made of no place of its input"))?;
    own.before = start - from * own.stride;
    (own.after, own.more) = ((makes(to) - end).max(0), (end - makes(to)).max(0));
    let pads = axes.iter().map(|axis| axis.before).chain(axes.iter().map(|axis| axis.after));
    Ok((need, pads.collect(), axes.iter().map(|axis| axis.more).collect()))
}

fn ceiling(value: i64, by: i64) -> i64 {
    -(-value).div_euclid(by)
}

/// The spatial axes with paddings explicit.
fn axes(part: &Part<'_>) -> Result<Vec<Axis>, Refusal> {
    let input = part.shape(0)?.get(2..).unwrap_or_default();
    let kernel = part.shape(1)?.get(2..).unwrap_or_default();
    let output = part.output_shape(0)?.get(2..).unwrap_or_default();
    let count = input.len();
    if kernel.len() != count || output.len() != count {
        return Err(part.refuse("its window and its input have different axes"));
    }
    let list = |name: &str, default: i64, count: usize| match part.integer_list(name) {
        None | Some([]) => Ok(vec![default; count]),
        Some(values) if values.len() == count && values.iter().all(|&value| value >= 0) => {
            Ok(values.to_vec())
        }
        Some(_) => Err(part.refuse(format!("`{name}` has the wrong length, or is negative"))),
    };
    let (strides, dilations) = (list("strides", 1, count)?, list("dilations", 1, count)?);
    let (more, pads) = (list("output_padding", 0, count)?, list("pads", 0, 2 * count)?);
    if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
        return Err(part.refuse("a stride, a dilation or the kernel is 0"));
    }
    let automatic = part.text("auto_pad").unwrap_or_default();
    let is_asked_for = part.integer_list("output_shape").is_some_and(|shape| !shape.is_empty());
    let axis = |place: usize| {
        let span = dilations[place] * (kernel[place] as i64 - 1) + 1;
        let axis = Axis {
            input: input[place] as i64,
            stride: strides[place],
            span,
            before: pads[place],
            after: pads[count + place],
            more: more[place],
        };
        // What is made before anything is cut away, less what there is.
        let total = (axis.input - 1) * axis.stride + span + axis.more - output[place] as i64;
        match automatic.as_str() {
            "" | "NOTSET" if !is_asked_for => Ok(axis),
            "VALID" if !is_asked_for => Ok(Axis { before: 0, after: 0, ..axis }),
            _ if total >= 0 && total % 2 == 0 => Ok(Axis { before: total / 2, after: total / 2, ..axis }),
            _ => Err(part
                .refuse("its padding follows from its extent and is uneven, which engines read differently")),
        }
    };
    (0..count).map(axis).collect()
}
