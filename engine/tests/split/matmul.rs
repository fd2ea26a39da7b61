//! Rows, columns, leading axes and summands of matrix products.

use crate::harness::{Case, Whole};
use proptest::prelude::*;
use tranche_graph::NodeId;
use tranche_schema::Join;

fn product(batch: u64, rows: u64, inner: u64, columns: u64) -> Whole {
    Case::new()
        .input("x", &[batch, rows, inner])
        .weight("w", &[inner, columns])
        .weight("b", &[columns])
        .node("MatMul", &["x", "w"], &["p"])
        .node("Add", &["p", "b"], &["y"])
        .done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn places_of_every_axis_make_the_whole(
        extents in (4_u64..7, 4_u64..9, 1_u64..9, 4_u64..9), axis in 0_u32..3, parts in 2_usize..5,
    ) {
        let whole = product(extents.0, extents.1, extents.2, extents.3);
        whole.agrees(whole.even(axis, parts), parts, 1);
    }

    #[test]
    fn columns_then_rows_pass_nothing_between_parts(inner in 4_u64..20, parts in 2_usize..5) {
        let whole = Case::new()
            .input("x", &[2, 3, 5])
            .weight("v", &[5, inner])
            .weight("c", &[inner])
            .weight("w", &[inner, 6])
            .weight("b", &[6])
            .node("MatMul", &["x", "v"], &["h"])
            .node("Add", &["h", "c"], &["k"])
            .node("Relu", &["k"], &["r"])
            .node("MatMul", &["r", "w"], &["p"])
            .node("Add", &["p", "b"], &["y"])
            .done();
        let division = whole.agrees(Join::Sum, parts, 1);
        let is_shared = |node: u32| division.parts.iter().all(|part| part.shares[&NodeId(node)] < 1.0);
        prop_assert!(is_shared(0) && is_shared(3), "each product");
    }
}

#[test]
fn a_part_holds_its_columns_alone() {
    let whole = product(1, 4, 16, 12);
    let division = whole.agrees(whole.even(2, 3), 3, 1);
    for part in &division.parts {
        assert!(
            part.weights.iter().all(|(_, need)| need.shape(&[16, 12])[1] == 4 || need.shape(&[12])[0] == 4)
        );
    }
}
