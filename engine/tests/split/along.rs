//! Operators that work along one axis.

use crate::harness::{Case, Whole, indices};
use crate::support::{floats, integer};
use proptest::prelude::*;
use tranche_schema::{ElementType, Join};

fn case(operator: &str, axis: i64) -> Whole {
    let case = Case::new().input("x", &[3, 4, 5]);
    let along = vec![integer("axis", axis)];
    match operator {
        "CumSum" => case.stored("a", &indices(&[], &[axis])).node("CumSum", &["x", "a"], &["y"]).done(),
        "TopK" => {
            case.stored("k", &indices(&[1], &[2])).node_with("TopK", &["x", "k"], &["y", "i"], along).done()
        }
        _ => case.node_with(operator, &["x"], &["y"], along).output("y", ElementType::Int64),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn other_axes_pass(
        operator in prop_oneof![Just("CumSum"), Just("TopK"), Just("ArgMax"), Just("ArgMin")],
        axis in -3_i64..3,
        along in 0_u32..3,
    ) {
        let whole = case(operator, axis);
        if i64::from(along) == axis.rem_euclid(3) {
            // An extreme leaves a single place, which cannot be split.
            prop_assume!(!operator.starts_with("Arg"));
            let refusal = whole.refusal(Join::Concat { axis: along, bounds: vec![0, 1, 2] }, 2);
            prop_assert!(refusal.reason.contains("works along"), "{refusal}");
        } else {
            whole.agrees(whole.even(along, 2), 2, 1);
        }
    }

    #[test]
    fn axes_behind_one_that_is_gone_move_up(axis in 0_i64..3, along in 0_u32..2) {
        let attributes = vec![integer("axis", axis), integer("keepdims", 0)];
        let whole = Case::new().input("x", &[3, 4, 5]).node_with("ArgMax", &["x"], &["y"], attributes);
        let whole = whole.output("y", ElementType::Int64);
        whole.agrees(whole.even(along, 2), 2, 1);
    }

    #[test]
    fn indices_are_spread(axis in -3_i64..3, along in 0_u32..3) {
        let whole = Case::new()
            .given("x", indices(&[3, 4], &[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]))
            .stored("d", &indices(&[], &[5]))
            .stored("v", &floats(&[2], &[0.0, 1.0]))
            .node_with("OneHot", &["x", "d", "v"], &["y"], vec![integer("axis", axis)])
            .done();
        if i64::from(along) == axis.rem_euclid(3) {
            whole.refusal(whole.even(along, 2), 2);
        } else {
            whole.agrees(whole.even(along, 2), 2, 1);
        }
    }
}

#[test]
fn a_running_sum_is_linear() {
    let whole = Case::new()
        .input("x", &[4, 6])
        .weight("w", &[6, 3])
        .stored("a", &indices(&[], &[0]))
        .node("MatMul", &["x", "w"], &["p"])
        .node("CumSum", &["p", "a"], &["y"])
        .done();
    whole.agrees(Join::Sum, 2, 1);
}
