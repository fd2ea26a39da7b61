//! Rows that are normalised together.

use crate::harness::{Case, Whole};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::Join;

fn normalised(operator: &str, version: i64, axis: i64) -> Whole {
    Case::new()
        .version(version)
        .input("x", &[3, 4, 5])
        .node("Neg", &["x"], &["n"])
        .node_with(operator, &["n"], &["y"], vec![integer("axis", axis)])
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn axes_across_the_rows_pass(
        operator in prop_oneof![Just("Softmax"), Just("LogSoftmax"), Just("Hardmax")],
        version in prop_oneof![Just(11_i64), Just(17)],
        axis in -3_i64..3,
        along in 0_u32..3,
        parts in 2_usize..4,
    ) {
        let whole = normalised(operator, version, axis);
        let worked = axis.rem_euclid(3) as u32;
        if along == worked || (version < 13 && along > worked) {
            let refusal = whole.refusal(whole.even(along, parts), parts);
            prop_assert!(refusal.reason.contains("normalised"), "{refusal}");
        } else {
            whole.agrees(whole.even(along, parts), parts, 1);
        }
    }
}

#[test]
fn a_summand_does_not_pass() {
    let refusal = normalised("Softmax", 17, -1).refusal(Join::Sum, 2);
    assert!(refusal.reason.contains("not linear"), "{refusal}");
}
