//! Blocks of places that are channels.

use crate::harness::{Case, text};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn blocks_make_the_whole(
        block in 2_u64..4, mode in prop::sample::select(&["DCR", "CRD"]), channels in 2_u64..4,
        axis in 0_u32..4, parts in 2_usize..4,
    ) {
        let whole = Case::new()
            .input("x", &[2, channels * block * block, 4, 3])
            .node("Tanh", &["x"], &["t"])
            .node_with("DepthToSpace", &["t"], &["y"], vec![integer("blocksize", block as i64), text("mode", mode)])
            .done();
        let parts = if axis < 2 { 2 } else { parts };
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn channels_of_blocks_make_the_whole(block in 2_u64..4, axis in prop::sample::select(&[0_u32, 2, 3]), bound in 1_u64..3) {
        let whole = Case::new()
            .input("x", &[3, 2, 3 * block, 4 * block])
            .node("Tanh", &["x"], &["t"])
            .node_with("SpaceToDepth", &["t"], &["y"], vec![integer("blocksize", block as i64)])
            .done();
        let Join::Concat { bounds, .. } = whole.even(axis, 1) else { unreachable!() };
        whole.agrees(Join::Concat { axis, bounds: vec![0, bound, bounds[1]] }, 2, 1);
    }
}

#[test]
fn channels_of_every_place_are_refused() {
    let whole = Case::new()
        .input("x", &[1, 2, 4, 4])
        .node_with("SpaceToDepth", &["x"], &["y"], vec![integer("blocksize", 2)])
        .done();
    let refusal = whole.refusal(whole.even(1, 2), 2);
    assert!(refusal.reason.contains("whole image"), "{refusal}");
}

#[test]
fn summands_are_turned_into_blocks() {
    let whole = Case::new()
        .input("x", &[1, 6, 3, 3])
        .weight("w", &[8, 6, 1, 1])
        .node("Conv", &["x", "w"], &["c"])
        .node_with("DepthToSpace", &["c"], &["y"], vec![integer("blocksize", 2)])
        .done();
    whole.agrees(Join::Sum, 3, 1);
}
