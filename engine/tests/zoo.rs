//! The zoo on both engines against what its Python reference answers: the same weights and
//! inputs, within 1e-4 of the output's scale.
//!
//! `data/zoo_outputs.json` was made from the reference's files (which are, byte for byte,
//! the models that `tranche_models::build` writes) by ONNX Runtime 1.32.0 in Python: of the
//! first output its shape, half the distance between its smallest and largest element, and
//! eight elements with their places. Inputs are those of [`input`].

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde::Deserialize;
use std::collections::BTreeSet;
use support::{floats, integers, names, run, spec};
use tranche_engine::{Engine, LoadOptions, TractEngine, open_onnxruntime};
use tranche_models::{InputFill, InputHint, input_hints, zoo};
use tranche_schema::Tensor;

#[derive(Deserialize)]
struct Expected {
    model: String,
    output: String,
    shape: Vec<u64>,
    half_range: f32,
    values: Vec<(usize, f32)>,
}

fn table() -> Vec<Expected> {
    serde_json::from_str(include_str!("data/zoo_outputs.json")).unwrap()
}

fn expected(model: &str) -> Expected {
    table().into_iter().find(|expected| expected.model == model).unwrap()
}

/// Number `place` of the stream of input `index`: SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014) at a place of its own.
fn random(index: u64, place: u64) -> u64 {
    let mut word = ((index << 32) + place + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The input at place `index` of a model, as the reference was given it.
fn input(index: u64, hint: &InputHint) -> Tensor {
    let words = (0..hint.shape.iter().product()).map(|place| random(index, place));
    let whole = |values: Vec<u64>| {
        let values: Vec<i64> = values.into_iter().map(|value| value.try_into().unwrap()).collect();
        integers(&hint.shape, &values)
    };
    match hint.fill {
        // The upper 24 bits: every such fraction is a float32.
        InputFill::Uniform => {
            let values: Vec<f32> = words.map(|word| (word >> 40) as f32 / (1 << 24) as f32).collect();
            floats(&hint.shape, &values)
        }
        InputFill::Below(bound) => whole(words.map(|word| word % bound).collect()),
        InputFill::Ones => whole(words.map(|_| 1).collect()),
        InputFill::Zeros => whole(words.map(|_| 0).collect()),
        InputFill::Whole(value) => whole(words.map(|_| value).collect()),
    }
}

fn answers_as_the_reference(engine: &dyn Engine, model: &str) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("model.onnx");
    tranche_models::build(model).unwrap().save(&path).unwrap();
    let expected = expected(model);
    let hints = input_hints(model).unwrap();
    let tensors: Vec<Tensor> = (0..).zip(hints).map(|(index, hint)| input(index, hint)).collect();
    let specs: Vec<_> = hints
        .iter()
        .zip(&tensors)
        .map(|(hint, tensor)| spec(&hint.name, tensor.element_type(), tensor.shape()))
        .collect();
    let options = LoadOptions { threads: 1, optimise: true, profile: false, prepack: true };
    let mut session = engine.load(&path, &specs, &names(&[&expected.output]), &options).unwrap();
    let views: Vec<_> = tensors.iter().map(Tensor::view).collect();
    let answer = run(session.as_mut(), &views, 1).unwrap().remove(0);
    assert_eq!(answer.shape(), expected.shape);
    let values = answer.as_slice::<f32>().unwrap();
    let (least, most) =
        values.iter().fold((f32::MAX, f32::MIN), |(a, b), &value| (a.min(value), b.max(value)));
    let far = |left: f32, right: f32| (left - right).abs() / expected.half_range;
    let places = expected.values.iter().map(|&(place, value)| far(values[place], value));
    let worst = places.fold(far((most - least) / 2.0, expected.half_range), f32::max);
    assert!(worst <= 1e-4, "{model} on {}: {worst:e} of the output's scale", engine.name());
}

macro_rules! zoo_on_both_engines {
    ($($model:ident),* $(,)?) => {
        mod tract {
            $(#[test]
            fn $model() {
                super::answers_as_the_reference(&super::TractEngine::new(), stringify!($model));
            })*
        }

        mod onnxruntime {
            $(#[test]
            fn $model() {
                let engine = super::open_onnxruntime(None).expect("run `tranche engine add onnxruntime` first");
                super::answers_as_the_reference(&engine, stringify!($model));
            })*
        }

        #[test]
        fn every_model_is_here() {
            let here = BTreeSet::from([$(stringify!($model)),*]);
            assert_eq!(here, zoo().iter().map(|model| model.name).collect());
            assert_eq!(here, table().iter().map(|expected| expected.model.as_str()).collect());
        }
    };
}

zoo_on_both_engines! {
    vgg16, resnet50, inception_v3, densenet121, mobilenet_v2, vit_b16, lstm_lm, bigru_lm, convlstm,
    bert_base, gpt2_small, gcn_wide, gcn_cora, gat_cora,
}
