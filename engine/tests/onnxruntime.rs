//! ONNX Runtime through the public interface.

mod support;

use std::path::PathBuf;
use support::behaviour;
use support::*;
use tranche_engine::{Engine, LoadOptions, OnnxRuntimeEngine, TractEngine, compare};
use tranche_schema::ElementType;

fn engine() -> OnnxRuntimeEngine {
    let path = std::env::var_os("TRANCHE_ONNXRUNTIME").map(PathBuf::from).unwrap();
    OnnxRuntimeEngine::from_library(&path).unwrap()
}

macro_rules! behaves {
    ($($law:ident),* $(,)?) => {
        $(#[test] fn $law() { behaviour::$law(&engine()); })*
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
    let element_types = [
        Bool, UInt8, UInt16, UInt32, UInt64, Int8, Int16, Int32, Int64, Float16, BFloat16, Float32, Float64,
        String,
    ];
    behaviour::element_types_pass(&engine(), &element_types);
}
