//! Places of what is put side by side.

use crate::harness::{Case, Whole};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

fn joined(axis: i64, extents: &[u64]) -> Whole {
    let mut case = Case::new();
    let names: Vec<String> = (0..extents.len()).map(|place| format!("x{place}")).collect();
    for (name, &extent) in names.iter().zip(extents) {
        let mut shape = [3, 4, 5];
        shape[(axis.rem_euclid(3)) as usize] = extent;
        case = case.input(name, &shape).node("Tanh", &[name], &[&format!("{name}t")]);
    }
    let read: Vec<String> = names.iter().map(|name| format!("{name}t")).collect();
    let read: Vec<&str> = read.iter().map(String::as_str).collect();
    case.node_with("Concat", &read, &["c"], vec![integer("axis", axis)]).node("Neg", &["c"], &["y"]).done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn places_of_every_axis_make_the_whole(
        own in -3_i64..3, extents in prop::collection::vec(1_u64..6, 1..5), axis in 0_u32..3, parts in 2_usize..4,
    ) {
        prop_assume!(extents.iter().sum::<u64>() >= 4);
        let whole = joined(own, &extents);
        whole.agrees(whole.even(axis, parts), parts, 1);
    }
}

#[test]
fn inputs_without_a_place_are_left_out() {
    let whole = joined(1, &[2, 3, 4]);
    let division = whole.agrees(Join::Concat { axis: 1, bounds: vec![0, 2, 4, 9] }, 3, 1);
    let read: Vec<usize> = division.parts.iter().map(|part| part.pieces.len()).collect();
    assert_eq!(read, [1, 1, 2]);
}

#[test]
fn one_tensor_is_read_at_two_places() {
    let whole = Case::new()
        .input("x", &[2, 4])
        .node("Tanh", &["x"], &["t"])
        .node_with("Concat", &["t", "t"], &["y"], vec![integer("axis", 1)])
        .done();
    whole.agrees(Join::Concat { axis: 1, bounds: vec![0, 1, 6, 8] }, 3, 1);
}

#[test]
fn a_sum_is_not_put_side_by_side() {
    let whole = joined(1, &[2, 3]);
    assert!(whole.refusal(Join::Sum, 2).operator == "Concat");
}
