//! Outputs of `Split`, each with its own need.

use crate::harness::{Case, Whole, integers};
use crate::support::integer;
use proptest::prelude::*;
use tranche_graph::split::Need;
use tranche_schema::Join;

/// Sizes as an attribute before version 13, as an input from then on, the same for each from 18 on
/// where none are said.
fn node(case: Case, version: i64, axis: i64, sizes: &[i64], is_even: bool, outputs: &[&str]) -> Case {
    let axis = integer("axis", axis);
    if is_even && version >= 18 {
        let count = integer("num_outputs", sizes.len() as i64);
        return case.node_with("Split", &["t"], outputs, vec![axis, count]);
    }
    if is_even {
        return case.node_with("Split", &["t"], outputs, vec![axis]);
    }
    if version < 13 {
        return case.node_with("Split", &["t"], outputs, vec![axis, integers("split", sizes)]);
    }
    case.integers("sizes", sizes).node_with("Split", &["t", "sizes"], outputs, vec![axis])
}

/// Three outputs, of which the first and the last are multiplied.
fn gated(version: i64, sizes: [i64; 2], is_even: bool, with_middle: bool) -> Whole {
    let [outer, middle] = sizes;
    let extent = (2 * outer + middle) as u64;
    let case = Case::new().version(version).input("x", &[4, extent, 5]).node("Tanh", &["x"], &["t"]);
    let case = node(case, version, 1, &[outer, middle, outer], is_even, &["a", "b", "c"]);
    let case = case.node("Sigmoid", &["a"], &["g"]).node("Mul", &["g", "c"], &["m"]);
    if with_middle {
        case.node("Add", &["m", "b"], &["y"]).done()
    } else {
        case.node("Neg", &["m"], &["y"]).done()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn places_of_every_axis_make_the_whole(
        version in prop::sample::select(&[11_i64, 13, 18]), outer in 4_i64..7, middle in 1_i64..5,
        is_even in any::<bool>(), with_middle in any::<bool>(), axis in 0_u32..3, parts in 2_usize..4,
    ) {
        let middle = if is_even || with_middle { outer } else { middle };
        let whole = gated(version, [outer, middle], is_even, with_middle);
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn outputs_at_different_places_make_the_whole(first in 1_i64..5, second in 1_i64..5, bound in 1_u64..7, axis in 0_u32..2) {
        // The places of the first output come after those of the second.
        let case = Case::new().input("x", &[(first + second) as u64, 8]).node("Tanh", &["x"], &["t"]);
        let case = node(case, 17, 0, &[first, second], false, &["a", "b"]);
        let whole = case.node_with("Concat", &["b", "a", "b"], &["y"], vec![integer("axis", 0)]).done();
        let Join::Concat { bounds, .. } = whole.even(axis, 1) else { unreachable!() };
        prop_assume!(bound < bounds[1]);
        whole.agrees(Join::Concat { axis, bounds: vec![0, bound, bounds[1]] }, 2, 1);
    }
}

#[test]
fn outputs_that_are_not_wanted_are_not_read() {
    let whole = gated(13, [4, 2], false, false);
    let division = whole.agrees(whole.even(1, 2), 2, 1);
    let read: Vec<Need> = division.parts.iter().flat_map(|part| part.pieces.values().cloned()).collect();
    assert!(read.iter().all(|need| need.shape(&[4, 10, 5]) == [4, 4, 5]), "{read:?}");
}

#[test]
fn outputs_along_two_axes_are_cut_out_of_the_whole() {
    // Of one factor some rows are wanted, of the other all.
    let case = Case::new().input("x", &[6, 12]).node("Tanh", &["x"], &["t"]);
    let case = node(case, 17, 1, &[6, 6], false, &["a", "b"]);
    let whole = case.node("MatMul", &["a", "b"], &["y"]).done();
    whole.agrees(whole.even(0, 3), 3, 1);
    whole.agrees(whole.even(1, 2), 2, 1);
}

#[test]
fn sizes_that_are_computed_are_refused() {
    let whole = Case::new()
        .input("x", &[4, 5])
        .given("sizes", crate::support::integers(&[2], &[2, 2]))
        .node("Split", &["x", "sizes"], &["a", "b"])
        .node("Add", &["a", "b"], &["y"])
        .done();
    assert!(whole.refusal(whole.even(0, 2), 2).reason.contains("not stored integers"));
}
