//! `DepthToSpace`: blocks of `s × s` places are made of `s²` channels,
//! `y[n, c, s·h + i, s·w + j] = x[n, (s·i + j)·C + c, h, w]` with `C` channels of `y` (mode DCR), or
//! `x[n, s²·c + s·i + j, h, w]` (CRD). `SpaceToDepth` is its inverse in mode DCR:
//! `y[n, (s·i + j)·C + c, h, w] = x[n, c, s·h + i, s·w + j]` with `C` channels of `x` (ONNX operators of
//! these names).
//!
//! - Places `a..b` of a spatial axis of `DepthToSpace` are made of places `⌊a/s⌋..⌈b/s⌉`; what a block has
//!   beyond them is cut away. Of `SpaceToDepth`, they are made of places `s·a..s·b`.
//! - Channels of `DepthToSpace` are made of the `s²` channels of each. A channel of `SpaceToDepth` has every
//!   `s`-th place of `x` along two axes, so its channels are not divided.
//! - Places of the batch are made of the same places of `x`. A summand is made of a summand.

use super::super::part::{Argument, Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let block = part.integer("blocksize", 1).max(1) as u64;
    let (axis, ranges) = match part.only()? {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Summand => return Ok(Rewrite::same(part, vec![Some(Need::Summand)], 1.0)),
        Need::Along { axis, ranges } => (*axis, ranges),
    };
    let work = part.share(axis, ranges)?;
    let same = |ranges: Ranges| Ok(Rewrite::same(part, vec![Some(Need::Along { axis, ranges })], work));
    match (part.node.operator(), axis) {
        (_, 0) => same(ranges.clone()),
        ("SpaceToDepth", 1) => Err(part.refuse("each of its channels is made of places of the whole image")),
        ("SpaceToDepth", _) => same(ranges.spread(block)),
        (_, 1) if part.text("mode").as_deref() == Some("CRD") => same(ranges.spread(block * block)),
        (_, 1) => {
            let channels = part.output_shape(0)?.get(1).copied().unwrap_or(0);
            let each = (0..block * block).map(|place| ranges.shifted(place * channels));
            let places: Vec<(u64, u64)> = each.flat_map(|ranges| ranges.as_slice().to_vec()).collect();
            same(Ranges::of(places).unwrap_or_else(|| ranges.clone()))
        }
        _ => match ranges.grouped(block) {
            Some(blocks) => same(blocks),
            None => cut(part, axis, ranges, block, work),
        },
    }
}

/// Places whose ends lie within blocks.
fn cut(part: &Part<'_>, axis: usize, ranges: &Ranges, block: u64, work: f64) -> Result<Rewrite, Refusal> {
    let (start, end) = ranges.single().ok_or_else(|| part.cuts_through("a block", block))?;
    let (from, to) = (start / block, end.div_ceil(block));
    let needs = vec![Need::range(axis, from, to)];
    let blocks = Operation { outputs: vec![Argument::Local("blocks")], ..Operation::same(part, &needs) };
    let cut = (axis, start - from * block, end - from * block);
    let crop = Operation::crop(part, Argument::Local("blocks"), Argument::Output(0), &[cut]);
    Ok(Rewrite { needs, operations: vec![blocks, crop], work })
}
