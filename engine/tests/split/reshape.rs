//! Axes under other extents.

use crate::harness::{Case, Whole, bounds, indices, integers};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::{ElementType, Join};

/// Adjacent factors multiplied wherever a bit of `joined` says so.
fn grouped(factors: &[u64], joined: u8) -> Vec<u64> {
    let mut extents = vec![factors[0]];
    for (place, &factor) in factors.iter().enumerate().skip(1) {
        match joined >> place & 1 {
            1 => *extents.last_mut().unwrap() *= factor,
            _ => extents.push(factor),
        }
    }
    extents
}

fn reshaped(from: &[u64], to: &[i64]) -> Whole {
    Case::new()
        .input("x", from)
        .stored("s", &indices(&[to.len() as u64], to))
        .node("Tanh", &["x"], &["t"])
        .node("Reshape", &["t", "s"], &["y"])
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn factors_of_axes_are_followed(
        factors in prop::collection::vec(1_u64..5, 5), from: u8, to: u8, axis: prop::sample::Index, bound: prop::sample::Index,
    ) {
        let (from, to) = (grouped(&factors, from), grouped(&factors, to));
        let axis = axis.index(to.len());
        prop_assume!(to[axis] > 1);
        let shape: Vec<i64> = to.iter().map(|&extent| extent as i64).collect();
        let whole = reshaped(&from, &shape);
        let bound = 1 + bound.index(to[axis] as usize - 1) as u64;
        let join = |bound| bounds(axis as u32, &[0, bound, to[axis]]);
        match whole.divide(join(bound), 2, 1) {
            Ok(_) => {
                whole.agrees(join(bound), 2, 1);
            }
            // Where it is refused for a grain, multiples of that are not.
            Err(refusal) => {
                let grain = refusal.grain.unwrap();
                prop_assert!(!bound.is_multiple_of(grain), "{refusal}");
                prop_assert_eq!(to[axis] % grain, 0);
                if to[axis] > grain {
                    whole.agrees(join(grain), 2, 1);
                }
            }
        }
    }
}

#[test]
fn heads_become_columns_and_columns_heads() {
    reshaped(&[2, 3, 12], &[0, 0, 4, 3]).agrees(bounds(2, &[0, 1, 3, 4]), 3, 1);
    reshaped(&[2, 3, 12], &[2, -1, 4, 3]).agrees(bounds(1, &[0, 1, 3]), 2, 1);
    reshaped(&[2, 3, 12], &[0, -1, 3, 2, 2]).agrees(bounds(3, &[0, 1, 2]), 2, 1);
    reshaped(&[2, 3, 4, 3], &[0, 0, -1]).agrees(bounds(2, &[0, 3, 12]), 2, 1);
    reshaped(&[4, 3], &[2, 2, 3, 1]).agrees(bounds(0, &[0, 1, 2]), 2, 1);
}

#[test]
fn borders_do_not_cut_heads() {
    let refusal = reshaped(&[2, 3, 4, 5], &[0, 0, 20]).refusal(bounds(2, &[0, 7, 20]), 2);
    assert_eq!((refusal.grain, refusal.operator.as_str()), (Some(5), "Reshape"), "{refusal}");
}

#[test]
fn a_factor_in_common_is_enough() {
    // Two of six are a group of the three that the first axis counts.
    reshaped(&[6, 5], &[2, 15]).agrees(bounds(1, &[0, 5, 15]), 2, 1);
    assert_eq!(reshaped(&[6, 5], &[2, 15]).refusal(bounds(1, &[0, 7, 15]), 2).grain, Some(5));
}

#[test]
fn mixed_axes_are_refused() {
    let refusal = reshaped(&[4, 3], &[6, 2]).refusal(bounds(0, &[0, 3, 6]), 2);
    assert!(refusal.reason.contains("mixed"), "{refusal}");
}

#[test]
fn a_computed_shape_is_known_at_this_size() {
    let whole = Case::new()
        .input("x", &[2, 3, 12])
        .input("like", &[2, 3, 4, 3])
        .node("Shape", &["like"], &["s"])
        .node("Reshape", &["x", "s"], &["y"])
        .done();
    let division = whole.agrees(bounds(2, &[0, 2, 4]), 2, 1);
    assert!(division.parts.iter().all(|part| part.pieces.len() == 1));
}

#[test]
fn zero_may_mean_none() {
    let zero = Case::new()
        .version(17)
        .input("x", &[3, 4])
        .stored("s", &indices(&[3], &[3, 2, 2]))
        .node_with("Reshape", &["x", "s"], &["y"], vec![integer("allowzero", 1)])
        .done();
    zero.agrees(bounds(0, &[0, 2, 3]), 2, 1);
}

#[test]
fn matrices_are_flattened() {
    for (axis, along, places) in
        [(1, 0, [0, 1, 3]), (1, 1, [0, 10, 20]), (2, 0, [0, 4, 12]), (-1, 1, [0, 2, 5])]
    {
        let whole = Case::new()
            .input("x", &[3, 4, 5])
            .node_with("Flatten", &["x"], &["y"], vec![integer("axis", axis)])
            .done();
        whole.agrees(bounds(along, &places), 2, 1);
    }
    let whole = Case::new().input("x", &[3, 4, 5]).node("Flatten", &["x"], &["y"]).done();
    assert_eq!(whole.refusal(bounds(1, &[0, 7, 20]), 2).grain, Some(5));
}

#[test]
fn axes_of_one_place_come_and_go() {
    for version in [11, 17] {
        let axes = |case: Case, operator: &str, from: &str, to: &str, axes: &[i64]| match version {
            11 => case.node_with(operator, &[from], &[to], vec![integers("axes", axes)]),
            _ => case.stored(&format!("{to}.axes"), &indices(&[axes.len() as u64], axes)).node(
                operator,
                &[from, &format!("{to}.axes")],
                &[to],
            ),
        };
        let case = Case::new().version(version).input("x", &[1, 4, 1, 3]);
        let case = axes(case, "Squeeze", "x", "a", &[0, -2]);
        let whole = axes(case, "Unsqueeze", "a", "y", &[0, 2]).done();
        whole.agrees(bounds(1, &[0, 1, 4]), 2, 1);
        whole.agrees(bounds(3, &[0, 1, 3]), 2, 1);
        // A part of one place keeps its axis where all of one place are removed.
        let case = Case::new().version(version).input("x", &[1, 4, 1, 3]);
        let whole = case.node("Squeeze", &["x"], &["y"]).done();
        whole.agrees(bounds(0, &[0, 1, 4]), 2, 1);
        whole.agrees(bounds(1, &[0, 1, 2, 3]), 3, 1);
    }
}

#[test]
fn a_summand_passes() {
    let whole = Case::new()
        .input("x", &[2, 6])
        .input("r", &[2, 2, 2])
        .weight("w", &[6, 4])
        .stored("s", &indices(&[3], &[0, 2, -1]))
        .node("MatMul", &["x", "w"], &["p"])
        .node("Reshape", &["p", "s"], &["q"])
        .node("Add", &["q", "r"], &["y"])
        .output("y", ElementType::Float32);
    whole.agrees(Join::Sum, 3, 1);
}
