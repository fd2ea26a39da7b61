//! Writes honest frames and coded tensors as seeds: `cargo run --release --bin seeds`.

use std::fs;
use tranche_schema::{Codec, ElementType, Tensor};
use tranche_transport::{CodedTensor, Frame, Payload, Placement, RequestHeader};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all("corpus/frame")?;
    fs::create_dir_all("corpus/codec")?;
    for (name, tensor) in tensors()? {
        let mut all = Vec::new();
        for (number, &codec) in Codec::ALL.iter().enumerate() {
            let coded = CodedTensor::encode(codec.name(), &tensor, codec, Placement::Inline)?;
            let Payload::Inline(payload) = &coded.payload else { continue };
            let used = if coded.codec == codec { number } else { 0 };
            fs::write(
                format!("corpus/codec/{name}-{codec}"),
                [&start(used, &tensor, coded.raw_bytes), &payload[..]].concat(),
            )?;
            all.push(coded);
        }
        let frame = Frame { header: RequestHeader::new([1; 16], "slice-0"), tensors: all };
        fs::write(format!("corpus/frame/{name}"), frame.to_bytes()?)?;
    }
    Ok(())
}

/// The first bytes of a `codec` input.
fn start(codec: usize, tensor: &Tensor, raw_bytes: u64) -> Vec<u8> {
    let kind = ElementType::ALL.iter().position(|&kind| kind == tensor.element_type()).unwrap_or_default();
    let mut out = vec![codec as u8, kind as u8, tensor.shape().len() as u8];
    let extents = tensor.shape().iter();
    extents.for_each(|&extent| out.extend_from_slice(&(extent as u16).to_le_bytes()));
    if tensor.element_type() == ElementType::String {
        out.extend_from_slice(&(raw_bytes as u16).to_le_bytes());
    }
    out
}

fn tensors() -> Result<Vec<(&'static str, Tensor)>, Box<dyn std::error::Error>> {
    let wave = |count: usize| (0..count).map(|n| (n as f32 * 0.37).sin()).collect::<Vec<_>>();
    let relu: Vec<f32> = wave(1024).iter().map(|value| value.max(0.0)).collect();
    let texts: Vec<String> = (0..40).map(|n| format!("text {}", n % 3)).collect();
    Ok(vec![
        ("relu", Tensor::from_f32(vec![1, 4, 16, 16], &relu)?),
        ("wave", Tensor::from_f32(vec![16, 64], &wave(1024))?),
        ("zeros", Tensor::from_f32(vec![5000], &[0.0; 5000])?),
        ("scalar", Tensor::from_f32(vec![], &[1.0])?),
        ("ramp", Tensor::from_i64(vec![256], &(0..256).collect::<Vec<_>>())?),
        ("texts", Tensor::from_strings(vec![40], &texts)?),
        ("bytes", Tensor::new(ElementType::UInt8, vec![512], vec![7; 512].into())?),
    ])
}
