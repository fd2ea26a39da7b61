//! Tiles, channels and batch of poolings, also where the last window hangs over.

use crate::harness::{Case, Whole, integers, is_filled, onnxruntime, text};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

#[derive(Clone, Debug)]
struct Shape {
    operator: &'static str,
    extents: [u64; 4],
    kernel: [i64; 2],
    strides: [i64; 2],
    pads: [i64; 4],
    ceil: bool,
    counts_padding: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let extents = (3_u64..5, 3_u64..6, 8_u64..20, 8_u64..14);
    let window = ((2_i64..4, 1_i64..4), (1_i64..4, 1_i64..3), prop::array::uniform4(0_i64..3));
    let operator = prop_oneof![Just("MaxPool"), Just("AveragePool")];
    (operator, extents, window, any::<bool>(), any::<bool>()).prop_map(
        |(operator, extents, (kernel, strides, pads), ceil, counts_padding)| Shape {
            operator,
            extents: [extents.0, extents.1, extents.2, extents.3],
            kernel: [kernel.0, kernel.1],
            strides: [strides.0, strides.1],
            // Engines want less padding than the window has places.
            pads: [0, 1, 2, 3].map(|place| pads[place].min([kernel.0, kernel.1][place % 2] - 1)),
            ceil,
            counts_padding,
        },
    )
}

fn pooling(shape: &Shape) -> Whole {
    let mut attributes = vec![
        integers("kernel_shape", &shape.kernel),
        integers("strides", &shape.strides),
        integers("pads", &shape.pads),
        integer("ceil_mode", shape.ceil.into()),
    ];
    if shape.operator == "AveragePool" {
        attributes.push(integer("count_include_pad", shape.counts_padding.into()));
    }
    Case::new()
        .input("x", &shape.extents)
        .node_with(shape.operator, &["x"], &["p"], attributes)
        .node("Tanh", &["p"], &["y"])
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn places_of_every_axis_make_the_whole(shape in shapes(), axis in 0_u32..4, parts in 2_usize..4) {
        let whole = pooling(&shape);
        let join = whole.even(axis, parts);
        prop_assume!(is_filled(&join));
        whole.agrees(join, parts, 1);
    }

    #[test]
    fn last_windows_hang_over(shape in shapes(), bound in 1_u64..5) {
        let shape = Shape { ceil: true, ..shape };
        let whole = pooling(&shape);
        let Join::Concat { bounds, .. } = whole.even(2, 1) else { unreachable!() };
        prop_assume!(bound < bounds[1]);
        // The last part makes the last place alone.
        whole.agrees(Join::Concat { axis: 2, bounds: vec![0, bounds[1] - bound, bounds[1]] }, 2, 1);
    }

    #[test]
    fn dilated_windows_make_the_whole(dilation in 1_i64..4, ceil in 0_i64..2, stride in 1_i64..4, parts in 2_usize..4) {
        let attributes = vec![
            integers("kernel_shape", &[3, 2]),
            integers("dilations", &[dilation, 1]),
            integers("strides", &[stride, 1]),
            integers("pads", &[2, 0, 1, 0]),
            integer("ceil_mode", ceil),
        ];
        let whole = Case::new().input("x", &[1, 2, 15, 5]).node_with("MaxPool", &["x"], &["y"], attributes).done();
        whole.agrees(whole.even(2, parts), parts, 1);
    }

    #[test]
    fn dilated_means_make_the_whole(
        dilation in 1_i64..4, ceil in 0_i64..2, counts in 0_i64..2, stride in 1_i64..4, parts in 2_usize..4,
    ) {
        let attributes = vec![
            integers("kernel_shape", &[3, 2]),
            integers("dilations", &[dilation, 1]),
            integers("strides", &[stride, 1]),
            integers("pads", &[2, 0, 1, 0]),
            integer("ceil_mode", ceil),
            integer("count_include_pad", counts),
        ];
        let case = Case::new().version(19).input("x", &[1, 2, 15, 5]);
        let whole = case.node_with("AveragePool", &["x"], &["y"], attributes).done();
        whole.agrees(whole.even(2, parts), parts, 1);
    }

    #[test]
    fn one_and_three_axes_make_the_whole(operator in prop::sample::select(&["MaxPool", "AveragePool"]), rank in prop::sample::select(&[1_usize, 3]), parts in 2_usize..4) {
        let attributes = vec![
            integers("kernel_shape", &vec![3; rank]),
            integers("strides", &vec![2; rank]),
            integers("pads", &vec![1; 2 * rank]),
        ];
        let extents: Vec<u64> = [1, 2, 11, 6, 5].into_iter().take(2 + rank).collect();
        let whole = Case::new().input("x", &extents).node_with(operator, &["x"], &["y"], attributes).done();
        whole.agrees(whole.even(2, parts), parts, 1);
    }

    // tract has no LpPool.
    #[test]
    fn norms_of_windows_make_the_whole(power in 1_i64..4, pad in 0_i64..3, stride in 1_i64..4, axis in 0_u32..4) {
        let attributes = vec![
            integers("kernel_shape", &[3, 3]),
            integers("strides", &[stride, 2]),
            integers("pads", &[pad, 1, 1, 0]),
            integer("p", power),
        ];
        let whole = Case::new().version(18).input("x", &[3, 3, 14, 9]).node_with("LpPool", &["x"], &["y"], attributes);
        let whole = whole.done();
        whole.agrees_on(&[onnxruntime()], whole.even(axis, 2), 2, 1);
    }
}

#[test]
fn a_summand_goes_through_a_mean() {
    let attributes = vec![integers("kernel_shape", &[3, 3]), integers("pads", &[1, 1, 1, 1])];
    let whole = Case::new()
        .input("x", &[1, 6, 7, 7])
        .weight("w", &[4, 6, 3, 3])
        .node("Conv", &["x", "w"], &["c"])
        .node_with("AveragePool", &["c"], &["y"], attributes)
        .done();
    whole.agrees(Join::Sum, 3, 1);
}

#[test]
fn places_of_the_largest_are_not_divided() {
    let whole = Case::new()
        .input("x", &[1, 2, 8, 8])
        .node_with("MaxPool", &["x"], &["m", "i"], vec![integers("kernel_shape", &[2, 2])])
        .node_with("Cast", &["i"], &["f"], vec![integer("to", 1)])
        .node("Add", &["m", "f"], &["y"])
        .done();
    let refusal = whole.refusal(whole.even(2, 2), 2);
    assert!(refusal.operator == "MaxPool" && refusal.reason.contains("first output"), "{refusal}");
}

#[test]
fn what_engines_read_differently_is_refused() {
    let attributes =
        vec![integers("kernel_shape", &[3, 3]), text("auto_pad", "SAME_UPPER"), integer("ceil_mode", 1)];
    let whole = Case::new().input("x", &[1, 2, 8, 8]).node_with("MaxPool", &["x"], &["y"], attributes).done();
    let refusal = whole.refusal(whole.even(2, 2), 2);
    assert!(refusal.reason.contains("ceil_mode"), "{refusal}");
}

#[test]
fn a_part_of_padding_alone_is_refused() {
    // Windows of the last place begin where padding does.
    let attributes =
        vec![integers("kernel_shape", &[2]), integers("pads", &[0, 1]), integers("strides", &[2])];
    let whole = Case::new().input("x", &[1, 1, 5]).node_with("MaxPool", &["x"], &["y"], attributes).done();
    whole.agrees(whole.even(2, 3), 3, 1);
    let attributes = vec![integers("kernel_shape", &[1]), integers("pads", &[1, 0])];
    let case = Case::new().input("x", &[1, 1, 5]).weight("w", &[1, 1, 1]);
    let whole = case.node_with("Conv", &["x", "w"], &["y"], attributes).done();
    let refusal = whole.refusal(Join::Concat { axis: 2, bounds: vec![0, 1, 6] }, 2);
    assert!(refusal.reason.contains("padding alone"), "{refusal}");
}
