//! Transposed tensors.

use crate::harness::{Case, integers};
use proptest::prelude::*;
use tranche_schema::Join;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn axes_are_followed(order in Just(vec![0_i64, 1, 2, 3]).prop_shuffle(), axis in 0_u32..4, parts in 2_usize..4) {
        let whole = Case::new()
            .input("x", &[3, 4, 5, 6])
            .weight("w", &[6])
            .node("Mul", &["x", "w"], &["m"])
            .node_with("Transpose", &["m"], &["y"], vec![integers("perm", &order)])
            .done();
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn axes_are_in_reverse_by_default(axis in 0_u32..3) {
        let whole = Case::new().input("x", &[3, 4, 5]).node("Transpose", &["x"], &["y"]).done();
        whole.agrees(whole.even(axis, 2), 2, 1);
    }
}

#[test]
fn a_summand_passes() {
    let whole = Case::new()
        .input("x", &[2, 6])
        .weight("w", &[6, 4])
        .node("MatMul", &["x", "w"], &["p"])
        .node("Transpose", &["p"], &["y"])
        .done();
    whole.agrees(Join::Sum, 3, 1);
}
