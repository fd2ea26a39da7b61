use bytes::{Buf as _, BytesMut};

use crate::ALIGNMENT;

/// An empty buffer with room for `capacity` bytes whose first byte will be aligned as
/// frames are, so that tensors of a frame received into it are read in place.
///
/// The memory is reserved, not touched. Growing beyond `capacity` may lose the alignment,
/// which costs a copy of some tensors and nothing else.
#[must_use]
pub fn aligned_buffer(capacity: usize) -> BytesMut {
    buffer_aligned_at(0, capacity)
}

/// [`aligned_buffer`], where the byte at `at` will be aligned instead of the first.
#[must_use]
pub fn buffer_aligned_at(at: usize, capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(capacity.saturating_add(2 * ALIGNMENT));
    let to_line = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let padding = to_line + (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
    buffer.resize(padding, 0);
    buffer.advance(padding);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_is_aligned_and_filling_does_not_move_it() {
        for capacity in [0, 1, 63, 64, 65, 4096, 1 << 20] {
            let mut buffer = aligned_buffer(capacity);
            buffer.extend_from_slice(&vec![1; capacity]);
            assert!(buffer.is_empty() || (buffer.as_ptr() as usize).is_multiple_of(ALIGNMENT));
            assert_eq!(buffer.len(), capacity);
        }
    }

    #[test]
    fn a_later_byte_may_be_the_aligned_one() {
        for at in [0, 1, 63, 64, 65, 300] {
            let mut buffer = buffer_aligned_at(at, 1000);
            buffer.extend_from_slice(&[1; 1000]);
            assert!((buffer[at..].as_ptr() as usize).is_multiple_of(ALIGNMENT), "{at}");
        }
    }
}
