//! Normalisations by channel.

use crate::harness::{Case, Whole, real};
use crate::support::{floats, integer};
use proptest::prelude::*;
use tranche_schema::Join;

fn batch_normalization(version: i64, extents: &[u64]) -> Whole {
    let channels = extents[1];
    let variance: Vec<f32> = (0..channels).map(|channel| 0.5 + channel as f32 / 3.0).collect();
    let case =
        Case::new().version(version).input("x", extents).weight("s", &[channels]).weight("b", &[channels]);
    case.weight("m", &[channels])
        .stored("v", &floats(&[channels], &variance))
        .node_with("BatchNormalization", &["x", "s", "b", "m", "v"], &["n"], vec![real("epsilon", 1e-3)])
        .node("Relu", &["n"], &["y"])
        .done()
}

fn group_normalization(version: i64, groups: u64, channels: u64) -> Whole {
    // One element of scale and bias for each group before version 21.
    let elements = if version < 21 { groups } else { channels };
    let attributes = vec![integer("num_groups", groups as i64)];
    let case = Case::new().version(version).input("x", &[2, channels, 4, 3]);
    case.weight("s", &[elements])
        .weight("b", &[elements])
        .node_with("GroupNormalization", &["x", "s", "b"], &["y"], attributes)
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn batch_normalization_passes_every_axis(
        extents in prop::collection::vec(3_u64..7, 2..5), version in prop::sample::select(&[9_i64, 14, 15]),
        axis in 0_usize..4, parts in 2_usize..4,
    ) {
        let whole = batch_normalization(version, &extents);
        let axis = axis % extents.len();
        let division = whole.agrees(whole.even(axis as u32, parts), parts, 1);
        if axis == 1 {
            prop_assert!(division.parts.iter().all(|part| part.weights.len() == 4));
            let mut weights = division.parts.iter().flat_map(|part| &part.weights);
            prop_assert!(weights.all(|(_, need)| need.shape(&[extents[1]])[0] < extents[1]));
        }
    }

    #[test]
    fn groups_pass(version in prop::sample::select(&[18_i64, 21]), groups in 2_u64..5, each in 1_u64..4, axis in 0_u32..2) {
        let whole = group_normalization(version, groups, groups * each);
        let bounds = if axis == 0 { vec![0, 1, 2] } else { vec![0, each, groups * each] };
        whole.agrees(Join::Concat { axis, bounds }, 2, 1);
    }

    #[test]
    fn space_passes_a_local_response(size in prop::sample::select(&[1_i64, 3, 5]), axis in prop::sample::select(&[0_u32, 2, 3]), parts in 2_usize..4) {
        let attributes = vec![integer("size", size), real("alpha", 0.1), real("beta", 0.75), real("bias", 1.5)];
        let whole = Case::new().input("x", &[3, 6, 5, 4]).node_with("LRN", &["x"], &["y"], attributes).done();
        whole.agrees(whole.even(axis, parts), parts, 1);
    }
}

fn instance_normalization() -> Whole {
    let case = Case::new().input("x", &[3, 6, 5, 4]).weight("s", &[6]).weight("b", &[6]);
    case.node("InstanceNormalization", &["x", "s", "b"], &["y"]).done()
}

#[test]
fn channels_and_batch_pass_a_normalization_of_instances() {
    for axis in [0, 1] {
        let whole = instance_normalization();
        whole.agrees(whole.even(axis, 3), 3, 1);
    }
}

#[test]
fn statistics_are_not_divided() {
    let whole = instance_normalization();
    assert!(whole.refusal(whole.even(2, 2), 2).reason.contains("over all places"));
    let whole = group_normalization(18, 2, 4);
    assert!(whole.refusal(whole.even(3, 2), 2).reason.contains("over all places"));
    let refusal = whole.refusal(Join::Concat { axis: 1, bounds: vec![0, 1, 4] }, 2);
    assert_eq!(refusal.grain, Some(2), "{refusal}");
    let whole = Case::new()
        .input("x", &[1, 6, 5, 4])
        .node_with("LRN", &["x"], &["y"], vec![integer("size", 3)])
        .done();
    assert!(whole.refusal(whole.even(1, 2), 2).reason.contains("beside it"));
}

#[test]
fn a_whole_sum_is_normalised() {
    let case =
        Case::new().input("x", &[1, 6, 5, 4]).weight("w", &[2, 6, 1, 1]).weight("s", &[2]).weight("b", &[2]);
    let case =
        case.weight("m", &[2]).stored("v", &floats(&[2], &[1.0, 2.0])).node("Conv", &["x", "w"], &["c"]);
    let whole = case.node("BatchNormalization", &["c", "s", "b", "m", "v"], &["y"]).done();
    assert!(whole.refusal(Join::Sum, 2).reason.contains("not linear"));
}
