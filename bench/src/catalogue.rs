//! The models, their files and their inputs.

use crate::BenchError;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::path::{Path, PathBuf};
use tranche_models::{InputFill, InputHint};
use tranche_schema::{AlignedBuffer, ElementType, Tensor, TensorSpec};

/// The evaluation's models: four categories.
pub const MODELS: &[&str] = &[
    "vgg16",
    "resnet50",
    "inception_v3",
    "lstm_lm",
    "bigru_lm",
    "convlstm",
    "bert_base",
    "vit_b16",
    "gpt2_small",
    "gcn_wide",
    "gat_cora",
    "caustic_nmr_painn",
];

/// Trained models out of public packages.
pub const TRAINED: &[&str] = &[
    "PP-OCRv6_det_small",
    "PP-OCRv6_rec_small",
    "ch_ppocr_mobile_v2.0_cls_mobile",
    "ddddocr_common",
    "ddddocr_det",
    "efficientnet_lite0",
    "minilm_l6_v2_fp32",
    "minilm_l6_int8",
    "smollm2_135m_fp32",
    "silero_vad",
    "silero_vad_16k_op15",
    "silero_vad_16k_sequence",
    "magika_v3_3",
    "dnsmos_sig_bak_ovr",
    "aecmos_48k_gru",
];

/// The file of a model, built or fetched into the cache where `tranche` keeps it too.
///
/// # Errors
/// When there is no model of that name, or it cannot be built or fetched.
pub fn locate(name: &str, cache: &Path) -> Result<PathBuf, BenchError> {
    if tranche_models::find(name).is_err() {
        return Ok(tranche_models::fetch(name, cache, None)?);
    }
    let path = cache.join("models/seeded").join(env!("CARGO_PKG_VERSION")).join(format!("{name}.onnx"));
    if !path.is_file() {
        tranche_models::build(name)?
            .save(&path)
            .map_err(|error| BenchError::Model { model: name.to_owned(), reason: error.to_string() })?;
    }
    Ok(path)
}

/// Values for a model's inputs: what the catalogue says of them, the same for the same seed.
///
/// # Errors
/// When the catalogue does not know the model, or an input is of texts.
pub fn inputs(name: &str, specs: &[TensorSpec], seed: u64) -> Result<Vec<(String, Tensor)>, BenchError> {
    let hints = tranche_models::input_hints(name)?;
    let mut random = StdRng::seed_from_u64(seed);
    specs.iter().map(|spec| Ok((spec.name.clone(), filled(name, spec, hints, &mut random)?))).collect()
}

fn filled(
    model: &str,
    spec: &TensorSpec,
    hints: &[InputHint],
    random: &mut StdRng,
) -> Result<Tensor, BenchError> {
    let wrong = |reason: String| BenchError::Model { model: model.to_owned(), reason };
    let fill = hints.iter().find(|hint| hint.name == spec.name).map_or(InputFill::Uniform, |hint| hint.fill);
    let mut value = || match fill {
        InputFill::Uniform => random.random_range(0.0..1.0),
        InputFill::Below(bound) => random.random_range(0..bound.max(1)) as f64,
        InputFill::Ones => 1.0,
        InputFill::Zeros => 0.0,
        InputFill::Whole(value) => value as f64,
    };
    let mut buffer = AlignedBuffer::zeroed(spec.bytes().0 as usize);
    let bytes = buffer.as_mut();
    match spec.element_type {
        ElementType::Float32 => each(bytes, || (value() as f32).to_le_bytes()),
        ElementType::Float64 => each(bytes, || value().to_le_bytes()),
        ElementType::Int64 | ElementType::UInt64 => each(bytes, || (value() as u64).to_le_bytes()),
        ElementType::Int32 | ElementType::UInt32 => each(bytes, || (value() as u32).to_le_bytes()),
        ElementType::Int8 | ElementType::UInt8 | ElementType::Bool => each(bytes, || [value() as u8]),
        other => {
            return Err(wrong(format!(
                "input `{}` is of {other}, which the evaluation does not fill",
                spec.name
            )));
        }
    }
    Tensor::new(spec.element_type, spec.shape.clone(), buffer.freeze())
        .map_err(|error| wrong(error.to_string()))
}

fn each<const WIDTH: usize>(data: &mut [u8], mut value: impl FnMut() -> [u8; WIDTH]) {
    data.chunks_exact_mut(WIDTH).for_each(|element| element.copy_from_slice(&value()));
}
