//! Encoding a message straight into a writer, so that shared weights are never
//! copied into a second buffer.

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use std::io::{self, Write};

/// Pieces at least this long go to the writer directly.
const CAPACITY: usize = 64 << 10;

/// Encodes `message` into `writer`.
pub(crate) fn encode_to(message: &impl Message, writer: &mut impl Write) -> io::Result<()> {
    let mut stream = Stream { writer, buffer: BytesMut::with_capacity(CAPACITY), outcome: Ok(()) };
    message.encode(&mut stream).map_err(io::Error::other)?;
    stream.flush();
    stream.outcome
}

/// A growing buffer that empties itself into a writer.
struct Stream<'a, W> {
    writer: &'a mut W,
    buffer: BytesMut,
    /// The first error; nothing is written after it.
    outcome: io::Result<()>,
}

impl<W: Write> Stream<'_, W> {
    fn flush(&mut self) {
        if self.outcome.is_ok() {
            self.outcome = self.writer.write_all(&self.buffer);
        }
        self.buffer.clear();
    }
}

// SAFETY: `chunk_mut` and `advance_mut` are those of `BytesMut`, which keeps the
// contract: the slice is the buffer's own spare capacity, of which at least one
// byte is left, and advancing beyond it panics. `flush` only empties the buffer
// and never takes capacity away between a `chunk_mut` and its `advance_mut`,
// because both need `&mut self` and `advance_mut` does not flush.
#[expect(unsafe_code, reason = "BufMut is an unsafe trait")]
unsafe impl<W: Write> BufMut for Stream<'_, W> {
    fn remaining_mut(&self) -> usize {
        isize::MAX as usize
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: the caller has initialised `count` bytes of `chunk_mut`, which
        // is the buffer's own.
        unsafe { self.buffer.advance_mut(count) }
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.buffer.len() == self.buffer.capacity() {
            self.flush();
        }
        self.buffer.chunk_mut()
    }

    fn put<T: Buf>(&mut self, mut source: T) {
        while source.has_remaining() {
            let chunk = source.chunk();
            let length = chunk.len();
            self.put_slice(chunk);
            source.advance(length);
        }
    }

    fn put_slice(&mut self, source: &[u8]) {
        if self.buffer.len() + source.len() > CAPACITY {
            self.flush();
        }
        if source.len() < CAPACITY {
            self.buffer.extend_from_slice(source);
        } else if self.outcome.is_ok() {
            self.outcome = self.writer.write_all(source);
        }
    }
}
