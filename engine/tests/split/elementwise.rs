//! Operators that work on each element by itself.

use crate::harness::Case;
use proptest::prelude::*;
use tranche_schema::Join;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn broadcast_inputs_are_followed(axis in 0_u32..3, parts in 2_usize..4, ones in prop::array::uniform3(any::<bool>())) {
        let extents = [3_u64, 4, 5];
        let small: Vec<u64> = extents.iter().zip(ones).map(|(&extent, one)| if one { 1 } else { extent }).collect();
        let whole = Case::new()
            .input("a", &extents)
            .input("b", &small)
            .weight("c", &[5])
            .node("Mul", &["a", "b"], &["p"])
            .node("Tanh", &["p"], &["t"])
            .node("Sub", &["t", "c"], &["y"])
            .done();
        whole.agrees(whole.even(axis, parts), parts, 1);
    }
}

#[test]
fn a_residual_is_added_once() {
    let whole = Case::new()
        .input("x", &[2, 6])
        .weight("w", &[6, 6])
        .node("MatMul", &["x", "w"], &["p"])
        .node("Add", &["x", "p"], &["y"])
        .done();
    whole.agrees(Join::Sum, 3, 1);
}
