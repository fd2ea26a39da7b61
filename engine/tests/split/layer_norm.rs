//! Normalisation over the last axes.

use crate::harness::{Case, Whole, real};
use crate::support::integer;
use proptest::prelude::*;

fn normalised(axis: i64, outputs: &[&str]) -> Whole {
    let worked = axis.rem_euclid(3) as usize;
    let extents = [4, 5, 6];
    Case::new()
        .input("x", &extents)
        .weight("g", &extents[worked..])
        .weight("b", &extents[worked..])
        .node("Neg", &["x"], &["n"])
        .node_with(
            "LayerNormalization",
            &["n", "g", "b"],
            outputs,
            vec![integer("axis", axis), real("epsilon", 1e-5)],
        )
        .done()
}

/// A kin of it, of ONNX Runtime's own set or the standard one.
fn contributed(operator: &str, domain: &str, version: i64, inputs: &[&str]) -> Whole {
    let case = Case::new().version(version).input("x", &[3, 4, 6]).input("s", &[3, 4, 6]);
    let case = case.weight("g", &[6]).weight("b", &[6]);
    let case = case.node_with(operator, inputs, &["y"], vec![real("epsilon", 1e-5)]);
    match domain {
        "" => case.done(),
        domain => case.in_domain(domain).done(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn axes_before_those_normalised_pass(axis in -2_i64..3, along in 0_u32..3, parts in 2_usize..4) {
        let whole = normalised(axis, &["y"]);
        if i64::from(along) < axis.rem_euclid(3) {
            whole.agrees(whole.even(along, parts), parts, 1);
        } else {
            let refusal = whole.refusal(whole.even(along, parts), parts);
            prop_assert!(refusal.reason.contains("normalised"), "{refusal}");
        }
    }

    #[test]
    fn kin_pass_the_same_axes(along in 0_u32..2, parts in 2_usize..4) {
        for whole in [
            contributed("SkipLayerNormalization", "com.microsoft", 17, &["x", "s", "g", "b"]),
            contributed("SkipSimplifiedLayerNormalization", "com.microsoft", 17, &["x", "s", "g"]),
            contributed("SimplifiedLayerNormalization", "", 17, &["x", "g"]),
            contributed("RMSNormalization", "", 23, &["x", "g"]),
        ] {
            whole.agrees(whole.even(along, parts), parts, 1);
        }
    }
}

#[test]
fn the_mean_goes_with_it() {
    let whole = Case::new()
        .input("x", &[4, 5, 6])
        .weight("g", &[6])
        .node_with("LayerNormalization", &["x", "g"], &["n", "m", "d"], vec![])
        .node("Mul", &["n", "m"], &["p"])
        .node("Add", &["p", "d"], &["y"])
        .done();
    whole.agrees(whole.even(1, 3), 3, 1);
}
