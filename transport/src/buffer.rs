use bytes::{Buf as _, BytesMut};

use crate::ALIGNMENT;

/// An empty buffer with room for `capacity` bytes whose first byte will be aligned as
/// frames are, so that tensors of a frame received into it are read in place.
///
/// The memory is reserved, not touched. Growing beyond `capacity` may lose the alignment,
/// which costs a copy of some tensors and nothing else.
#[must_use]
pub fn aligned_buffer(capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(capacity.saturating_add(ALIGNMENT));
    let padding = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
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
}
