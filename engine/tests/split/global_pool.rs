//! Reductions: axes that stay, and tiles that go through as summands.

use crate::harness::{Case, Whole, integers};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

const REDUCTIONS: [&str; 10] = [
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceProd",
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "ReduceLogSum",
];

/// Axes as an attribute before version 18, as an input from then on; those of sums from 13 on.
fn reduction(operator: &str, version: i64, axes: &[i64], keeps: bool) -> Whole {
    let case = Case::new().version(version).input("x", &[3, 4, 8, 5]).node("Abs", &["x"], &["a"]);
    let keeps = integer("keepdims", keeps.into());
    let is_input = version >= if operator == "ReduceSum" { 13 } else { 18 };
    let case = if is_input {
        case.integers("axes", axes).node_with(operator, &["a", "axes"], &["r"], vec![keeps])
    } else {
        case.node_with(operator, &["a"], &["r"], vec![keeps, integers("axes", axes)])
    };
    case.node("Tanh", &["r"], &["y"]).done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn axes_that_stay_pass(
        operator in prop::sample::select(&REDUCTIONS), version in prop::sample::select(&[12_i64, 13, 18]),
        keeps in any::<bool>(), reduced in prop::sample::subsequence(vec![0_i64, 1, -2, 3], 1..4), parts in 2_usize..4,
    ) {
        let whole = reduction(operator, version, &reduced, keeps);
        let stays: Vec<u32> = (0..4).filter(|&axis| !reduced.iter().any(|&other| (other + 4) % 4 == axis)).map(|axis| axis as u32).collect();
        let axis = if keeps { stays[0] } else { 0 };
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn tiles_are_summands(
        operator in prop::sample::select(&["GlobalAveragePool", "ReduceMean", "ReduceSum"]),
        version in prop::sample::select(&[12_i64, 18]), keeps in any::<bool>(), height in 5_u64..12, parts in 2_usize..5,
    ) {
        let case = Case::new().version(version)
            .input("x", &[2, 3, height, 6])
            .weight("w", &[4, 3, 3, 3])
            .node_with("Conv", &["x", "w"], &["c"], vec![integers("pads", &[1, 1, 1, 1])])
            .node("Relu", &["c"], &["r"]);
        let keeps = integer("keepdims", keeps.into());
        let whole = if operator == "GlobalAveragePool" {
            case.node(operator, &["r"], &["y"])
        } else if version == 18 {
            case.integers("axes", &[2, -1]).node_with(operator, &["r", "axes"], &["y"], vec![keeps])
        } else {
            case.node_with(operator, &["r"], &["y"], vec![keeps, integers("axes", &[2, -1])])
        };
        let division = whole.done().agrees(Join::Sum, parts, 1);
        // Each part reads its rows and the halo.
        let pieces = division.parts.iter().flat_map(|part| part.pieces.values());
        let most = pieces.map(|need| need.shape(&[2, 3, height, 6])[2]).max().unwrap();
        prop_assert!(most <= height.div_ceil(parts as u64) + 2);
    }
}

#[test]
fn channels_pass_a_global_pooling() {
    for operator in ["GlobalAveragePool", "GlobalMaxPool"] {
        let whole = Case::new().input("x", &[3, 5, 4, 4]).node(operator, &["x"], &["y"]).done();
        whole.agrees(whole.even(1, 3), 3, 1);
        whole.agrees(whole.even(0, 2), 2, 1);
    }
}

#[test]
fn no_axes_are_none_or_all() {
    let model = |nothing: i64| {
        let attributes = vec![integer("noop_with_empty_axes", nothing), integer("keepdims", 1)];
        let case = Case::new().input("x", &[4, 5]).node("Tanh", &["x"], &["t"]);
        case.node_with("ReduceSum", &["t"], &["y"], attributes).done()
    };
    model(1).agrees(Join::Concat { axis: 1, bounds: vec![0, 2, 5] }, 2, 1);
    model(0).agrees(Join::Sum, 2, 1);
}

#[test]
fn what_is_not_a_sum_is_refused() {
    let refusal = reduction("ReduceMax", 13, &[2, 3], true).refusal(Join::Sum, 2);
    assert!(refusal.operator == "Tanh", "{refusal}");
    let whole = Case::new().input("x", &[1, 2, 6, 6]).node("GlobalMaxPool", &["x"], &["y"]).done();
    let refusal = whole.refusal(Join::Sum, 2);
    assert!(refusal.reason.contains("not a sum"), "{refusal}");
}

#[test]
fn an_axis_too_short_for_the_parts_gives_way_to_the_next() {
    let whole = Case::new().input("x", &[1, 2, 2, 6]).node("GlobalAveragePool", &["x"], &["y"]).done();
    whole.agrees(Join::Sum, 3, 1);
    let whole = Case::new().input("x", &[1, 2, 2, 2]).node("GlobalAveragePool", &["x"], &["y"]).done();
    assert!(whole.refusal(Join::Sum, 3).reason.contains("too few"));
}
