//! LZ4 over a tensor's bytes as they are: one block of the LZ4 block format, without its size.

use bytes::Bytes;

/// Most bytes that one coded byte can stand for: a byte of a match's length adds 255
/// (LZ4 block format, "Matches").
pub(super) const LARGEST_RATIO: u64 = 255;

/// Largest input that the format's implementations take (`LZ4_MAX_INPUT_SIZE`).
const LARGEST_INPUT: usize = 0x7E00_0000;

/// `None` where `raw` is larger than LZ4 takes.
pub(super) fn encode(raw: &[u8]) -> Option<Bytes> {
    (raw.len() <= LARGEST_INPUT).then(|| lz4_flex::block::compress(raw).into())
}

pub(super) fn decode(coded: &[u8], raw: &mut [u8]) -> Result<(), String> {
    let written = lz4_flex::block::decompress_into(coded, raw).map_err(|error| error.to_string())?;
    if written == raw.len() {
        Ok(())
    } else {
        Err(format!("it decoded to {written} bytes instead of {}", raw.len()))
    }
}
