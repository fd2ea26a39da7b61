//! Zstandard over a tensor's bytes as they are: one frame that declares its size.

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// Compression level of the codecs that use Zstandard: the fastest of the standard levels,
/// because activations are coded while somebody is billed.
pub const ZSTD_LEVEL: i32 = 1;

/// Most bytes that one coded byte can stand for: a run-length block is 4 bytes and makes
/// at most 128 KiB (RFC 8878, 3.1.1.2).
pub(super) const LARGEST_RATIO: u64 = 128 * 1024 / 4;

pub(super) fn encode(raw: &[u8]) -> Result<Bytes, String> {
    zstd::bulk::compress(raw, ZSTD_LEVEL).map(Bytes::from).map_err(|error| error.to_string())
}

pub(super) fn decode(coded: &[u8], raw: &mut [u8]) -> Result<(), String> {
    decode_with(&mut decompressor()?, coded, raw)
}

/// For planes of bytes, whose matches are rare and short: an entropy coder does most of the
/// work, so only matches of seven bytes are looked for, with a table that is filled at once.
/// On recorded tensors that is up to 1.4 times as fast as the level alone, and no larger
/// (docs/codecs.md).
pub(super) fn plane_compressor() -> Result<Compressor<'static>, String> {
    let new = || {
        let mut compressor = Compressor::new(ZSTD_LEVEL)?;
        compressor.set_parameter(CParameter::MinMatch(7))?;
        compressor.set_parameter(CParameter::HashLog(8))?;
        Ok(compressor)
    };
    new().map_err(|error: std::io::Error| error.to_string())
}

pub(super) fn decompressor() -> Result<Decompressor<'static>, String> {
    Decompressor::new().map_err(|error| error.to_string())
}

/// Decodes one frame that must declare and make exactly `raw.len()` bytes. The destination
/// bounds the output: whatever the frame holds, no byte more is written.
pub(super) fn decode_with(
    decompressor: &mut Decompressor<'_>,
    coded: &[u8],
    raw: &mut [u8],
) -> Result<(), String> {
    match zstd::zstd_safe::get_frame_content_size(coded) {
        Ok(Some(declared)) if declared == raw.len() as u64 => {}
        Ok(Some(declared)) => {
            return Err(format!("it decodes to {declared} bytes instead of {}", raw.len()));
        }
        Ok(None) => return Err("its Zstandard frame does not say its size".to_owned()),
        Err(_) => return Err("it is not a Zstandard frame".to_owned()),
    }
    let written = decompressor.decompress_to_buffer(coded, raw).map_err(|error| error.to_string())?;
    if written == raw.len() {
        Ok(())
    } else {
        Err(format!("it decoded to {written} bytes instead of {}", raw.len()))
    }
}
