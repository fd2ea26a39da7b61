//! Elements picked by indices (ONNX operators of these names).
//!
//! - `Gather`: `y[a…, i…, c…] = x[a…, n[i…], c…]`, the picked axis of `x` in place of `i…`.
//! - `GatherElements`: `y[a…, i, c…] = x[a…, n[a…, i, c…], c…]`.
//! - `GatherND`: `y[b…, i…, c…] = x[b…, n[b…, i…, 0], n[b…, i…, 1], …, c…]`, `b…` as many axes as `batch_dims` says.
//!
//! Places of an axis that comes from the indices are made of those places of the indices, and of all
//! of `x`; those of an axis that comes from `x` of those places of `x` (a stored table is held in part).
//! A summand of `y` is made of one of `x`.
//!
//! A summand of a `Gather` from a stored table can also be made of some rows of it: a part looks up the
//! indices that fall in its rows `a..b`, less `a`, and puts zeros for the others; each index falls in the
//! rows of one part (the vocabulary of Shoeybi and others, "Megatron-LM", arXiv 1909.08053). A table with
//! fewer rows than there are parts is the first part's alone.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Refusal, even_bounds};
use tranche_schema::AttributeValue;

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let need = part.only()?;
    let (axis, ranges) = match need {
        Need::Whole => return Ok(Rewrite::whole(part)),
        Need::Summand if part.is_weight(0) && part.node.operator() == "Gather" => return rows(part),
        Need::Summand => return Ok(Rewrite::linear(part)),
        Need::Along { axis, ranges } => (*axis, ranges),
    };
    let (data, indices) = (part.shape(0)?, part.shape(1)?);
    let along = |axis| Some(Need::along(axis, ranges));
    let whole = || Some(Need::Whole);
    let needs = match part.node.operator() {
        "Gather" => {
            let picked = part.axis(part.integer("axis", 0), data.len())?;
            if axis < picked {
                vec![along(axis), whole()]
            } else if axis < picked + indices.len() {
                vec![whole(), along(axis - picked)]
            } else {
                vec![along(axis + 1 - indices.len()), whole()]
            }
        }
        "GatherElements" => {
            let picked = part.axis(part.integer("axis", 0), data.len())?;
            vec![if axis == picked { whole() } else { along(axis) }, along(axis)]
        }
        _ => {
            let batch = part.integer("batch_dims", 0).max(0) as usize;
            let picked = indices.last().copied().unwrap_or(0) as usize;
            let leading = indices.len().saturating_sub(1);
            if axis < batch {
                vec![along(axis), along(axis)]
            } else if axis < leading {
                vec![whole(), along(axis)]
            } else {
                vec![along(axis - leading + batch + picked), whole()]
            }
        }
    };
    Ok(Rewrite::same(part, needs, part.share(axis, ranges)?))
}

/// A summand of rows of a stored table.
fn rows(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    if part.opset() < 9 {
        return Err(part.refuse("before operator set 9 there is no Where to leave out rows of other parts"));
    }
    let (table, indices) = (part.shape(0)?, part.shape(1)?);
    let axis = part.axis(part.integer("axis", 0), table.len())?;
    // Nothing lies before a stored table that a grain would be for.
    let bounds = even_bounds(table[axis], part.count);
    let range = bounds.get(part.index()).zip(bounds.get(part.index() + 1));
    let (Some((&start, &end)), true) = (range, table[axis] >= part.count as u64) else {
        return few_rows(part);
    };
    let index = part.input_type(1)?;
    let number = |value: i64| {
        Argument::Constant(Constant { element_type: index, shape: vec![], values: vec![value as f64] })
    };
    let local = Argument::Local;
    let of = |operator, inputs: &[Argument], output: &'static str| {
        Operation::of(operator, inputs.to_vec(), local(output))
    };
    let given = Argument::Input(1);
    let mut operations = vec![
        // An index below 0 counts from the end.
        of("Less", &[given.clone(), number(0)], "negative"),
        of("Add", &[given.clone(), number(table[axis] as i64)], "wrapped"),
        of("Where", &[local("negative"), local("wrapped"), given], "row"),
        of("Sub", &[local("row"), number(start as i64)], "own"),
        of("Less", &[number(-1), local("own")], "after"),
        of("Less", &[local("own"), number((end - start) as i64)], "before"),
        of("And", &[local("after"), local("before")], "inside"),
        of("Where", &[local("inside"), local("own"), number(0)], "held"),
        Operation {
            inputs: vec![Argument::Input(0), local("held")],
            outputs: vec![local("rows")],
            ..Operation::same(part, &[])
        },
    ];
    let trailing: Vec<i64> =
        (indices.len()..indices.len() + table.len() - axis - 1).map(|axis| axis as i64).collect();
    let mut mask = local("inside");
    if !trailing.is_empty() {
        operations.push(if part.opset() < 13 {
            of("Unsqueeze", &[mask], "mask").with("axes", AttributeValue::Integers(trailing))
        } else {
            of("Unsqueeze", &[mask, Constant::integers(&trailing)], "mask")
        });
        mask = local("mask");
    }
    let zero = Constant::zeros(part.output_type(0)?, &[]);
    operations.push(Operation::of("Where", vec![mask, local("rows"), zero], Argument::Output(0)));
    let needs = vec![Need::range(axis, start, end), Some(Need::Whole)];
    Ok(Rewrite { needs, operations, work: 1.0 })
}

/// All of a summand in the first part, zeros in the others.
fn few_rows(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    if part.index() == 0 {
        return Ok(Rewrite::whole(part));
    }
    let operations = Operation::zeros(part.output_shape(0)?, part.output_type(0)?, Argument::Output(0));
    Ok(Rewrite { needs: vec![None, None], operations, work: 0.0 })
}
