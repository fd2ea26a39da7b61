//! Tensors repeated or filled.

use crate::harness::{Case, Whole, bounds, indices};
use proptest::prelude::*;
use tranche_schema::{ElementType, Join};

fn repeated(operator: &str, from: &[u64], by: &[i64]) -> Whole {
    Case::new()
        .input("x", from)
        .stored("s", &indices(&[by.len() as u64], by))
        .node("Tanh", &["x"], &["t"])
        .node(operator, &["t", "s"], &["y"])
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn broadcast_axes_are_made_of_one_place(
        ones in prop::array::uniform3(any::<bool>()), copies in prop::array::uniform3(any::<bool>()), axis in 0_u32..3, parts in 2_usize..4,
    ) {
        let extents = [3_u64, 4, 5];
        let from: Vec<u64> = extents.iter().zip(ones).map(|(&extent, one)| if one { 1 } else { extent }).collect();
        // A one in the shape leaves the extent as it is.
        let shape = |place: usize| if copies[place] && from[place] > 1 { 1 } else { extents[place] as i64 };
        let whole = repeated("Expand", &from[1..], &[shape(0).max(3), shape(1), shape(2)]);
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn copies_and_places_within_one_make_the_whole(axis in 0_u32..3, times in prop::array::uniform3(1_i64..4)) {
        let whole = repeated("Tile", &[3, 4, 1], &times);
        let (each, all) = ([3, 4, 1][axis as usize], [3, 4, 1][axis as usize] * times[axis as usize] as u64);
        if all > each {
            whole.agrees(bounds(axis, &[0, each, all]), 2, 1);
        }
        if each > 2 {
            let refusal = |refusal: &tranche_graph::split::Refusal| refusal.grain == Some(each);
            match whole.divide(bounds(axis, &[0, 1, all]), 2, 1) {
                Ok(_) => prop_assert_eq!(all, each),
                Err(found) => prop_assert!(refusal(&found), "{found}"),
            }
        }
    }
}

#[test]
fn places_within_one_copy_are_those_of_the_input() {
    repeated("Tile", &[3, 4], &[2, 1]).agrees(bounds(0, &[0, 1, 3, 6]), 3, 1);
}

#[test]
fn a_shape_that_is_computed_is_known_at_this_size() {
    let whole = Case::new()
        .input("x", &[4, 1])
        .input("like", &[4, 3])
        .node("Shape", &["like"], &["s"])
        .node("Expand", &["x", "s"], &["e"])
        .node("ConstantOfShape", &["s"], &["z"])
        .node("Add", &["e", "z"], &["y"])
        .done();
    let division = whole.agrees(whole.even(0, 2), 2, 1);
    assert!(division.parts.iter().all(|part| part.pieces.len() == 1), "nothing of `like` is read");
}

#[test]
fn numbers_in_a_row_are_taken_out_of_all() {
    let whole = Case::new()
        .stored("a", &indices(&[], &[2]))
        .stored("b", &indices(&[], &[16]))
        .stored("d", &indices(&[], &[3]))
        .node("Range", &["a", "b", "d"], &["y"])
        .output("y", ElementType::Int64);
    whole.agrees(whole.even(0, 2), 2, 1);
}

#[test]
fn a_summand_passes() {
    let whole = Case::new()
        .input("x", &[1, 6])
        .weight("w", &[6, 4])
        .stored("s", &indices(&[2], &[3, 4]))
        .stored("t", &indices(&[2], &[1, 2]))
        .node("MatMul", &["x", "w"], &["p"])
        .node("Expand", &["p", "s"], &["e"])
        .node("Tile", &["e", "t"], &["y"])
        .done();
    whole.agrees(Join::Sum, 2, 1);
}

#[test]
fn extents_are_not_split() {
    let whole = Case::new().input("x", &[3, 4]).node("Shape", &["x"], &["y"]).output("y", ElementType::Int64);
    assert_eq!(whole.refusal(bounds(0, &[0, 1, 2]), 2).operator, "Shape");
}
