//! Tiles of what is padded.

use crate::harness::{Case, Whole, integers, is_filled, onnxruntime, real, text};
use crate::support::floats;
use proptest::prelude::*;
use tranche_schema::Join;

/// Padding of height and width; an attribute before version 11, with axes from 18 on.
fn padding(version: i64, mode: &str, pads: [i64; 4], extents: &[u64; 4], value: Option<f32>) -> Whole {
    let case = Case::new().version(version).input("x", extents).node("Tanh", &["x"], &["t"]);
    let mode = text("mode", mode);
    let [top, left, bottom, right] = pads;
    let whole = [0, 0, top, left, 0, 0, bottom, right];
    if version < 11 {
        let attributes = vec![mode, integers("pads", &whole), real("value", value.unwrap_or(0.0))];
        return case.node_with("Pad", &["t"], &["y"], attributes).done();
    }
    let case = match value {
        Some(value) => case.stored("v", &floats(&[], &[value])),
        None => case,
    };
    let value = if value.is_some() { "v" } else { "" };
    if version < 18 {
        return case.integers("p", &whole).node_with("Pad", &["t", "p", value], &["y"], vec![mode]).done();
    }
    let case = case.integers("p", &pads).integers("a", &[2, -1]);
    case.node_with("Pad", &["t", "p", value, "a"], &["y"], vec![mode]).done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn tiles_clip_the_padding(
        version in prop::sample::select(&[9_i64, 13, 18]), mode in prop::sample::select(&["constant", "edge", "reflect"]),
        pads in prop::array::uniform4(0_i64..5), extents in [5_u64..9, 5_u64..9], axis in 0_u32..4,
        parts in 2_usize..6, value in prop::option::of(-1.0_f32..1.0),
    ) {
        let whole = padding(version, mode, pads, &[2, 3, extents[0], extents[1]], value);
        let join = whole.even(axis, parts);
        prop_assume!(is_filled(&join));
        match whole.divide(join.clone(), parts, 1) {
            // tract puts zeros in some places of edge padding, in the whole as well.
            Ok(_) if mode == "edge" => { whole.agrees_on(&[onnxruntime()], join, parts, 1); }
            Ok(_) => { whole.agrees(join, parts, 1); }
            Err(refusal) => prop_assert!(mode == "constant" && refusal.reason.contains("padding alone"), "{refusal}"),
        }
    }

    #[test]
    fn places_are_cut_away(pads in prop::array::uniform4(-2_i64..3), parts in 2_usize..4) {
        let whole = padding(13, "constant", pads, &[1, 2, 9, 9], Some(0.5));
        // tract fails at negative padding.
        whole.agrees_on(&[onnxruntime()], whole.even(2, parts), parts, 1);
    }
}

#[test]
fn a_part_may_be_repeated_places_alone() {
    for mode in ["edge", "reflect"] {
        let whole = padding(13, mode, [4, 0, 4, 0], &[1, 1, 5, 2], None);
        let join = Join::Concat { axis: 2, bounds: vec![0, 1, 3, 8, 10, 13] };
        whole.agrees(join, 5, 1);
    }
}

#[test]
fn a_part_of_padding_alone_is_refused() {
    let whole = padding(13, "constant", [4, 0, 0, 0], &[1, 1, 5, 2], None);
    let refusal = whole.refusal(Join::Concat { axis: 2, bounds: vec![0, 3, 9] }, 2);
    assert!(refusal.reason.contains("padding alone"), "{refusal}");
}

fn padded_sum(value: Option<f32>) -> Whole {
    let case =
        Case::new().input("x", &[1, 6, 7, 7]).weight("w", &[4, 6, 1, 1]).node("Conv", &["x", "w"], &["c"]);
    let case = case.integers("p", &[0, 0, 1, 1, 0, 0, 1, 1]);
    match value {
        Some(value) => case.stored("v", &floats(&[], &[value])).node("Pad", &["c", "p", "v"], &["y"]).done(),
        None => case.node("Pad", &["c", "p"], &["y"]).done(),
    }
}

#[test]
fn a_summand_is_padded_with_zero_alone() {
    padded_sum(None).agrees(Join::Sum, 2, 1);
    padded_sum(Some(0.0)).agrees(Join::Sum, 2, 1);
    assert!(padded_sum(Some(1.0)).refusal(Join::Sum, 2).reason.contains("no 0"));
}

#[test]
fn places_of_the_other_end_are_refused() {
    let whole = Case::new().version(19).input("x", &[5, 4]).integers("p", &[1, 0, 1, 0]);
    let whole = whole.node_with("Pad", &["x", "p"], &["y"], vec![text("mode", "wrap")]).done();
    let refusal = whole.refusal(whole.even(0, 2), 2);
    assert!(refusal.reason.contains("other end"), "{refusal}");
}
