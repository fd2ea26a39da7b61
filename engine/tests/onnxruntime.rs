//! ONNX Runtime through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::behaviour;
use support::*;
use tranche_engine::{
    Engine, LoadOptions, OnnxRuntimeEngine, RandomHints, TractEngine, compare, open_onnxruntime,
    random_tensor, survey,
};
use tranche_schema::ElementType;

fn engine() -> OnnxRuntimeEngine {
    open_onnxruntime(None).expect(
        "these tests need ONNX Runtime: run `tranche engine add onnxruntime`, or set TRANCHE_ONNXRUNTIME",
    )
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
    let element_types = [
        Bool, UInt8, UInt16, UInt32, UInt64, Int8, Int16, Int32, Int64, Float16, BFloat16, Float32, Float64,
        String,
    ];
    behaviour::element_types_pass(&engine(), &element_types);
}

/// A process has one ONNX Runtime.
#[test]
fn another_library_is_refused() {
    let first = engine();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("libonnxruntime.so");
    std::fs::copy(first.library(), &copy).unwrap();
    let error = OnnxRuntimeEngine::from_library(&copy).unwrap_err();
    assert!(error.to_string().contains("a process cannot load"), "{error}");
    assert_eq!(engine().library(), first.library());
}

#[test]
fn the_survey_finds_it_working() {
    let library = engine().library().to_owned();
    let statuses = survey(Some(&library));
    let status = statuses.iter().find(|status| status.name == "onnxruntime").unwrap();
    assert!(status.available, "{status:?}");
    assert_eq!(status.version, Some(engine().version()));
}

/// Both engines agree on a model whose sums they order differently.
#[test]
fn engines_agree() {
    let spec = |name: &str, shape: &[u64]| spec(name, ElementType::Float32, shape);
    let random = |spec| random_tensor(&spec, 3, &RandomHints::default()).unwrap();
    let (x, w) = (random(spec("x", &[1, 8, 20, 20])), random(spec("w", &[16, 8, 3, 3])));
    let model = ModelBuilder::new()
        .input("x", ElementType::Float32, &[-1, 8, 20, 20])
        .weight("w", &w)
        .node("convolution", "Conv", &["x", "w"], &["c"])
        .node("positive", "Relu", &["c"], &["r"])
        .node("pool", "GlobalAveragePool", &["r"], &["y"])
        .output("y", ElementType::Float32)
        .write();
    for optimise in [false, true] {
        let options = LoadOptions { optimise, ..LoadOptions::default() };
        let run = |engine: &dyn Engine| run_once(engine, &model, &[("x", &x)], &["y"], &options).unwrap();
        let (reference, other) = (run(&engine()), run(&TractEngine::new()));
        let difference = compare(&reference[0], &other[0]).unwrap();
        assert!(difference.scale > 0.1 && difference.max_relative < 1e-5, "{difference:?}");
    }
}
