//! Zero elements left out, for what follows a ReLU.
//!
//! Blocks of 4,096 elements, the last one shorter. Each is a `u16`, the number of elements kept;
//! then, unless none or all are kept, a bitmap ([`super::bitmap`]); then the kept elements.

use super::bitmap;
use super::elements::{Element, by_width, elements, elements_mut, width};
use bytes::Bytes;
use tranche_schema::ElementType;

/// Elements of a block: its copy and its bitmap stay in the first-level cache.
pub(super) const BLOCK: usize = 4096;
const COUNT_BYTES: usize = 2;

/// Fewest coded bytes of a tensor.
pub(super) fn least_bytes(raw_bytes: u64, element_type: ElementType) -> u64 {
    raw_bytes.div_ceil((BLOCK * width(element_type)) as u64) * COUNT_BYTES as u64
}

pub(super) fn encode(raw: &[u8], element_type: ElementType) -> Result<Bytes, String> {
    by_width!(element_type, encode_elements(raw))
}

pub(super) fn decode(coded: &[u8], element_type: ElementType, raw: &mut [u8]) -> Result<(), String> {
    by_width!(element_type, decode_elements(coded, raw))
}

fn encode_elements<T: Element>(raw: &[u8]) -> Result<Bytes, String> {
    let elements = elements::<T>(raw)?;
    let mut out = Vec::with_capacity(raw.len() + elements.len().div_ceil(BLOCK) * COUNT_BYTES);
    let mut bits = [0; bitmap::bytes(BLOCK)];
    let mut kept = vec![T::ZERO; BLOCK + bitmap::LANES];
    for block in elements.chunks(BLOCK) {
        let bits = &mut bits[..bitmap::bytes(block.len())];
        let count = bitmap::compact(block, bits, &mut kept);
        out.extend_from_slice(&(count as u16).to_le_bytes());
        if count != 0 && count != block.len() {
            out.extend_from_slice(bits);
        }
        out.extend_from_slice(bytemuck::cast_slice(&kept[..count]));
    }
    Ok(out.into())
}

fn decode_elements<T: Element>(coded: &[u8], raw: &mut [u8]) -> Result<(), String> {
    let cut = || "it ends in the middle of a block".to_owned();
    let mut rest = coded;
    let mut kept = vec![T::ZERO; BLOCK + bitmap::LANES];
    for block in elements_mut::<T>(raw)?.chunks_mut(BLOCK) {
        let (count, after) = rest.split_first_chunk::<COUNT_BYTES>().ok_or_else(cut)?;
        let count = usize::from(u16::from_le_bytes(*count));
        if count > block.len() {
            return Err(format!("a block of {} elements keeps {count}", block.len()));
        }
        let has_bitmap = count != 0 && count != block.len();
        let bitmap_bytes = if has_bitmap { bitmap::bytes(block.len()) } else { 0 };
        let (bits, after) = after.split_at_checked(bitmap_bytes).ok_or_else(cut)?;
        let (values, after) = after.split_at_checked(count * T::WIDTH).ok_or_else(cut)?;
        rest = after;
        if has_bitmap {
            if bitmap::ones(bits, block.len()) != Some(count) {
                return Err(format!("a bitmap does not keep the {count} elements that are there"));
            }
            bytemuck::cast_slice_mut(&mut kept[..count]).copy_from_slice(values);
            bitmap::expand(bits, &kept, block);
        } else if count != 0 {
            bytemuck::cast_slice_mut(block).copy_from_slice(values);
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{} bytes follow the last block", rest.len())) }
}
