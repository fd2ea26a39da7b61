//! Tiles of what is resized by whole numbers.

use crate::harness::{Case, Whole, integers, onnxruntime, reals, text};
use crate::support::floats;
use proptest::prelude::*;
use tranche_schema::Join;

#[derive(Clone, Copy, Debug)]
struct Shape {
    version: i64,
    mode: &'static str,
    mapping: &'static str,
    rounding: &'static str,
    factors: [u64; 2],
    by_sizes: bool,
}

const EXTENTS: [u64; 4] = [2, 3, 9, 7];

fn resized(shape: &Shape) -> Whole {
    let mut attributes =
        vec![text("mode", shape.mode), text("coordinate_transformation_mode", shape.mapping)];
    if shape.mode == "nearest" {
        attributes.push(text("nearest_mode", shape.rounding));
    }
    let case = Case::new().version(shape.version).input("x", &EXTENTS).node("Tanh", &["x"], &["t"]);
    let [height, width] = shape.factors;
    // From version 18 on, sizes may be of some axes only.
    let has_axes = shape.version >= 18;
    let from = if has_axes { 2 } else { 0 };
    if has_axes {
        attributes.push(integers("axes", &[2, 3]));
    }
    // The region and, beside sizes, the scales are left out from version 13 on, and empty before.
    let case = if shape.version < 13 { case.stored("none", &floats(&[0], &[])) } else { case };
    let none = if shape.version < 13 { "none" } else { "" };
    if shape.by_sizes {
        let sizes =
            [EXTENTS[0], EXTENTS[1], EXTENTS[2] * height, EXTENTS[3] * width].map(|extent| extent as i64);
        let case = case.integers("s", &sizes[from..]);
        return case.node_with("Resize", &["t", none, none, "s"], &["y"], attributes).done();
    }
    let scales = [1.0, 1.0, height as f32, width as f32];
    let case = case.stored("s", &floats(&[4 - from as u64], &scales[from..]));
    case.node_with("Resize", &["t", none, "s"], &["y"], attributes).done()
}

fn shapes() -> impl Strategy<Value = Shape> {
    let modes = prop::sample::select(&["nearest", "linear", "cubic"]);
    let mappings = prop::sample::select(&["half_pixel", "asymmetric", "pytorch_half_pixel"]);
    let roundings = prop::sample::select(&["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]);
    let versions = prop::sample::select(&[11_i64, 13, 18]);
    (versions, modes, mappings, roundings, [1_u64..5, 1_u64..4], any::<bool>()).prop_map(
        |(version, mode, mapping, rounding, factors, by_sizes)| Shape {
            version,
            mode,
            mapping,
            rounding,
            factors,
            by_sizes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn tiles_make_the_whole(shape in shapes(), axis in 0_u32..4, parts in 2_usize..5) {
        let whole = resized(&shape);
        let parts = parts.min(if axis < 2 { 2 } else { 7 });
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn every_bound_makes_the_whole(shape in shapes(), bound in 1_u64..18) {
        let whole = resized(&Shape { factors: [2, 2], ..shape });
        let join = Join::Concat { axis: 2, bounds: vec![0, bound, 18] };
        whole.agrees(join, 2, 1);
    }

    #[test]
    fn upsampling_makes_the_whole(version in prop::sample::select(&[7_i64, 9, 10]), mode in prop::sample::select(&["nearest", "linear"]), factor in 2_u64..4, parts in 2_usize..4) {
        let scales = [1.0, 1.0, factor as f32, 2.0];
        let case = Case::new().version(version).input("x", &EXTENTS).node("Tanh", &["x"], &["t"]);
        let mode = text("mode", mode);
        let whole = match version {
            7 => case.node_with("Upsample", &["t"], &["y"], vec![mode, reals("scales", &scales)]),
            9 => case.stored("s", &floats(&[4], &scales)).node_with("Upsample", &["t", "s"], &["y"], vec![mode]),
            _ => case.stored("s", &floats(&[4], &scales)).node_with("Resize", &["t", "s"], &["y"], vec![mode]),
        };
        let whole = whole.done();
        // tract has no Upsample, and gives other numbers for Resize before version 11.
        whole.agrees_on(&[onnxruntime()], whole.even(2, parts), parts, 1);
    }
}

const NEAREST: Shape = Shape {
    version: 13,
    mode: "nearest",
    mapping: "asymmetric",
    rounding: "floor",
    factors: [2, 2],
    by_sizes: false,
};

#[test]
fn copies_need_no_halo() {
    let whole = resized(&NEAREST);
    let division = whole.agrees(Join::Concat { axis: 2, bounds: vec![0, 8, 18] }, 2, 1);
    let read: Vec<u64> = division
        .parts
        .iter()
        .flat_map(|part| part.pieces.values().map(|need| need.shape(&EXTENTS)[2]))
        .collect();
    assert_eq!(read, [4, 5]);
}

#[test]
fn other_scales_are_refused() {
    let case = Case::new().input("x", &EXTENTS).stored("s", &floats(&[4], &[1.0, 1.0, 1.5, 2.0]));
    let whole = case.node("Resize", &["x", "", "s"], &["y"]).done();
    assert!(whole.refusal(whole.even(2, 2), 2).reason.contains("whole number"));
    let whole = resized(&Shape { mode: "linear", mapping: "align_corners", ..NEAREST });
    assert!(whole.refusal(whole.even(2, 2), 2).reason.contains("align_corners"));
    // Its channels pass all the same.
    whole.agrees(whole.even(1, 3), 3, 1);
}
