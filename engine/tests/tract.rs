//! tract through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::behaviour;
use support::*;
use tranche_engine::{Engine, LoadOptions, TractEngine};
use tranche_schema::ElementType;

macro_rules! behaves {
    ($($law:ident),* $(,)?) => {
        $(#[test] fn $law() { behaviour::$law(&TractEngine::new()); })*
    };
}

behaves! {
    inputs_and_outputs_are_in_the_callers_order,
    caller_buffers_are_written_in_place,
    buffers_of_another_size_are_refused,
    a_model_without_inputs_runs,
    zero_length_dimensions_work,
    external_weights_are_found,
    outputs_without_a_node_are_given,
    defaults_are_those_of_onnx,
    wrong_inputs_are_refused,
    booleans_are_zero_or_one,
    broken_files_are_refused,
    profiles_name_nodes_and_shapes,
    tensor_specs_follow_values,
    runs_repeat_bit_identically,
}

#[test]
fn element_types_pass() {
    use ElementType::*;
    let element_types =
        [Bool, UInt8, UInt16, UInt32, UInt64, Int8, Int16, Int32, Int64, Float16, Float32, Float64, String];
    behaviour::element_types_pass(&TractEngine::new(), &element_types);
}

#[test]
fn a_type_that_tract_lacks_is_an_input_error() {
    let model = ModelBuilder::new()
        .input("x", ElementType::Float32, &[1])
        .node("copy", "Neg", &["x"], &["y"])
        .output("y", ElementType::Float32)
        .write();
    let inputs = [spec("x", ElementType::BFloat16, &[1])];
    let error = TractEngine::new().load(&model.path, &inputs, &names(&["y"]), &LoadOptions::default());
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "input `x`: tract has no element type bfloat16");
}

/// Any tensor of the main graph can be asked for, declared as an output or not.
#[test]
fn inner_tensors_are_given() {
    let (a, b) = (floats(&[1, 2], &[0.5, 1.0]), floats(&[1, 2], &[1.0, 2.0]));
    let inputs = [("a", &a), ("b", &b)];
    let engine = TractEngine::new();
    let outputs = run_once(&engine, &affine().write(), &inputs, &["bw"], &LoadOptions::default()).unwrap();
    assert_eq!(outputs, [floats(&[1, 2], &[7.0, 10.0])]);
}

#[test]
fn the_version_is_that_of_the_lock_file() {
    let lock = include_str!("../../Cargo.lock");
    let version = TractEngine::new().version();
    assert!(lock.contains(&format!("name = \"tract-onnx\"\nversion = \"{version}\"\n")));
}
