//! Places of what is cut out.

use crate::harness::{Case, Whole, integers, onnxruntime};
use proptest::prelude::*;
use tranche_schema::Join;

/// One cut: start, end and step.
type Cut = (i64, i64, i64);

/// Cuts of height and width; attributes before version 10.
fn sliced(version: i64, height: Cut, width: Cut) -> Whole {
    let case = Case::new().version(version).input("x", &[2, 3, 12, 9]).node("Tanh", &["x"], &["t"]);
    let (starts, ends) = ([height.0, width.0], [height.1, width.1]);
    let case = if version < 10 {
        let attributes =
            vec![integers("starts", &starts), integers("ends", &ends), integers("axes", &[2, 3])];
        case.node_with("Slice", &["t"], &["s"], attributes)
    } else {
        case.integers("starts", &starts)
            .integers("ends", &ends)
            .integers("axes", &[-2, 3])
            .integers("steps", &[height.2, width.2])
            .node("Slice", &["t", "starts", "ends", "axes", "steps"], &["s"])
    };
    case.node("Neg", &["s"], &["y"]).done()
}

fn forward(extent: i64) -> impl Strategy<Value = Cut> {
    (0..3_i64, 0..3_i64, 1..3_i64, any::<bool>()).prop_map(move |(start, left, step, from_end)| {
        let (start, end) = (start, extent - left);
        if from_end {
            (start - extent, if left == 0 { i64::MAX } else { -left }, step)
        } else {
            (start, end, step)
        }
    })
}

fn backward(extent: i64) -> impl Strategy<Value = Cut> {
    (0..3_i64, 0..3_i64, 1..3_i64).prop_map(move |(after, before, step)| {
        (extent - 1 - after, if before == 0 { -extent - 5 } else { before - 1 }, -step)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn places_of_every_axis_make_the_whole(
        version in prop::sample::select(&[9_i64, 13, 17]), height in prop_oneof![forward(12), backward(12)],
        width in forward(9), axis in 0_u32..4, parts in 2_usize..4,
    ) {
        // There are no steps before version 10.
        let (height, width) = if version < 10 { ((1, 11, 1), (width.0, width.1, 1)) } else { (height, width) };
        let whole = sliced(version, height, width);
        let parts = if axis == 0 { 2 } else { parts };
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn axes_are_the_first_where_none_are_said(axis in 0_u32..3, parts in 2_usize..4) {
        let whole = Case::new()
            .input("x", &[6, 7, 5])
            .node("Tanh", &["x"], &["t"])
            .integers("starts", &[1, -5])
            .integers("ends", &[6, 7])
            .node("Slice", &["t", "starts", "ends"], &["y"])
            .done();
        whole.agrees(whole.even(axis, parts), parts, 1);
    }
}

#[test]
fn a_part_reads_its_places_alone() {
    let whole = sliced(13, (4, 12, 1), (0, 9, 1));
    let division = whole.agrees(whole.even(2, 2), 2, 1);
    let read = division.parts.iter().flat_map(|part| part.pieces.values());
    assert!(read.map(|need| need.shape(&[2, 3, 12, 9])[2]).all(|extent| extent == 4));
}

#[test]
fn a_summand_is_cut_out() {
    let whole = Case::new()
        .input("x", &[5, 6])
        .weight("w", &[6, 4])
        .node("MatMul", &["x", "w"], &["p"])
        .integers("starts", &[1])
        .integers("ends", &[4])
        .node("Slice", &["p", "starts", "ends"], &["y"])
        .done();
    whole.agrees(Join::Sum, 2, 1);
}

#[test]
fn bounds_that_are_computed_are_refused() {
    let whole = Case::new()
        .input("x", &[5, 6])
        .given("end", crate::support::integers(&[1], &[4]))
        .integers("starts", &[1])
        .integers("axes", &[0])
        .node("Slice", &["x", "starts", "end", "axes"], &["y"])
        .done();
    assert!(whole.refusal(whole.even(0, 2), 2).reason.contains("input 2 is not stored"));
    // The axis that they do not cut passes; tract wants an extent beforehand.
    whole.agrees_on(&[onnxruntime()], Join::Concat { axis: 1, bounds: vec![0, 2, 6] }, 2, 1);
}
