//! The codecs, one file each, and what they have in common: an encoder that gives up where it
//! would not save anything, and a decoder that is told how many bytes must come out.

mod bitmap;
mod elements;
mod halves;
mod int8;
mod lz4;
mod shuffle;
mod sparse;
mod zstandard;

use bytes::Bytes;
use tranche_schema::{AlignedBuffer, Codec, ElementType};

pub use zstandard::ZSTD_LEVEL;

/// What the bytes of a tensor are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) element_type: ElementType,
    pub(crate) shape: &'a [u64],
}

/// The number that stands for a codec in frames; never changed, never used twice.
pub(crate) const fn to_wire(codec: Codec) -> u8 {
    match codec {
        Codec::Raw => 0,
        Codec::Zstd => 1,
        Codec::Lz4 => 2,
        Codec::ShuffleZstd => 3,
        Codec::Sparse => 4,
        Codec::F16 => 5,
        Codec::Bf16 => 6,
        Codec::Int8 => 7,
    }
}

/// The codec of a number in a frame.
pub(crate) fn from_wire(number: u8) -> Option<Codec> {
    Codec::ALL.iter().copied().find(|&codec| to_wire(codec) == number)
}

/// Codes `raw`. The codec returned is [`Codec::Raw`] where coding would not make it smaller, or
/// where the codec does not apply to such tensors.
pub(crate) fn encode(raw: &Bytes, layout: Layout<'_>, codec: Codec) -> Result<(Codec, Bytes), String> {
    let coded = match codec {
        Codec::Raw => None,
        Codec::Zstd => Some(zstandard::encode(raw)?),
        Codec::Lz4 => lz4::encode(raw),
        Codec::ShuffleZstd => Some(shuffle::encode(raw, layout.element_type)?),
        Codec::Sparse => Some(sparse::encode(raw, layout.element_type)?),
        Codec::F16 => halves::encode(raw, layout.element_type, halves::Half::F16),
        Codec::Bf16 => halves::encode(raw, layout.element_type, halves::Half::Bf16),
        Codec::Int8 => int8::encode(raw, layout),
    };
    Ok(match coded {
        Some(coded) if coded.len() < raw.len() => (codec, coded),
        _ => (Codec::Raw, raw.clone()),
    })
}

/// Whether `coded_bytes` can stand for `raw_bytes` at all; asked before anything is allocated.
pub(crate) fn plausible(codec: Codec, layout: Layout<'_>, raw_bytes: u64, coded_bytes: u64) -> bool {
    match codec {
        Codec::Raw => raw_bytes == coded_bytes,
        Codec::Zstd => coded_bytes.saturating_mul(zstandard::LARGEST_RATIO) >= raw_bytes,
        Codec::Lz4 => coded_bytes.saturating_mul(lz4::LARGEST_RATIO) >= raw_bytes,
        Codec::ShuffleZstd => shuffle::least_bytes(raw_bytes, layout.element_type) <= coded_bytes,
        Codec::Sparse => sparse::least_bytes(raw_bytes, layout.element_type) <= coded_bytes,
        Codec::F16 | Codec::Bf16 => {
            layout.element_type == ElementType::Float32 && raw_bytes == coded_bytes.saturating_mul(2)
        }
        Codec::Int8 => int8::coded_bytes(layout, raw_bytes) == Some(coded_bytes),
    }
}

/// Decodes exactly `raw_bytes` bytes; raw bytes are shared, not copied. What is allocated is
/// `raw_bytes` and a few blocks, whatever `coded` holds.
pub(crate) fn decode(
    coded: Bytes,
    layout: Layout<'_>,
    codec: Codec,
    raw_bytes: usize,
) -> Result<Bytes, String> {
    if codec == Codec::Raw {
        return if coded.len() == raw_bytes {
            Ok(coded)
        } else {
            Err(format!("it holds {} bytes instead of {raw_bytes}", coded.len()))
        };
    }
    if !plausible(codec, layout, raw_bytes as u64, coded.len() as u64) {
        return Err(format!("{} bytes cannot make {raw_bytes} bytes", coded.len()));
    }
    let mut buffer = AlignedBuffer::zeroed(raw_bytes);
    let raw = buffer.as_mut();
    match codec {
        Codec::Raw => {}
        Codec::Zstd => zstandard::decode(&coded, raw)?,
        Codec::Lz4 => lz4::decode(&coded, raw)?,
        Codec::ShuffleZstd => shuffle::decode(&coded, layout.element_type, raw)?,
        Codec::Sparse => sparse::decode(&coded, layout.element_type, raw)?,
        Codec::F16 => halves::decode(&coded, halves::Half::F16, raw)?,
        Codec::Bf16 => halves::decode(&coded, halves::Half::Bf16, raw)?,
        Codec::Int8 => int8::decode(&coded, layout, raw)?,
    }
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests;
