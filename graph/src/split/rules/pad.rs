//! `Pad`: along each axis `y[o] = x[o − before]` where `x` has that place, else a constant, or a place of `x`
//! that `mode` says: the nearest (`edge`), or the one as far within from the border, itself not repeated
//! (`reflect`). Padding is an attribute before version 11 of the operator set and an input from then on; from
//! version 18 it may be of some axes only. Negative padding cuts places away (ONNX operators, Pad).
//!
//! - Axes that are not padded pass.
//! - With `A = a − before` and `B = b − before`, places `a..b` are made of places `A..B` of `x` where it has
//!   them, and are padded by as much as lies beyond; with `edge` and `reflect`, of the places that the
//!   padding repeats as well. Those of them that lie beyond `A..B` are cut away again.
//! - Repeating and padding with 0 are linear: a summand is made of a summand of `x`.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Refusal};
use tranche_schema::AttributeValue;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let mode = part.text("mode").unwrap_or_else(|| "constant".to_owned());
    let mut needs: Vec<Option<Need>> =
        part.node.inputs.iter().map(|input| input.map(|_| Need::Whole)).collect();
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Summand if mode != "constant" || pads_with_zero(part) => {
            needs[0] = Some(Need::Summand);
            Ok(Rewrite::same(part, needs, 1.0))
        }
        Need::Summand => Err(part.refuse("what it pads with is no 0 and would be added by every part")),
        Need::Along { axis, ranges } => {
            let work = part.share(*axis, ranges)?;
            let padding = Padding::of(part)?;
            let Some((before, after)) = padding.along(*axis) else {
                needs[0] = Some(Need::Along { axis: *axis, ranges: ranges.clone() });
                return Ok(Rewrite::same(part, needs, work));
            };
            let (start, end) =
                ranges.single().ok_or_else(|| part.refuse("places that are not adjacent are wanted"))?;
            let extent = part.shape(0)?.get(*axis).copied().unwrap_or(0) as i64;
            if (before < 0 || after < 0) && mode != "constant" {
                return Err(part.refuse("it both repeats places and cuts some away"));
            }
            let tile = match mode.as_str() {
                "constant" => constant,
                "edge" => edge,
                "reflect" => reflect,
                _ => return Err(part.refuse(format!("its mode `{mode}` brings places from the other end"))),
            };
            let tile = tile(start as i64 - before, end as i64 - before, extent);
            let need = (tile.from < tile.to).then(|| Need::range(*axis, tile.from as u64, tile.to as u64));
            let need = need.flatten().ok_or_else(|| part.refuse("a part would be made of padding alone"))?;
            needs[0] = Some(need);
            let mut operation = padding.written(part, &mut needs, *axis, tile.before, tile.after);
            let made = tile.before + tile.to - tile.from + tile.after;
            let wanted = (end - start) as i64;
            if made == wanted {
                return Ok(Rewrite { needs, operations: vec![operation], work });
            }
            operation.outputs = vec![Argument::Local("padded")];
            let cut = (*axis, tile.skipped as u64, (tile.skipped + wanted) as u64);
            let crop = Operation::crop(part, Argument::Local("padded"), Argument::Output(0), &[cut]);
            Ok(Rewrite { needs, operations: vec![operation, crop], work })
        }
    }
}

/// Places `from..to` of the input, padded by `before` and `after`, of which `skipped` are not wanted.
struct Tile {
    from: i64,
    to: i64,
    before: i64,
    after: i64,
    skipped: i64,
}

/// Places `start..end`, counted from the first of the input.
fn constant(start: i64, end: i64, extent: i64) -> Tile {
    let (from, to) = (start.max(0), end.min(extent));
    Tile { from, to, before: from - start, after: end - to, skipped: 0 }
}

fn edge(start: i64, end: i64, extent: i64) -> Tile {
    let (from, to) = (start.clamp(0, extent - 1), end.clamp(1, extent));
    let before = (from - start).clamp(0, end - start - (to - from));
    Tile { from, to, before, after: end - start - (to - from) - before, skipped: 0 }
}

fn reflect(start: i64, end: i64, extent: i64) -> Tile {
    let (before, after) = ((-start).max(0), (end - extent).max(0));
    let (mut from, mut to) = (start.max(0), end.min(extent));
    // What the padding repeats is there as well: as many places as it has, and the one they mirror at.
    if before > 0 {
        to = to.max((before + 1).min(extent));
    }
    if after > 0 {
        from = from.min((extent - 1 - after).max(0));
    }
    Tile { from, to, before, after, skipped: start - (from - before) }
}

/// Padding as the node says it.
struct Padding {
    /// Padded axes, and how much before and after.
    axes: Vec<(usize, i64, i64)>,
    is_input: bool,
}

impl Padding {
    fn of(part: &Part<'_>) -> Result<Self, Refusal> {
        let rank = part.shape(0)?.len();
        let is_input = part.opset() >= 11;
        let pads = if is_input {
            part.integers(1)?
        } else {
            let pads = part.integer_list("pads");
            pads.ok_or_else(|| part.refuse("it lacks `pads`"))?.to_vec()
        };
        let axes = match part.input(3) {
            Some(_) => {
                part.integers(3)?.iter().map(|&axis| part.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?
            }
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(part.refuse("its padding and its axes differ in number"));
        }
        let (before, after) = pads.split_at(axes.len());
        let axes = axes.iter().zip(before).zip(after);
        Ok(Self { axes: axes.map(|((&axis, &before), &after)| (axis, before, after)).collect(), is_input })
    }

    /// How much an axis is padded; none where it is not.
    fn along(&self, axis: usize) -> Option<(i64, i64)> {
        let found = self.axes.iter().find(|padded| padded.0 == axis);
        found.map(|padded| (padded.1, padded.2)).filter(|&pads| pads != (0, 0))
    }

    /// The node with another padding of one axis.
    fn written(
        &self,
        part: &Part<'_>,
        needs: &mut [Option<Need>],
        axis: usize,
        before: i64,
        after: i64,
    ) -> Operation {
        let of = |padded: &(usize, i64, i64)| match padded.0 == axis {
            true => (before, after),
            false => (padded.1, padded.2),
        };
        let pads: Vec<i64> = self
            .axes
            .iter()
            .map(|padded| of(padded).0)
            .chain(self.axes.iter().map(|padded| of(padded).1))
            .collect();
        if !self.is_input {
            return Operation::same(part, needs).with("pads", AttributeValue::Integers(pads));
        }
        needs[1] = None;
        let mut operation = Operation::same(part, needs);
        if operation.inputs.len() < 2 {
            operation.inputs.push(Argument::Absent);
        }
        operation.inputs[1] = Constant::integers(&pads);
        operation
    }
}

fn pads_with_zero(part: &Part<'_>) -> bool {
    if part.opset() < 11 {
        return part.node.attribute("value").is_none_or(|value| value.f() == 0.0);
    }
    part.input(2).is_none() || part.reals(2).is_ok_and(|value| value.iter().all(|&value| value == 0.0))
}
