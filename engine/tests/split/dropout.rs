//! Dropouts that do nothing.

use crate::harness::{Case, Whole, real};
use crate::support::floats;
use proptest::prelude::*;
use tranche_schema::{ElementType, Join, Tensor};

/// The ratio is an attribute before version 12.
fn dropout(version: i64, training: Option<u8>) -> Whole {
    let case = Case::new().version(version).input("x", &[4, 6]).weight("w", &[6, 5]).node(
        "MatMul",
        &["x", "w"],
        &["p"],
    );
    if version < 12 {
        return case.node_with("Dropout", &["p"], &["y"], vec![real("ratio", 0.3)]).done();
    }
    let case = case.stored("ratio", &floats(&[], &[0.3]));
    match training {
        Some(training) => {
            let flag = Tensor::new(ElementType::Bool, vec![], vec![training].into()).unwrap();
            case.stored("training", &flag).node("Dropout", &["p", "ratio", "training"], &["y"]).done()
        }
        None => case.node("Dropout", &["p", "ratio"], &["y"]).done(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn nothing_is_dropped(
        version in prop::sample::select(&[9_i64, 13]), says in any::<bool>(), axis in 0_u32..2, parts in 2_usize..4,
    ) {
        let whole = dropout(version, says.then_some(0));
        whole.agrees(whole.even(axis, parts), parts, 1);
        whole.agrees(Join::Sum, parts, 1);
    }
}

#[test]
fn chance_is_refused() {
    let whole = dropout(13, Some(1));
    assert!(whole.refusal(whole.even(0, 2), 2).reason.contains("by chance"));
}
