//! Updates put, or added, where indices say (ONNX operators of these names).
//!
//! - `ScatterElements` (`Scatter` of old): `y = x`, then `y[a…, n[a…, i, c…], c…] ⊕= u[a…, i, c…]`.
//! - `ScatterND`: `y = x`, then `y[n[i…, 0], n[i…, 1], …, c…] ⊕= u[i…, c…]`.
//!
//! Places of an axis that no index names are made of those places of `x`, `u` and, for
//! `ScatterElements`, `n`. Places of an axis that indices name cannot be told apart before they are known.
//!
//! Where `⊕` adds, as messages along the edges of a graph are, a summand is made of some of the
//! updates and their indices; the first part starts from `x` and the others from zeros.

use super::super::part::{Argument, Operation, Part, Rewrite};
use super::super::{Need, Ranges, Refusal};

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let named = match part.node.operator() {
        "ScatterND" => part.shape(1)?.last().map_or(0, |&count| count as usize),
        _ => part.axis(part.integer("axis", 0), part.shape(0)?.len())?,
    };
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Summand => summand(part, named),
        Need::Along { axis, ranges } => along(part, named, *axis, ranges),
    }
}

fn along(part: &Part<'_>, named: usize, axis: usize, ranges: &Ranges) -> Result<Rewrite, Refusal> {
    let unknown = || {
        Err(part.refuse(format!(
            "its indices name places of axis {axis}, which are not known before it runs: split it by its updates or along another axis"
        )))
    };
    let work = part.share(axis, ranges)?;
    let need = Need::along(axis, ranges);
    if part.node.operator() == "ScatterND" {
        if axis < named {
            return unknown();
        }
        let leading = part.shape(1)?.len().saturating_sub(1);
        let updates = Need::along(leading + axis - named, ranges);
        return Ok(Rewrite::same(part, vec![Some(need), Some(Need::Whole), Some(updates)], work));
    }
    if axis == named {
        return unknown();
    }
    // The indices may have fewer places than `x` has.
    let extent = part.shape(1)?.get(axis).copied().unwrap_or(0);
    Ok(match ranges.within(0, extent) {
        Some(updated) if updated == *ranges => {
            Rewrite::same(part, vec![Some(need.clone()), Some(need.clone()), Some(need)], work)
        }
        Some(_) => return Err(part.refuse("a part would be updated at some of its places only")),
        None => Rewrite {
            needs: vec![Some(need), None, None],
            operations: vec![Operation::of("Identity", vec![Argument::Input(0)], Argument::Output(0))],
            work: 0.0,
        },
    })
}

fn summand(part: &Part<'_>, named: usize) -> Result<Rewrite, Refusal> {
    let reduction = part.text("reduction").unwrap_or_else(|| "none".to_owned());
    if reduction != "add" {
        return Err(part.refuse(format!("its reduction is `{reduction}`, and parts of it do not add up")));
    }
    let indices = part.shape(1)?;
    let axis = match part.node.operator() {
        // The axis of the most updates.
        "ScatterND" => {
            (0..indices.len().saturating_sub(1)).max_by_key(|&axis| (indices[axis], usize::MAX - axis))
        }
        _ => Some(named),
    };
    let axis = axis.ok_or_else(|| part.refuse("it has a single update"))?;
    let extent = indices.get(axis).copied().unwrap_or(0);
    let ranges = part.contraction(extent)?;
    let work = ranges.count() as f64 / extent.max(1) as f64;
    let updates = Some(Need::along(axis, &ranges));
    if part.index() == 0 {
        return Ok(Rewrite::same(part, vec![Some(Need::Whole), updates.clone(), updates], work));
    }
    let zeros = Argument::Local("zeros");
    let mut operations = Operation::zeros(part.shape(0)?, part.output_type(0)?, zeros.clone());
    let inputs = vec![zeros, Argument::Input(1), Argument::Input(2)];
    operations.push(Operation { inputs, ..Operation::same(part, &[]) });
    Ok(Rewrite { needs: vec![None, updates.clone(), updates], operations, work })
}
