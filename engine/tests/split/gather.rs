//! Elements picked by indices, and tables held in part.

use crate::harness::{Case, Whole, bounds, indices};
use crate::support::integer;
use proptest::prelude::*;
use tranche_graph::split::Need;
use tranche_schema::{ElementType, Join, Tensor};

/// `Gather` from a stored table or a computed tensor, indices of this shape, some of them counted from the end.
fn gathered(stored: bool, axis: i64, shape: &[u64], version: i64) -> Whole {
    let table = [5_u64, 6, 7];
    let extent = table[axis.rem_euclid(3) as usize] as i64;
    let count = shape.iter().product::<u64>() as i64;
    let picks: Vec<i64> = (0..count).map(|place| (place * 5 + 3) % (2 * extent) - extent).collect();
    let case = Case::new().version(version).given("i", indices(shape, &picks));
    let case = if stored { case.weight("t", &table) } else { case.input("t", &table) };
    let node = |case: Case, from| case.node_with("Gather", &[from, "i"], &["y"], vec![integer("axis", axis)]);
    match stored {
        true => node(case, "t").done(),
        false => node(case.node("Neg", &["t"], &["n"]), "n").done(),
    }
}

fn shapes() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![Just(vec![4]), Just(vec![3, 4]), Just(vec![2, 3, 2])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn axes_of_data_and_indices_are_followed(
        stored: bool, axis in -3_i64..3, shape in shapes(), along: prop::sample::Index, parts in 2_usize..3,
    ) {
        let whole = gathered(stored, axis, &shape, 17);
        let along = along.index(2 + shape.len()) as u32;
        whole.agrees(whole.even(along, parts), parts, 1);
    }

    #[test]
    fn rows_of_a_table_are_summands(axis in -3_i64..3, shape in shapes(), version in prop_oneof![Just(11_i64), Just(17)], parts in 2_usize..5) {
        let whole = gathered(true, axis, &shape, version);
        let division = whole.agrees(Join::Sum, parts, 1);
        let rows = |need: &Need| need.shape(&[5, 6, 7])[axis.rem_euclid(3) as usize];
        let held: u64 = division.parts.iter().flat_map(|part| &part.weights).map(|(_, need)| rows(need)).sum();
        prop_assert_eq!(held, [5, 6, 7][axis.rem_euclid(3) as usize]);
    }
}

#[test]
fn narrow_indices_and_wide_numbers() {
    let whole = |version| {
        let narrow: Vec<u8> = [0_i32, -1, 3, 2].iter().flat_map(|value| value.to_le_bytes()).collect();
        let wide: Vec<u8> = (0..10).flat_map(|value| f64::from(value).to_le_bytes()).collect();
        Case::new()
            .version(version)
            .given("i", Tensor::new(ElementType::Int32, vec![4], narrow.into()).unwrap())
            .stored("t", &Tensor::new(ElementType::Float64, vec![5, 2], wide.into()).unwrap())
            .node("Gather", &["t", "i"], &["y"])
            .output("y", ElementType::Float64)
    };
    // Rows of a part, and fewer than there are parts.
    whole(17).agrees(Join::Sum, 3, 1);
    whole(17).agrees(Join::Sum, 6, 1);
    let refusal = whole(8).refusal(Join::Sum, 2);
    assert!(refusal.reason.contains("operator set 9"), "{refusal}");
}

#[test]
fn one_of_several_is_selected() {
    let whole = Case::new()
        .input("x", &[3, 2, 4])
        .stored("i", &indices(&[], &[-1]))
        .node_with("Gather", &["x", "i"], &["y"], vec![integer("axis", 0)])
        .done();
    whole.agrees(whole.even(1, 3), 3, 1);
}

#[test]
fn words_are_looked_up_in_parts_of_the_vocabulary() {
    let whole = Case::new()
        .given("i", indices(&[2, 3], &[0, 9, 4, 5, 5, 2]))
        .weight("words", &[10, 4])
        .weight("kinds", &[2, 4])
        .given("k", indices(&[2, 3], &[0, 0, 1, 1, 0, 1]))
        .weight("places", &[3, 4])
        .node("Gather", &["words", "i"], &["w"])
        .node("Gather", &["kinds", "k"], &["t"])
        .node("Add", &["w", "t"], &["s"])
        .node("Add", &["s", "places"], &["y"])
        .done();
    for parts in 2..5 {
        let division = whole.agrees(Join::Sum, parts, 1);
        let (all, held) = whole.weights(&division);
        assert_eq!(held.iter().sum::<u64>(), all, "{held:?}");
    }
}

#[test]
fn a_sum_passes_through_a_choice_of_rows() {
    let whole = Case::new()
        .input("x", &[4, 6])
        .weight("w", &[6, 3])
        .given("i", indices(&[5], &[0, 3, 1, -1, 2]))
        .node("MatMul", &["x", "w"], &["p"])
        .node("Gather", &["p", "i"], &["y"])
        .done();
    whole.agrees(Join::Sum, 2, 1);
}

#[test]
fn each_element_has_its_own_index() {
    for (axis, along) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let whole = Case::new()
            .input("x", &[5, 6])
            .given("i", indices(&[4, 3], &[0, 1, 4, 2, 2, 0, 1, 3, 4, 0, 0, 1]))
            .node("Neg", &["x"], &["n"])
            .node_with("GatherElements", &["n", "i"], &["y"], vec![integer("axis", axis)])
            .done();
        whole.agrees(whole.even(along, 2), 2, 1);
    }
}

#[test]
fn several_indices_name_a_place() {
    for along in 0..3 {
        let plain = Case::new()
            .input("x", &[3, 4, 5])
            .given("i", indices(&[2, 2, 1], &[0, 2, 1, 1]))
            .node("GatherND", &["x", "i"], &["y"])
            .done();
        plain.agrees(plain.even(along, 2), 2, 1);
    }
    for along in 0..2 {
        let batched = Case::new()
            .input("x", &[3, 4, 5])
            .given("i", indices(&[3, 2, 1], &[0, 2, 1, 1, 3, 3]))
            .node_with("GatherND", &["x", "i"], &["y"], vec![integer("batch_dims", 1)])
            .done();
        batched.agrees(batched.even(along, 2), 2, 1);
        batched.agrees(bounds(2, &[0, 1, 5]), 2, 1);
    }
}
