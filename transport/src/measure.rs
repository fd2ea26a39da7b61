use std::time::{Duration, Instant};
use tranche_schema::{Codec, ElementType, Tensor};

use crate::FrameError;
use crate::codec::{self, Layout};

/// What a codec does to one tensor, on one thread of this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodecMeasurement {
    /// The codec that the tensor travels with: [`Codec::Raw`] where the one asked for does not
    /// apply or saves nothing. The encoding time is that of finding out.
    pub codec: Codec,
    /// Bytes of the tensor.
    pub raw_bytes: u64,
    /// Bytes as coded.
    pub coded_bytes: u64,
    /// To code the bytes, without their checksum.
    pub encode_time: Duration,
    /// To decode the bytes, without comparing their checksum.
    pub decode_time: Duration,
    /// Largest difference between a finite value and what comes back; 0 for lossless codecs.
    pub largest_error: f64,
    /// Largest magnitude of a finite value, which the error is to be seen against; 0 where
    /// the tensor is not `float32`.
    pub largest_value: f64,
}

/// Codes and decodes `tensor` once. Take the median of several calls; the first ones meet cold
/// caches and fresh memory, as a request may.
///
/// # Errors
/// When the codec fails, or what comes back is not a tensor of the same type and shape.
pub fn measure_codec(tensor: &Tensor, codec: Codec) -> Result<CodecMeasurement, FrameError> {
    let name = "measured";
    let failed = |codec| move |reason| FrameError::Codec { tensor: name.to_owned(), codec, reason };
    let layout = Layout { element_type: tensor.element_type(), shape: tensor.shape() };
    let raw = tensor.data();
    let start = Instant::now();
    let (used, coded) = codec::encode(raw, layout, codec).map_err(failed(codec))?;
    let encode_time = start.elapsed();
    let coded_bytes = coded.len() as u64;
    let start = Instant::now();
    let decoded = codec::decode(coded, layout, used, raw.len()).map_err(failed(used))?;
    let decode_time = start.elapsed();
    let decoded = Tensor::new(tensor.element_type(), tensor.shape().to_vec(), decoded)
        .map_err(|source| FrameError::Tensor { tensor: name.to_owned(), source })?;
    let (largest_error, largest_value) = largest_difference(tensor, &decoded);
    Ok(CodecMeasurement {
        codec: used,
        raw_bytes: raw.len() as u64,
        coded_bytes,
        encode_time,
        decode_time,
        largest_error,
        largest_value,
    })
}

fn largest_difference(before: &Tensor, after: &Tensor) -> (f64, f64) {
    if before.element_type() != ElementType::Float32 {
        return (0.0, 0.0);
    }
    let (Some(before), Some(after)) = (before.as_slice::<f32>(), after.as_slice::<f32>()) else {
        return (0.0, 0.0);
    };
    let finite = before.iter().zip(after).filter(|(before, _)| before.is_finite());
    finite.fold((0.0, 0.0), |(error, value): (f64, f64), (&before, &after)| {
        let (before, after) = (f64::from(before), f64::from(after));
        (error.max((before - after).abs()), value.max(before.abs()))
    })
}
