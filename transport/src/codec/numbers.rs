//! Pcodec over numbers of 16, 32 and 64 bits: one standalone file of the crate `pco`.
//!
//! `bfloat16` counts as `uint16`, complex numbers as pairs of floats. Other types go as they are.

use super::elements::{elements, elements_mut, width};
use bytes::Bytes;
use half::slice::HalfBitsSliceExt as _;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};
use tranche_schema::ElementType;

/// Numbers of the largest chunk that is written.
const CHUNK: u64 = 1 << 18;
/// Fewest bytes of a chunk.
const LEAST_CHUNK_BYTES: u64 = 8;

/// Fewest coded bytes of a tensor.
pub(super) fn least_bytes(raw_bytes: u64, element_type: ElementType) -> u64 {
    raw_bytes.div_ceil(CHUNK * width(element_type) as u64) * LEAST_CHUNK_BYTES
}

/// `None` where the type is not one of numbers that Pcodec takes.
pub(super) fn encode(raw: &[u8], element_type: ElementType) -> Result<Option<Bytes>, String> {
    use ElementType::*;
    let coded = match element_type {
        Float32 | Complex64 => compress::<f32>(elements(raw)?),
        Float64 | Complex128 => compress::<f64>(elements(raw)?),
        Float16 => compress::<half::f16>(elements::<u16>(raw)?.reinterpret_cast()),
        BFloat16 | UInt16 => compress::<u16>(elements(raw)?),
        Int16 => compress::<i16>(elements(raw)?),
        Int32 => compress::<i32>(elements(raw)?),
        UInt32 => compress::<u32>(elements(raw)?),
        Int64 => compress::<i64>(elements(raw)?),
        UInt64 => compress::<u64>(elements(raw)?),
        _ => return Ok(None),
    };
    coded.map(Some)
}

pub(super) fn decode(coded: &[u8], element_type: ElementType, raw: &mut [u8]) -> Result<(), String> {
    use ElementType::*;
    match element_type {
        Float32 | Complex64 => decompress::<f32>(coded, elements_mut(raw)?),
        Float64 | Complex128 => decompress::<f64>(coded, elements_mut(raw)?),
        Float16 => decompress::<half::f16>(coded, elements_mut::<u16>(raw)?.reinterpret_cast_mut()),
        BFloat16 | UInt16 => decompress::<u16>(coded, elements_mut(raw)?),
        Int16 => decompress::<i16>(coded, elements_mut(raw)?),
        Int32 => decompress::<i32>(coded, elements_mut(raw)?),
        UInt32 => decompress::<u32>(coded, elements_mut(raw)?),
        Int64 => decompress::<i64>(coded, elements_mut(raw)?),
        UInt64 => decompress::<u64>(coded, elements_mut(raw)?),
        other => Err(format!("elements of type {other} are never coded so")),
    }
}

fn compress<T: Number>(numbers: &[T]) -> Result<Bytes, String> {
    // Activations are neither multiples of anything nor close to their neighbours: looking for
    // that takes longer than coding them.
    let config = ChunkConfig::default()
        .with_compression_level(4)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp);
    simple_compress(numbers, &config).map(Bytes::from).map_err(|error| error.to_string())
}

fn decompress<T: Number>(coded: &[u8], numbers: &mut [T]) -> Result<(), String> {
    let progress = simple_decompress_into(coded, numbers).map_err(|error| error.to_string())?;
    if progress.n_processed == numbers.len() && progress.finished {
        Ok(())
    } else {
        Err(format!("it holds {} numbers or more instead of {}", progress.n_processed, numbers.len()))
    }
}
