//! Zero elements left out: a bit an element, in the order of the elements from the low bit of
//! the first byte up, says whether the element is kept.
//!
//! Both directions work through 64 elements without a branch, so their speed does not depend on
//! where single zeros are; 64 zeros in a row are passed over.

use super::elements::Element;

/// Elements that one step works through.
pub(super) const LANES: usize = 64;

/// Bytes of the bitmap of this many elements.
pub(super) const fn bytes(elements: usize) -> usize {
    elements.div_ceil(8)
}

/// Writes the elements of `block` that are not zero to the front of `kept`, and which they are to
/// `bitmap`; answers how many there are.
///
/// `kept` has room for [`LANES`] elements more than `block`, which may be overwritten; `bitmap`
/// has [`bytes`]`(block.len())` bytes.
pub(super) fn compact<T: Element>(block: &[T], bitmap: &mut [u8], kept: &mut [T]) -> usize {
    let mut count = 0;
    for (lanes, bits) in block.chunks(LANES).zip(bitmap.chunks_mut(LANES / 8)) {
        // Zeros lie together: behind a ReLU, whole channels may be silent.
        if lanes.iter().fold(T::ZERO, |any, &element| any | element) == T::ZERO {
            bits.fill(0);
            continue;
        }
        let window = &mut kept[count..count + LANES];
        let mut mask = 0_u64;
        let mut taken = 0;
        for (lane, &element) in lanes.iter().enumerate() {
            let is_kept = element != T::ZERO;
            mask |= u64::from(is_kept) << lane;
            window[taken % LANES] = element;
            taken += usize::from(is_kept);
        }
        bits.copy_from_slice(&mask.to_le_bytes()[..bits.len()]);
        count += taken;
    }
    count
}

/// Puts `kept` back where `bitmap` says, and zeros elsewhere.
///
/// `kept` holds [`ones`]`(bitmap)` elements and [`LANES`] more, whose values do not matter.
pub(super) fn expand<T: Element>(bitmap: &[u8], kept: &[T], block: &mut [T]) {
    let mut count = 0;
    for (lanes, bits) in block.chunks_mut(LANES).zip(bitmap.chunks(LANES / 8)) {
        let mut word = [0; LANES / 8];
        word[..bits.len()].copy_from_slice(bits);
        let mask = u64::from_le_bytes(word);
        if mask == 0 {
            lanes.fill(T::ZERO);
            continue;
        }
        let window = &kept[count..count + LANES];
        let mut taken = 0;
        for (lane, element) in lanes.iter_mut().enumerate() {
            let is_kept = (mask >> lane) & 1 == 1;
            let next = window[taken % LANES];
            *element = if is_kept { next } else { T::ZERO };
            taken += usize::from(is_kept);
        }
        count += taken;
    }
}

/// How many elements a bitmap of `elements` keeps; `None` where it has a bit set beyond them.
pub(super) fn ones(bitmap: &[u8], elements: usize) -> Option<usize> {
    let beyond = elements % 8;
    if beyond != 0 && bitmap.last().is_some_and(|&last| last >> beyond != 0) {
        return None;
    }
    let words = bitmap.chunks(8).map(|bits| {
        let mut word = [0; 8];
        word[..bits.len()].copy_from_slice(bits);
        u64::from_le_bytes(word).count_ones() as usize
    });
    Some(words.sum())
}
