//! Tiles, channels and summands of transposed convolutions.

use crate::harness::{Case, Whole, integers, is_filled, onnxruntime, text};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

#[derive(Clone, Debug)]
struct Shape {
    batch: u64,
    groups: u64,
    channels: u64,
    filters: u64,
    extents: [u64; 2],
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    pads: [i64; 4],
    more: [i64; 2],
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (1_u64..3, 1_u64..3, 1_u64..4, 1_u64..4, [5_u64..12, 4_u64..7]);
    let window = ([1_i64..5, 1_i64..4], [1_i64..5, 1_i64..3], [1_i64..3, 1_i64..3]);
    let pads = (prop::array::uniform4(0_i64..2), [0_i64..3, 0_i64..2]);
    (sizes, window, pads).prop_map(|(sizes, (kernel, strides, dilations), (pads, more))| Shape {
        batch: sizes.0,
        groups: sizes.1,
        channels: sizes.2,
        filters: sizes.3,
        extents: sizes.4,
        kernel,
        strides,
        dilations,
        pads,
        // ONNX: less than the stride.
        more: [more[0].min(strides[0] - 1), more[1].min(strides[1] - 1)],
    })
}

fn deconvolution(shape: &Shape, form: Vec<tranche_graph::onnx::AttributeProto>) -> Whole {
    let mut attributes = vec![
        integer("group", shape.groups as i64),
        integers("strides", &shape.strides),
        integers("dilations", &shape.dilations),
    ];
    attributes.extend(form);
    let [kernel_height, kernel_width] = shape.kernel.map(|extent| extent as u64);
    let inputs = shape.groups * shape.channels;
    Case::new()
        .input("x", &[shape.batch, inputs, shape.extents[0], shape.extents[1]])
        .weight("w", &[inputs, shape.filters, kernel_height, kernel_width])
        .weight("b", &[shape.groups * shape.filters])
        .node_with("ConvTranspose", &["x", "w", "b"], &["y"], attributes)
        .done()
}

fn plain(shape: &Shape) -> Whole {
    deconvolution(shape, vec![integers("pads", &shape.pads), integers("output_padding", &shape.more)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn tiles_make_the_whole(shape in shapes(), axis in 2_u32..4, parts in 2_usize..5) {
        let whole = plain(&shape);
        let join = whole.even(axis, parts);
        prop_assume!(is_filled(&join));
        match whole.divide(join.clone(), parts, 1) {
            Ok(_) => { whole.agrees(join, parts, 1); }
            // Small tiles between the places that a stride leaves, or beyond all.
            Err(refusal) => prop_assert!(refusal.reason.contains("no place of its input"), "{refusal}"),
        }
    }

    #[test]
    fn single_rows_make_the_whole(shape in shapes()) {
        let shape = Shape { kernel: [shape.kernel[0].max(shape.strides[0]), shape.kernel[1]], dilations: [1, 1], more: [0, 0], ..shape };
        let whole = plain(&shape);
        let Join::Concat { bounds, .. } = whole.even(2, 1) else { unreachable!() };
        let join = Join::Concat { axis: 2, bounds: (0..=bounds[1]).collect() };
        whole.agrees(join, bounds[1] as usize, 1);
    }

    #[test]
    fn channels_make_the_whole(shape in shapes(), groups in 1_u64..4) {
        let shape = Shape { groups, filters: 4, ..shape };
        let whole = plain(&shape);
        let parts = if groups == 1 { 3 } else { groups as usize };
        let division = whole.agrees(whole.even(1, parts), parts, 1);
        prop_assert!(division.parts.iter().all(|part| part.weights.len() == 2));
    }

    #[test]
    fn batch_and_summands_make_the_whole(shape in shapes()) {
        let shape = Shape { batch: 2, groups: 1, channels: 3, ..shape };
        let whole = plain(&shape);
        whole.agrees(whole.even(0, 2), 2, 1);
        whole.agrees(Join::Sum, 3, 1);
    }

    #[test]
    fn paddings_that_follow_from_the_extent(shape in shapes(), parts in 2_usize..4) {
        let shape = Shape { strides: [2, 2], dilations: [1, 1], kernel: [4, 4], more: [0, 0], ..shape };
        for form in [vec![text("auto_pad", "VALID")], vec![text("auto_pad", "SAME_UPPER")]] {
            let whole = deconvolution(&shape, form);
            whole.agrees(whole.even(2, parts), parts, 1);
        }
        let doubled = shape.extents.map(|extent| 2 * extent as i64);
        let whole = deconvolution(&shape, vec![integers("output_shape", &doubled)]);
        // tract gives other numbers for the whole.
        whole.agrees_on(&[onnxruntime()], whole.even(2, parts), parts, 1);
    }
}

#[test]
fn one_and_three_axes_make_the_whole() {
    for rank in [1_usize, 3] {
        let extents: Vec<u64> = [1, 2, 5, 4, 3].into_iter().take(2 + rank).collect();
        let window: Vec<u64> = [2, 3].into_iter().chain(vec![3; rank]).collect();
        let attributes = vec![integers("strides", &vec![2; rank]), integers("pads", &vec![1; 2 * rank])];
        let case = Case::new().input("x", &extents).weight("w", &window);
        let whole = case.node_with("ConvTranspose", &["x", "w"], &["y"], attributes).done();
        whole.agrees(whole.even(2, 3), 3, 1);
    }
}

fn shape() -> Shape {
    Shape {
        batch: 1,
        groups: 2,
        channels: 2,
        filters: 2,
        extents: [4, 4],
        kernel: [3, 3],
        strides: [2, 2],
        dilations: [1, 1],
        pads: [0; 4],
        more: [0; 2],
    }
}

#[test]
fn channels_of_a_group_stay_together() {
    let refusal = plain(&shape()).refusal(Join::Concat { axis: 1, bounds: vec![0, 1, 4] }, 2);
    assert_eq!(refusal.grain, Some(2), "{refusal}");
    assert!(plain(&shape()).refusal(Join::Sum, 2).reason.contains("no channel in common"));
}

#[test]
fn uneven_paddings_that_follow_from_the_extent_are_refused() {
    let whole = deconvolution(&shape(), vec![text("auto_pad", "SAME_UPPER")]);
    let refusal = whole.refusal(whole.even(2, 2), 2);
    assert!(refusal.reason.contains("uneven"), "{refusal}");
}
