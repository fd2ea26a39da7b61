//! Global poolings and reductions: `y[i] = f(x[i, j] for all places j of the reduced axes)`, where a
//! global pooling reduces all axes but batch and channels (ONNX operators, GlobalAveragePool, ReduceMean,
//! ReduceSum and others). Reduced axes are an attribute, or an input in later versions; none are all, or
//! none with `noop_with_empty_axes`.
//!
//! - Places of an axis that is not reduced are made of the same places of `x`.
//! - Of a sum, a summand is made of some places of a reduced axis; of a mean over `N` places of that axis,
//!   of `M` of them: their mean times `M / N`. What is upstream is then wanted at those places only, so
//!   tiles go through a global pooling as summands.

use super::super::part::{Argument, Constant, Operation, Part, Rewrite};
use super::super::{Need, Refusal};
use tranche_schema::ElementType;

pub(super) fn reduces(operator: &str) -> bool {
    let others = [
        "GlobalMaxPool",
        "GlobalLpPool",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
    ];
    sums(operator) || others.contains(&operator)
}

/// Whether what is reduced is added up.
pub(super) fn sums(operator: &str) -> bool {
    is_mean(operator) || matches!(operator, "ReduceSum" | "ReduceSumSquare" | "ReduceL1")
}

fn is_mean(operator: &str) -> bool {
    matches!(operator, "GlobalAveragePool" | "ReduceMean")
}

pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let input = part.shape(0)?;
    let reduced = reduced_axes(part, input.len())?;
    let mut needs = vec![None; part.node.inputs.len()];
    if part.input(1).is_some() {
        needs[1] = Some(Need::Whole);
    }
    match part.only()? {
        Need::Whole => Ok(Rewrite::whole(part)),
        Need::Along { axis, ranges } => {
            let is_kept = part.integer("keepdims", 1) != 0;
            let mut axes = (0..input.len()).filter(|axis| is_kept || !reduced.contains(axis));
            let own = axes.nth(*axis).filter(|own| !reduced.contains(own));
            let own = own.ok_or_else(|| part.refuse(format!("axis {axis} of what it makes is reduced")))?;
            needs[0] = Some(Need::Along { axis: own, ranges: ranges.clone() });
            Ok(Rewrite::same(part, needs, part.share(*axis, ranges)?))
        }
        Need::Summand => summand(part, input, &reduced, needs),
    }
}

fn summand(
    part: &Part<'_>,
    input: &[u64],
    reduced: &[usize],
    mut needs: Vec<Option<Need>>,
) -> Result<Rewrite, Refusal> {
    let operator = part.node.operator();
    if !sums(operator) {
        return Err(part.refuse("it is not a sum of what it reduces"));
    }
    let extent = |axis: usize| input.get(axis).copied().unwrap_or(1);
    // One that is long enough for all parts: each chooses for itself, and they must choose the same.
    let grain = part.grain.max(1);
    let is_enough = |extent: u64| extent.is_multiple_of(grain) && extent / grain >= part.count as u64;
    let axis = reduced.iter().copied().find(|&axis| is_enough(extent(axis))).or(reduced.first().copied());
    let axis = axis.ok_or_else(|| part.refuse("it reduces no axis, so it adds nothing up"))?;
    let (extent, ranges) = (extent(axis), part.contraction(extent(axis))?);
    let share = ranges.count() as f64 / extent.max(1) as f64;
    needs[0] = Some(Need::Along { axis, ranges });
    if !is_mean(operator) {
        return Ok(Rewrite::same(part, needs, share));
    }
    let element_type = part.output_type(0)?;
    let reals = [ElementType::Float16, ElementType::BFloat16, ElementType::Float32, ElementType::Float64];
    if !reals.contains(&element_type) {
        return Err(part.refuse("a mean of integers is rounded"));
    }
    let mean = Operation { outputs: vec![Argument::Local("mean")], ..Operation::same(part, &needs) };
    let weight = Constant { element_type, shape: vec![], values: vec![share] };
    let weighted =
        Operation::of("Mul", vec![Argument::Local("mean"), Argument::Constant(weight)], Argument::Output(0));
    Ok(Rewrite { needs, operations: vec![mean, weighted], work: share })
}

/// Which axes are reduced, ascending.
fn reduced_axes(part: &Part<'_>, rank: usize) -> Result<Vec<usize>, Refusal> {
    if part.node.operator().starts_with("Global") {
        return Ok((2..rank).collect());
    }
    let given = match part.input(1) {
        Some(_) => part.integers(1)?,
        None => part.integer_list("axes").map(<[i64]>::to_vec).unwrap_or_default(),
    };
    if given.is_empty() {
        let is_nothing = part.integer("noop_with_empty_axes", 0) != 0;
        return Ok(if is_nothing { Vec::new() } else { (0..rank).collect() });
    }
    let mut axes = given.iter().map(|&axis| part.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    Ok(axes)
}
