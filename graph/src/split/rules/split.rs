//! `Split`: each output has the places of one axis of `x` that follow those of the outputs before. How many
//! each has is an attribute before version 13 of the operator set, an input from then on, or the same for
//! each (ONNX operators, Split).
//!
//! - Where all outputs that are wanted are wanted at the same places of another axis, so is `x`.
//! - Where places of the axis itself are wanted, those of all outputs are, put side by side, what is
//!   wanted of `x`: the part splits them by how many each output has. Outputs that are not wanted are left
//!   out.
//! - Else `x` is wanted at what all of them need together, and each is cut out of that.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};
use tranche_schema::AttributeValue;

/// An output that is wanted.
struct Wanted<'a> {
    place: usize,
    need: &'a Need,
    /// Its places of `x`.
    start: u64,
    end: u64,
}

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let input = part.shape(0)?;
    let axis = part.axis(part.integer("axis", 0), input.len())?;
    let extent = input.get(axis).copied().unwrap_or(0);
    let bounds = bounds(part, extent)?;
    let wanted = part.wanted.iter().zip(bounds.windows(2)).enumerate();
    let wanted: Vec<Wanted<'_>> = wanted
        .filter_map(|(place, (need, bounds))| {
            Some(Wanted { place, need: need.as_ref()?, start: bounds[0], end: bounds[1] })
        })
        .collect();
    let is_same =
        wanted.len() == part.wanted.len() && wanted.windows(2).all(|pair| pair[0].need == pair[1].need);
    let first = wanted.first().map(|wanted| wanted.need);
    let mut needs: Vec<Option<Need>> =
        part.node.inputs.iter().map(|input| input.map(|_| Need::Whole)).collect();
    match first {
        Some(Need::Along { axis: other, ranges }) if is_same && *other != axis => {
            needs[0] = first.cloned();
            let extent = input.get(*other).copied().unwrap_or(1).max(1);
            return Ok(Rewrite::same(part, needs, ranges.count() as f64 / extent as f64));
        }
        Some(Need::Summand) if is_same => {
            needs[0] = first.cloned();
            return Ok(Rewrite::same(part, needs, 1.0));
        }
        _ => {}
    }
    let own: Option<Vec<Ranges>> = wanted.iter().map(|wanted| own_places(wanted, axis)).collect();
    match own {
        Some(own) => split(part, axis, &wanted, &own, extent),
        None => cut(part, axis, &wanted, input),
    }
}

/// Which places of the split axis of `x` an output is wanted at; none when it is wanted along another.
fn own_places(wanted: &Wanted<'_>, axis: usize) -> Option<Ranges> {
    match wanted.need {
        Need::Whole => Ranges::new(wanted.start, wanted.end),
        Need::Along { axis: same, ranges } if *same == axis => Some(ranges.shifted(wanted.start)),
        _ => None,
    }
}

/// The outputs out of their places, side by side.
fn split(
    part: &Part<'_>,
    axis: usize,
    wanted: &[Wanted<'_>],
    own: &[Ranges],
    extent: u64,
) -> Result<Rewrite, Refusal> {
    let all = Ranges::of(own.iter().flat_map(|ranges| ranges.as_slice().iter().copied()));
    let all = all.ok_or_else(|| part.refuse("nothing of it is wanted"))?;
    let work = all.count() as f64 / extent.max(1) as f64;
    let mut needs = vec![None; part.node.inputs.len()];
    needs[0] = Some(Need::Along { axis, ranges: all });
    let outputs: Vec<Argument> = wanted.iter().map(|wanted| Argument::Output(wanted.place)).collect();
    let counts: Vec<i64> = own.iter().map(|ranges| ranges.count() as i64).collect();
    let mut operation = Operation::same(part, &needs).without("num_outputs").without("split");
    if outputs.len() == 1 {
        operation = Operation::of("Identity", vec![Argument::Input(0)], Argument::Output(wanted[0].place));
    } else if part.opset() < 13 {
        operation = Operation { outputs, ..operation }.with("split", AttributeValue::Integers(counts));
    } else {
        operation =
            Operation { outputs, inputs: vec![Argument::Input(0), Constant::integers(&counts)], ..operation };
    }
    Ok(Rewrite { needs, operations: vec![operation], work })
}

/// Each output cut out of what all of them need together.
fn cut(part: &Part<'_>, axis: usize, wanted: &[Wanted<'_>], input: &[u64]) -> Result<Rewrite, Refusal> {
    let beside = || part.refuse("a summand of one output is wanted beside the values of another");
    let mut all: Option<Need> = None;
    for wanted in wanted {
        let need = match wanted.need {
            Need::Along { axis: same, ranges } if *same == axis => {
                Need::Along { axis, ranges: ranges.shifted(wanted.start) }
            }
            Need::Whole => Need::range(axis, wanted.start, wanted.end).unwrap_or(Need::Whole),
            other => other.clone(),
        };
        all = Some(match all {
            Some(all) => all.merged(need).ok_or_else(beside)?,
            None => need,
        });
    }
    let held = all.ok_or_else(|| part.refuse("nothing of it is wanted"))?;
    let extent = |axis: usize| input.get(axis).copied().unwrap_or(1);
    let places = |axis: usize| match &held {
        Need::Along { axis: same, ranges } if *same == axis => Some(ranges.clone()),
        _ => Ranges::new(0, extent(axis)),
    };
    // Where places of an axis of `x` lie in what is held.
    let find = |axis: usize, ranges: &Ranges| -> Result<(usize, u64, u64), Refusal> {
        let found = places(axis).and_then(|held| ranges.places_in(&held)?.single());
        let (start, end) = found.ok_or_else(|| part.refuse("places that are not adjacent are wanted"))?;
        Ok((axis, start, end))
    };
    let mut operations = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let whole = Ranges::new(wanted.start, wanted.end);
        let mut cuts = Vec::with_capacity(2);
        match wanted.need {
            Need::Along { axis: same, ranges } if *same == axis => {
                cuts.push(find(axis, &ranges.shifted(wanted.start))?);
            }
            other => {
                let whole = whole.ok_or_else(|| part.refuse("an output without elements is wanted"))?;
                cuts.push(find(axis, &whole)?);
                if let Need::Along { axis, ranges } = other {
                    cuts.push(find(*axis, ranges)?);
                }
            }
        }
        operations.push(Operation::crop(part, Argument::Input(0), Argument::Output(wanted.place), &cuts));
    }
    let work = match &held {
        Need::Along { axis, ranges } => ranges.count() as f64 / extent(*axis).max(1) as f64,
        _ => 1.0,
    };
    let mut needs = vec![None; part.node.inputs.len()];
    needs[0] = Some(held);
    Ok(Rewrite { needs, operations, work })
}

/// Bounds of the outputs along the split axis.
fn bounds(part: &Part<'_>, extent: u64) -> Result<Vec<u64>, Refusal> {
    let count = part.node.outputs.len().max(1);
    let said = match part.integer_list("split") {
        Some(sizes) if !sizes.is_empty() => Some(sizes.to_vec()),
        _ => part.input(1).map(|_| part.integers(1)).transpose()?,
    };
    let sizes: Vec<u64> = match said {
        Some(sizes) => sizes.iter().map(|&size| size.max(0) as u64).collect(),
        // The last is shorter where they are not even (version 18).
        None => {
            let each = extent.div_ceil(count as u64);
            (0..count as u64).map(|place| each.min(extent.saturating_sub(place * each))).collect()
        }
    };
    let mut bounds = vec![0];
    for size in &sizes {
        bounds.push(bounds.last().copied().unwrap_or(0) + size);
    }
    if sizes.len() != count || bounds.last() != Some(&extent) {
        return Err(part.refuse("its outputs do not make up the axis"));
    }
    Ok(bounds)
}
