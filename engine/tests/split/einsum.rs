//! Sums over letters.

use crate::harness::{Case, Whole, text};
use proptest::prelude::*;
use tranche_schema::Join;

fn product(equation: &str, right: &[u64]) -> Whole {
    Case::new()
        .input("x", &[3, 4, 6])
        .weight("w", right)
        .node_with("Einsum", &["x", "w"], &["y"], vec![text("equation", equation)])
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn places_and_summands_make_the_whole(
        (equation, right) in prop_oneof![
            Just(("bsi, iho -> bsho", vec![6_u64, 3, 5])),
            Just(("bsi,bti->bst", vec![3, 5, 6])),
            Just(("bsi,io->obs", vec![6, 4])),
        ],
        axis in 0_u32..3,
        parts in 2_usize..4,
    ) {
        let whole = product(equation, &right);
        whole.agrees(whole.even(axis, parts), parts, 1);
        whole.agrees(Join::Sum, parts, 2);
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let whole = product("...i,io->...o", &[6, 4]);
    let refusal = whole.refusal(whole.even(1, 2), 2);
    assert!(refusal.reason.contains("ellipsis"), "{refusal}");
}
