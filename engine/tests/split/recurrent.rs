//! Recurrent layers by batch and by direction.

use crate::harness::{Case, Whole, bounds, indices, text};
use crate::support::integer;
use proptest::prelude::*;
use tranche_schema::{ElementType, Tensor};

const GATES: [(&str, u64); 3] = [("LSTM", 4), ("GRU", 3), ("RNN", 1)];

/// Three steps, a batch of 4, 5 features, 6 hidden units; `outputs` of it.
fn layer(kind: usize, direction: &str, with_states: bool) -> Case {
    let (operator, gates) = GATES[kind];
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let mut inputs = vec!["x", "w", "r", "b"];
    let mut case = Case::new()
        .input("x", &[3, 4, 5])
        .weight("w", &[directions, gates * 6, 5])
        .weight("r", &[directions, gates * 6, 6])
        .weight("b", &[directions, 2 * gates * 6]);
    if with_states {
        inputs.extend(["", "h"]);
        case = case.input("h", &[directions, 4, 6]);
        if operator == "LSTM" {
            inputs.push("c");
            case = case.input("c", &[directions, 4, 6]);
        }
    }
    let attributes = vec![integer("hidden_size", 6), text("direction", direction)];
    case.node_with(operator, &inputs, &["n", "last"], attributes)
}

fn sequence(kind: usize, direction: &str, with_states: bool) -> Whole {
    layer(kind, direction, with_states).node("Relu", &["n"], &["y"]).done()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn the_batch_passes(
        kind in 0_usize..3,
        direction in prop_oneof![Just("forward"), Just("reverse"), Just("bidirectional")],
        with_states: bool,
        parts in 2_usize..5,
    ) {
        let whole = sequence(kind, direction, with_states);
        whole.agrees(whole.even(2, parts), parts, 1);
    }

    #[test]
    fn directions_pass(kind in 0_usize..3, with_states: bool) {
        let whole = sequence(kind, "bidirectional", with_states);
        let division = whole.agrees(whole.even(1, 2), 2, 1);
        prop_assert!(division.parts.iter().all(|part| part.weights.iter().all(|(_, need)| need.shape(&[2])[0] == 1)));
    }
}

#[test]
fn the_last_state_goes_with_the_sequence() {
    let whole = layer(0, "forward", true).node("Add", &["n", "last"], &["y"]).done();
    whole.agrees(whole.even(2, 2), 2, 1);
}

/// Sequences with lengths of their own: ONNX Runtime alone.
#[test]
fn shorter_sequences_end_before() {
    for (operator, gates) in GATES {
        let lengths: Vec<u8> = [3_i32, 1, 2, 3].iter().flat_map(|value| value.to_le_bytes()).collect();
        let whole = Case::new()
            .input("x", &[3, 4, 5])
            .weight("w", &[2, gates * 6, 5])
            .weight("r", &[2, gates * 6, 6])
            .given("lengths", Tensor::new(ElementType::Int32, vec![4], lengths.into()).unwrap())
            .node_with(
                operator,
                &["x", "w", "r", "", "lengths"],
                &["y"],
                vec![integer("hidden_size", 6), text("direction", "bidirectional")],
            )
            .done();
        whole.agrees_on_onnxruntime(whole.even(1, 2), 2, 1);
        whole.agrees_on_onnxruntime(whole.even(2, 3), 3, 1);
    }
}

#[test]
fn last_states_of_each_direction() {
    for (operator, gates) in GATES {
        let whole = Case::new()
            .input("x", &[3, 4, 5])
            .weight("w", &[2, gates * 6, 5])
            .weight("r", &[2, gates * 6, 6])
            .node_with(
                operator,
                &["x", "w", "r"],
                &["", "y"],
                vec![integer("hidden_size", 6), text("direction", "bidirectional")],
            )
            .done();
        whole.agrees(whole.even(0, 2), 2, 1);
        whole.agrees(whole.even(1, 2), 2, 1);
    }
}

#[test]
fn directions_side_by_side_are_split() {
    let whole = layer(1, "bidirectional", false)
        .stored("s", &indices(&[3], &[0, 0, 12]))
        .node_with("Transpose", &["n"], &["t"], vec![crate::harness::integers("perm", &[0, 2, 1, 3])])
        .node("Reshape", &["t", "s"], &["y"])
        .output("y", ElementType::Float32);
    whole.agrees(bounds(2, &[0, 6, 12]), 2, 1);
}

#[test]
fn units_and_steps_are_not_split() {
    let whole = sequence(0, "forward", false);
    let units = whole.refusal(whole.even(3, 2), 2);
    assert!(units.reason.contains("every hidden unit"), "{units}");
    let steps = whole.refusal(whole.even(0, 2), 2);
    assert!(steps.reason.contains("waits for the one before"), "{steps}");
}
