//! Tiles, channels and summands of convolutions.

use crate::harness::{Case, Whole, integers, is_filled, text};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

#[derive(Clone, Debug)]
struct Shape {
    batch: u64,
    groups: u64,
    channels: u64,
    filters: u64,
    height: u64,
    width: u64,
    kernel: (i64, i64),
    strides: (i64, i64),
    dilations: (i64, i64),
    pads: (i64, i64, i64, i64),
    automatic: Option<&'static str>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (1_u64..3, 1_u64..4, 1_u64..4, 1_u64..4, 8_u64..24, 8_u64..14);
    let window = ((1_i64..5, 1_i64..4), (1_i64..4, 1_i64..3), (1_i64..3, 1_i64..3));
    let pads = (0_i64..3, 0_i64..3, 0_i64..3, 0_i64..3);
    let automatic =
        prop_oneof![Just(None), Just(Some("SAME_UPPER")), Just(Some("SAME_LOWER")), Just(Some("VALID"))];
    (sizes, window, pads, automatic).prop_map(|(sizes, (kernel, strides, dilations), pads, automatic)| {
        Shape {
            batch: sizes.0,
            groups: sizes.1,
            channels: sizes.2,
            filters: sizes.3,
            height: sizes.4,
            width: sizes.5,
            kernel,
            strides,
            // tract and ONNX Runtime read SAME with dilation differently.
            dilations: if automatic.is_some() { (1, 1) } else { dilations },
            pads,
            automatic,
        }
    })
}

fn convolution(shape: &Shape) -> Whole {
    let mut attributes = vec![
        integer("group", shape.groups as i64),
        integers("strides", &[shape.strides.0, shape.strides.1]),
        integers("dilations", &[shape.dilations.0, shape.dilations.1]),
    ];
    match shape.automatic {
        Some(automatic) => attributes.push(text("auto_pad", automatic)),
        None => attributes.push(integers("pads", &[shape.pads.0, shape.pads.1, shape.pads.2, shape.pads.3])),
    }
    let (kernel_height, kernel_width) = (shape.kernel.0 as u64, shape.kernel.1 as u64);
    Case::new()
        .input("x", &[shape.batch, shape.groups * shape.channels, shape.height, shape.width])
        .weight("w", &[shape.groups * shape.filters, shape.channels, kernel_height, kernel_width])
        .weight("b", &[shape.groups * shape.filters])
        .node_with("Conv", &["x", "w", "b"], &["c"], attributes)
        .node("Relu", &["c"], &["y"])
        .done()
}

/// Agrees, or has a part that no place of the input is part of.
fn agrees_or_is_padding(whole: &Whole, join: Join, parts: usize) {
    match whole.divide(join.clone(), parts, 1) {
        Ok(_) => {
            whole.agrees(join, parts, 1);
        }
        Err(refusal) => assert!(refusal.reason.contains("padding alone"), "{refusal}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tiles_of_height_and_width_make_the_whole(shape in shapes(), axis in 2_u32..4, parts in 2_usize..4) {
        let whole = convolution(&shape);
        let join = whole.even(axis, parts);
        prop_assume!(is_filled(&join));
        agrees_or_is_padding(&whole, join, parts);
    }

    #[test]
    fn channels_make_the_whole(shape in shapes(), parts in 2_usize..4) {
        let shape = Shape { filters: 4, groups: if shape.groups == 1 { 1 } else { parts as u64 }, ..shape };
        let whole = convolution(&shape);
        let division = whole.agrees(whole.even(1, parts), parts, 1);
        prop_assert!(division.parts.iter().all(|part| part.weights.len() == 2));
    }

    #[test]
    fn uneven_tiles_make_the_whole(shape in shapes(), bound in 1_u64..7) {
        let whole = convolution(&shape);
        let Join::Concat { bounds, .. } = whole.even(2, 1) else { unreachable!() };
        let bounds = vec![0, bound.min(bounds[1] - 1), bounds[1]];
        let join = Join::Concat { axis: 2, bounds };
        prop_assume!(is_filled(&join));
        agrees_or_is_padding(&whole, join, 2);
    }
}

fn pair(last: &str) -> Whole {
    let case = Case::new().input("x", &[1, 3, 9, 9]).weight("v", &[8, 3, 3, 3]).weight("w", &[4, 8, 1, 1]);
    let case = case.weight("b", &[4]).node("Conv", &["x", "v"], &["a"]).node("Relu", &["a"], &["r"]);
    match last {
        "sum" => case.node("Conv", &["r", "w", "b"], &["y"]).done(),
        _ => case.node("Conv", &["r", "w", "b"], &["c"]).node("Relu", &["c"], &["y"]).done(),
    }
}

#[test]
fn summands_of_input_channels_make_the_whole() {
    let division = pair("sum").agrees(Join::Sum, 3, 1);
    // Each part holds its filters of the first and its channels of the second.
    assert!(division.parts.iter().all(|part| {
        part.weights.iter().filter(|(_, need)| *need != tranche_graph::split::Need::Whole).count() >= 2
    }));
}

#[test]
fn a_summand_does_not_pass_what_is_not_linear() {
    let refusal = pair("relu").refusal(Join::Sum, 2);
    assert_eq!((refusal.node.as_str(), refusal.operator.as_str()), ("y", "Relu"));
    assert!(refusal.reason.contains("not linear"), "{refusal}");
}

#[test]
fn channels_of_a_group_stay_together() {
    let whole = Case::new()
        .input("x", &[1, 4, 5, 5])
        .weight("w", &[4, 2, 3, 3])
        .node_with("Conv", &["x", "w"], &["y"], vec![integer("group", 2)])
        .done();
    let refusal = whole.refusal(Join::Concat { axis: 1, bounds: vec![0, 1, 4] }, 2);
    assert_eq!(refusal.grain, Some(2), "{refusal}");
}
