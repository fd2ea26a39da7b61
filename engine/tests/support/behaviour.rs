//! What every engine must do, checked with each.

use super::*;
use half::{bf16, f16};
use tranche_schema::AlignedBuffer;

const PLAIN: LoadOptions = LoadOptions { threads: 1, optimise: true, profile: false, prepack: true };

/// Inputs are taken in the caller's order, symbolic dimensions follow them, outputs
/// come in the order asked for.
pub fn inputs_and_outputs_are_in_the_callers_order(engine: &dyn Engine) {
    let model = affine().output("s", ElementType::Float32).write();
    let (a, b) = (floats(&[1, 2], &[-20.0, 1.0]), floats(&[1, 2], &[1.0, 2.0]));
    for optimise in [false, true] {
        let options = LoadOptions { optimise, ..PLAIN };
        let outputs = run_once(engine, &model, &[("b", &b), ("a", &a)], &["s", "p"], &options).unwrap();
        assert_eq!(outputs, [floats(&[1, 2], &[-13.0, 11.0]), floats(&[1, 2], &[0.0, 11.0])]);
    }
}

/// The caller's memory receives the output, also where it is not aligned.
pub fn caller_buffers_are_written_in_place(engine: &dyn Engine) {
    let mut session = affine_session(engine);
    let (a, b) = (floats(&[1, 2], &[0.5, 1.0]), floats(&[1, 2], &[1.0, 2.0]));
    for offset in [0, 1] {
        let mut memory = AlignedBuffer::zeroed(16);
        let data = &mut memory.as_mut()[offset..offset + 8];
        let mut outputs = [OutputBuffer::Caller { element_type: ElementType::Float32, shape: &[1, 2], data }];
        session.run(&[a.view(), b.view()], &mut outputs).unwrap();
        let expected = floats(&[1, 2], &[7.5, 11.0]);
        assert_eq!(&memory.as_ref()[offset..offset + 8], expected.data());
    }
}

pub fn buffers_of_another_size_are_refused(engine: &dyn Engine) {
    let mut session = affine_session(engine);
    let (a, b) = (floats(&[1, 2], &[0.5, 1.0]), floats(&[1, 2], &[1.0, 2.0]));
    let wrong: [(ElementType, &[u64], usize); 4] = [
        (ElementType::Float32, &[1, 2], 4),
        (ElementType::Float32, &[2, 1], 8),
        (ElementType::Float32, &[2, 2], 16),
        (ElementType::Int32, &[1, 2], 8),
    ];
    for (element_type, shape, length) in wrong {
        let mut memory = AlignedBuffer::zeroed(length);
        let mut outputs = [OutputBuffer::Caller { element_type, shape, data: memory.as_mut() }];
        let error = session.run(&[a.view(), b.view()], &mut outputs).unwrap_err();
        assert!(matches!(error, EngineError::Run { .. }), "{error}");
    }
    let error = session.run(&[a.view(), b.view()], &mut []).unwrap_err();
    assert!(matches!(error, EngineError::Run { .. }), "{error}");
}

fn affine_session(engine: &dyn Engine) -> Box<dyn Session> {
    let inputs = [spec("a", ElementType::Float32, &[1, 2]), spec("b", ElementType::Float32, &[1, 2])];
    engine.load(&affine().write().path, &inputs, &names(&["p"]), &PLAIN).unwrap()
}

/// Constant folding runs models that have no inputs.
pub fn a_model_without_inputs_runs(engine: &dyn Engine) {
    let model = ModelBuilder::new()
        .weight("w", &floats(&[3], &[1.0, 2.0, 3.0]))
        .node("twice", "Add", &["w", "w"], &["y"])
        .output("y", ElementType::Float32)
        .write();
    let outputs = run_once(engine, &model, &[], &["y"], &PLAIN).unwrap();
    assert_eq!(outputs, [floats(&[3], &[2.0, 4.0, 6.0])]);
}

/// Values of each type come back as they went in, through an operator that computes.
pub fn element_types_pass(engine: &dyn Engine, element_types: &[ElementType]) {
    for element_type in element_types {
        let model =
            ModelBuilder::new().input("x", *element_type, &[-1]).node("join", "Concat", &["x", "x"], &["y"]);
        // Concat's axis is an attribute.
        let model = ModelBuilder::with_axis(model, 0).output("y", *element_type).write();
        let (once, twice) = samples(*element_type);
        let outputs = run_once(engine, &model, &[("x", &once)], &["y"], &PLAIN).unwrap();
        assert_eq!(outputs, [twice], "{element_type}");
    }
}

/// Four values of a type, and the same twice over.
fn samples(element_type: ElementType) -> (Tensor, Tensor) {
    if element_type == ElementType::String {
        let values = ["", "one", "zwei", "trois é"];
        let twice: Vec<_> = values.iter().chain(&values).collect();
        return (
            Tensor::from_strings(vec![4], &values).unwrap(),
            Tensor::from_strings(vec![8], &twice).unwrap(),
        );
    }
    let bytes: Vec<u8> = match element_type {
        ElementType::Bool => vec![0, 1, 1, 0],
        ElementType::Float16 => [0.0, -1.5, 65504.0, f32::NAN]
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect(),
        ElementType::BFloat16 => [0.0, -1.5, 1e30, f32::INFINITY]
            .iter()
            .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
            .collect(),
        _ => (0..element_type.bits().unwrap() as u8 / 2).map(|byte| byte * 7 + 1).collect(),
    };
    let tensor = |shape, bytes: Vec<u8>| Tensor::new(element_type, shape, bytes.into()).unwrap();
    (tensor(vec![4], bytes.clone()), tensor(vec![8], bytes.repeat(2)))
}

/// Decoders start from past tensors of zero length.
pub fn zero_length_dimensions_work(engine: &dyn Engine) {
    let model = ModelBuilder::new()
        .input("past", ElementType::Float32, &[1, -1, 2])
        .input("new", ElementType::Float32, &[1, 1, 2])
        .node("join", "Concat", &["past", "new"], &["present"]);
    let model = ModelBuilder::with_axis(model, 1)
        .node("again", "Mul", &["past", "past"], &["empty"])
        .output("present", ElementType::Float32)
        .output("empty", ElementType::Float32)
        .write();
    let (past, new) = (floats(&[1, 0, 2], &[]), floats(&[1, 1, 2], &[1.0, 2.0]));
    let inputs = [("past", &past), ("new", &new)];
    let outputs = run_once(engine, &model, &inputs, &["present", "empty"], &PLAIN).unwrap();
    assert_eq!(outputs, [new.clone(), past.clone()]);
}

/// A slice's weights are in several files beside it.
pub fn external_weights_are_found(engine: &dyn Engine) {
    let weight = floats(&[2], &[10.0, 20.0]);
    let model = ModelBuilder::new()
        .input("x", ElementType::Float32, &[2])
        .external("w", &weight, "weights/first.bin")
        .external("v", &floats(&[2], &[1.0, 2.0]), "weights/second.bin")
        .node("sum", "Add", &["x", "w"], &["s"])
        .node("difference", "Sub", &["s", "v"], &["y"])
        .output("y", ElementType::Float32)
        .write();
    std::fs::create_dir(model.folder().join("weights")).unwrap();
    std::fs::write(model.folder().join("weights/first.bin"), weight.data()).unwrap();
    let x = floats(&[2], &[0.5, 0.5]);
    let missing = run_once(engine, &model, &[("x", &x)], &["y"], &PLAIN).unwrap_err();
    assert!(missing.to_string().contains("second.bin"), "{missing}");
    std::fs::write(model.folder().join("weights/second.bin"), floats(&[2], &[1.0, 2.0]).data()).unwrap();
    for prepack in [false, true] {
        let options = LoadOptions { prepack, ..PLAIN };
        let outputs = run_once(engine, &model, &[("x", &x)], &["y"], &options).unwrap();
        assert_eq!(outputs, [floats(&[2], &[9.5, 18.5])]);
    }
    let specs = engine.tensor_specs(
        &model.path,
        &[spec("x", ElementType::Float32, &[2])],
        &[x.view()],
        &names(&["s"]),
    );
    assert_eq!(specs.unwrap(), [Some(spec("s", ElementType::Float32, &[2]))]);
}

/// Tensors that pass from input or weights to output without a node.
pub fn outputs_without_a_node_are_given(engine: &dyn Engine) {
    let weight = floats(&[2], &[10.0, 20.0]);
    let model = affine()
        .weight("v", &weight)
        .output("a", ElementType::Float32)
        .output("v", ElementType::Float32)
        .write();
    let (a, b) = (floats(&[1, 2], &[0.5, 1.0]), floats(&[1, 2], &[1.0, 2.0]));
    let inputs = [("a", &a), ("b", &b)];
    let outputs = run_once(engine, &model, &inputs, &["v", "p", "a"], &PLAIN).unwrap();
    assert_eq!(outputs, [weight.clone(), floats(&[1, 2], &[7.5, 11.0]), a.clone()]);

    let specs = [spec("a", ElementType::Float32, &[1, 2]), spec("b", ElementType::Float32, &[1, 2])];
    let mut session = engine.load(&model.path, &specs, &names(&["a", "v"]), &PLAIN).unwrap();
    let mut memory = AlignedBuffer::zeroed(64);
    let (first, second) = memory.as_mut().split_at_mut(32);
    let mut outputs = [
        OutputBuffer::Caller { element_type: ElementType::Float32, shape: &[1, 2], data: &mut first[..8] },
        OutputBuffer::Caller { element_type: ElementType::Float32, shape: &[2], data: &mut second[..8] },
    ];
    session.run(&[a.view(), b.view()], &mut outputs).unwrap();
    assert_eq!(&memory.as_ref()[..8], a.data());
    assert_eq!(&memory.as_ref()[32..40], weight.data());
}

/// Attributes left out have the values that ONNX gives them.
pub fn defaults_are_those_of_onnx(engine: &dyn Engine) {
    let zeros = ModelBuilder::new()
        .input("x", ElementType::Float32, &[-1, 2])
        .node("extent", "Shape", &["x"], &["s"])
        .node("zeros", "ConstantOfShape", &["s"], &["z"])
        .node("sum", "Add", &["x", "z"], &["y"])
        .output("y", ElementType::Float32)
        .write();
    let x = floats(&[1, 2], &[1.0, 2.0]);
    let found = run_once(engine, &zeros, &[("x", &x)], &["y"], &PLAIN).unwrap();
    assert_eq!(found, std::slice::from_ref(&x));

    let squeeze = ModelBuilder::new()
        .input("x", ElementType::Float32, &[1, 2])
        .node("drop", "Squeeze", &["x"], &["y"])
        .output("y", ElementType::Float32);
    let squeeze = squeeze.write_for(11);
    let outputs = run_once(engine, &squeeze, &[("x", &x)], &["y"], &PLAIN).unwrap();
    assert_eq!(outputs, [floats(&[2], &[1.0, 2.0])]);
}

pub fn wrong_inputs_are_refused(engine: &dyn Engine) {
    let model = affine().write();
    let good = [spec("a", ElementType::Float32, &[1, 2]), spec("b", ElementType::Float32, &[1, 2])];
    let load = |inputs: &[TensorSpec], outputs: &[&str]| {
        engine.load(&model.path, inputs, &names(outputs), &PLAIN).map(|_| ()).unwrap_err()
    };
    let named = |error: EngineError, expected: &str| match error {
        EngineError::Input { name, .. } => assert_eq!(name, expected),
        other => panic!("{other}"),
    };
    named(load(&good[..1], &["p"]), "b");
    named(load(&[good[0].clone(), good[0].clone(), good[1].clone()], &["p"]), "a");
    named(load(&[good[0].clone(), good[1].clone(), spec("c", ElementType::Float32, &[])], &["p"]), "c");
    named(load(&[good[0].clone(), spec("b", ElementType::Float64, &[1, 2])], &["p"]), "b");
    named(load(&[good[0].clone(), spec("b", ElementType::Float32, &[1, 3])], &["p"]), "b");
    let error = load(&good, &["nothing"]);
    assert!(matches!(error, EngineError::Load { .. }) && error.to_string().contains("nothing"), "{error}");

    let mut session = engine.load(&model.path, &good, &names(&["p"]), &PLAIN).unwrap();
    let (a, wide) = (floats(&[1, 2], &[0.5, 1.0]), floats(&[2, 2], &[0.0; 4]));
    named(run(session.as_mut(), &[a.view(), wide.view()], 1).unwrap_err(), "b");
    let short = TensorView { data: &a.data()[..4], ..a.view() };
    named(run(session.as_mut(), &[a.view(), short], 1).unwrap_err(), "b");
    let error = run(session.as_mut(), &[a.view()], 1).unwrap_err();
    assert!(matches!(error, EngineError::Run { .. }), "{error}");
}

pub fn booleans_are_zero_or_one(engine: &dyn Engine) {
    let model = ModelBuilder::new()
        .input("x", ElementType::Bool, &[2])
        .node("not", "Not", &["x"], &["y"])
        .output("y", ElementType::Bool)
        .write();
    let x = Tensor::new(ElementType::Bool, vec![2], vec![1, 2].into()).unwrap();
    let error = run_once(engine, &model, &[("x", &x)], &["y"], &PLAIN).unwrap_err();
    assert!(matches!(error, EngineError::Input { .. }), "{error}");
}

/// Files that are no models end in an error, not in a panic.
pub fn broken_files_are_refused(engine: &dyn Engine) {
    let whole = affine().encode();
    let cut = whole[..whole.len() - 20].to_vec();
    let dangling = affine().output("nowhere", ElementType::Float32).encode();
    let unknown = ModelBuilder::new()
        .input("a", ElementType::Float32, &[1, 2])
        .input("b", ElementType::Float32, &[1, 2])
        .node("odd", "NoSuchOperator", &["a", "b"], &["p"])
        .output("p", ElementType::Float32);
    for bytes in [vec![], b"not a model".to_vec(), cut, dangling, unknown.encode()] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.onnx");
        std::fs::write(&path, bytes).unwrap();
        let inputs = [spec("a", ElementType::Float32, &[1, 2]), spec("b", ElementType::Float32, &[1, 2])];
        let error = engine.load(&path, &inputs, &names(&["p"]), &PLAIN).map(|_| ()).unwrap_err();
        assert!(!error.to_string().is_empty() && !error.hint().is_empty());
    }
    let error = engine.load(Path::new("/nowhere.onnx"), &[], &[], &PLAIN).map(|_| ()).unwrap_err();
    assert!(matches!(error, EngineError::Load { .. }), "{error}");
}

/// A model with a node without a name, shapes that only values tell, and constants.
fn counting() -> Fixture {
    ModelBuilder::new()
        .input("x", ElementType::Float32, &[-1, 2])
        .weight("w", &floats(&[2, 3], &[1.0; 6]))
        .node("folded", "Neg", &["w"], &["negative"])
        .node("product", "MatMul", &["x", "negative"], &["h"])
        .node("", "Relu", &["h"], &["r"])
        .node("where", "NonZero", &["h"], &["indices"])
        .node("extent", "Shape", &["indices"], &["count"])
        .output("r", ElementType::Float32)
        .output("count", ElementType::Int64)
        .write()
}

pub fn profiles_name_nodes_and_shapes(engine: &dyn Engine) {
    let model = counting();
    let inputs = [spec("x", ElementType::Float32, &[4, 2])];
    let options = LoadOptions { profile: true, ..PLAIN };
    let mut session = engine.load(&model.path, &inputs, &names(&["r", "count"]), &options).unwrap();
    let x = floats(&[4, 2], &[1.0, 2.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    for profile in [
        session.profile(&[x.view()]).unwrap(),
        session.profile_runs(&[x.view()], 1, 2, &mut |_| {}).unwrap().remove(1),
    ] {
        let nodes: Vec<_> = profile.iter().filter(|node| !node.node.is_empty()).collect();
        let found: Vec<_> = nodes.iter().map(|node| node.node.as_str()).collect();
        assert_eq!(found, ["folded", "product", "Relu_2", "where", "extent"]);
        assert!(profile.iter().any(|node| !node.time.is_zero()));
        let outputs: Vec<_> = nodes.iter().skip(1).flat_map(|node| node.outputs.clone()).collect();
        let expected = [
            spec("h", ElementType::Float32, &[4, 3]),
            spec("r", ElementType::Float32, &[4, 3]),
            spec("indices", ElementType::Int64, &[2, 9]),
            spec("count", ElementType::Int64, &[2]),
        ];
        assert_eq!(outputs, expected);
    }
    let mut plain = engine.load(&model.path, &inputs, &names(&["r"]), &PLAIN).unwrap();
    assert!(plain.profile(&[x.view()]).is_err());
}

pub fn tensor_specs_follow_values(engine: &dyn Engine) {
    let model = counting();
    let inputs = [spec("x", ElementType::Float32, &[4, 2])];
    let x = floats(&[4, 2], &[1.0, 2.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    let tensors = names(&["indices", "x", "nothing", "negative", "r", "count"]);
    let specs = engine.tensor_specs(&model.path, &inputs, &[x.view()], &tensors).unwrap();
    let expected = [
        Some(spec("indices", ElementType::Int64, &[2, 9])),
        Some(spec("x", ElementType::Float32, &[4, 2])),
        None,
        Some(spec("negative", ElementType::Float32, &[2, 3])),
        Some(spec("r", ElementType::Float32, &[4, 3])),
        Some(spec("count", ElementType::Int64, &[2])),
    ];
    assert_eq!(specs, expected);
}

pub fn runs_repeat_bit_identically(engine: &dyn Engine) {
    let mut session = affine_session(engine);
    let (a, b) = (floats(&[1, 2], &[0.1, 0.2]), floats(&[1, 2], &[0.3, 0.7]));
    let first = run(session.as_mut(), &[a.view(), b.view()], 1).unwrap();
    for _ in 0..3 {
        assert_eq!(run(session.as_mut(), &[a.view(), b.view()], 1).unwrap(), first);
    }
}
