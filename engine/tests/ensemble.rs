//! Several models as one session, against the model that they were cut from.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};
use support::*;
use tranche_engine::{EngineError, LoadOptions, OutputBuffer, Session, open_engine};
use tranche_schema::{Document as _, ElementType::Float32, Ensemble, EnsembleMember, Tensor, TensorSpec};

const SHAPE: [u64; 2] = [2, 3];

/// A model of one node in a file of the folder.
fn member(folder: &Path, operator: &str, inputs: &[&str], output: &str) -> EnsembleMember {
    let shape = SHAPE.map(|extent| extent as i64);
    let built = inputs.iter().fold(ModelBuilder::new(), |model, input| model.input(input, Float32, &shape));
    let built = built.node(output, operator, inputs, &[output]).output(output, Float32);
    let model = format!("{output}.onnx");
    std::fs::write(folder.join(&model), built.encode()).unwrap();
    let specs = |names: &[&str]| names.iter().map(|name| spec(name, Float32, &SHAPE)).collect();
    EnsembleMember { model, inputs: specs(inputs), outputs: specs(&[output]), threads: 1 }
}

fn write(folder: &Path, members: Vec<EnsembleMember>) -> PathBuf {
    let path = folder.join(format!("slice{}", Ensemble::SUFFIX));
    std::fs::write(&path, Ensemble { header: Ensemble::header(), members }.to_json().unwrap()).unwrap();
    path
}

/// x → (−x, |x|, √x at once) → their sum, and a later one that reads the input again.
fn fork(folder: &Path) -> Vec<EnsembleMember> {
    vec![
        member(folder, "Neg", &["x"], "a"),
        member(folder, "Abs", &["x"], "b"),
        member(folder, "Sqrt", &["x"], "c"),
        member(folder, "Sum", &["a", "b", "c"], "sum"),
        member(folder, "Mul", &["sum", "x"], "y"),
    ]
}

fn load(ensemble: &Path, outputs: &[&str]) -> Result<Box<dyn Session>, EngineError> {
    let inputs: [TensorSpec; 1] = [spec("x", Float32, &SHAPE)];
    let engine = open_engine(None, None).unwrap();
    engine.load(ensemble, &inputs, &names(outputs), &LoadOptions::default())
}

fn run(session: &mut dyn Session, input: &Tensor, outputs: usize) -> Vec<Tensor> {
    let mut buffers: Vec<_> = (0..outputs).map(|_| OutputBuffer::Engine(None)).collect();
    session.run(&[input.view()], &mut buffers).unwrap();
    let tensors = buffers.into_iter().map(|buffer| match buffer {
        OutputBuffer::Engine(tensor) => tensor.unwrap(),
        OutputBuffer::Caller { .. } => unreachable!(),
    });
    tensors.collect()
}

fn refused(members: impl FnOnce(&Path) -> Vec<EnsembleMember>, output: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), members(folder.path()));
    load(&path, &[output]).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn members_make_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), fork(folder.path()));
    let mut session = load(&path, &["y", "b"]).unwrap();
    for scale in [1.0, 4.0] {
        let values = [1.0, 4.0, 9.0, 16.0, 25.0, 36.0].map(|value: f32| value * scale);
        let found = run(session.as_mut(), &floats(&SHAPE, &values), 2);
        let expected = values.map(|value| value.sqrt() * value);
        assert_eq!(found[0].as_slice::<f32>().unwrap(), expected);
        assert_eq!(found[1].as_slice::<f32>().unwrap(), values);
    }
}

#[test]
fn outputs_are_written_into_the_callers_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), fork(folder.path()));
    let mut session = load(&path, &["sum"]).unwrap();
    let mut memory = vec![0; 24];
    let buffer = OutputBuffer::Caller { element_type: Float32, shape: &SHAPE, data: &mut memory };
    session.run(&[floats(&SHAPE, &[4.0; 6]).view()], &mut [buffer]).unwrap();
    assert_eq!(bytemuck::cast_slice::<u8, f32>(&memory), [2.0; 6]);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let last = |folder: &Path| fork(folder).split_off(3);
    assert!(refused(last, "y").contains("`sum.onnx` reads `a`, which no member before it writes"));
    let twice = |folder: &Path| [fork(folder), fork(folder)].concat();
    assert!(refused(twice, "y").contains("`a` has two writers"));
    assert!(refused(fork, "z").contains("no member writes the output `z`"));
    let outside = |folder: &Path| {
        let mut members = fork(folder);
        members[0].model = "../a.onnx".to_owned();
        members
    };
    assert!(refused(outside, "y").contains("the member `../a.onnx` is not beside it"));
}

#[test]
fn a_member_that_is_broken_is_named() {
    let broken = |folder: &Path| {
        let members = fork(folder);
        std::fs::write(folder.join("b.onnx"), b"no model").unwrap();
        members
    };
    assert!(refused(broken, "y").contains("b.onnx"));
}
