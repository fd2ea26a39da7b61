//! Little-endian reading with bounds, and writing.

use bytes::Bytes;

use crate::FrameError;

/// Reads a header field by field; never beyond its end.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, count: usize, within: &'static str) -> Result<&'a [u8], FrameError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(FrameError::Truncated { within })?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(FrameError::Truncated { within })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, within: &'static str) -> Result<u8, FrameError> {
        Ok(u8::from_le_bytes(self.array(within)?))
    }

    pub(crate) fn u16(&mut self, within: &'static str) -> Result<u16, FrameError> {
        Ok(u16::from_le_bytes(self.array(within)?))
    }

    pub(crate) fn u32(&mut self, within: &'static str) -> Result<u32, FrameError> {
        Ok(u32::from_le_bytes(self.array(within)?))
    }

    pub(crate) fn i32(&mut self, within: &'static str) -> Result<i32, FrameError> {
        Ok(i32::from_le_bytes(self.array(within)?))
    }

    pub(crate) fn u64(&mut self, within: &'static str) -> Result<u64, FrameError> {
        Ok(u64::from_le_bytes(self.array(within)?))
    }

    /// A `u16` length and that many bytes of UTF-8.
    pub(crate) fn text(&mut self, limit: u32, within: &'static str) -> Result<&'a str, FrameError> {
        let length = self.u16(within)?;
        if u32::from(length) > limit {
            return Err(FrameError::Limit {
                what: format!("length of {within}"),
                found: u64::from(length),
                limit: u64::from(limit),
            });
        }
        let bytes = self.take(usize::from(length), within)?;
        std::str::from_utf8(bytes).map_err(|_| FrameError::malformed(within, "it is not UTF-8"))
    }
}

/// Appends `text` with a `u16` length before it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str, what: &'static str) -> Result<(), FrameError> {
    let length = u16::try_from(text.len()).map_err(|_| FrameError::Limit {
        what: format!("length of {what}"),
        found: text.len() as u64,
        limit: u64::from(u16::MAX),
    })?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The part of `bytes` that begins at `offset`, if it lies within.
pub(crate) fn slice(bytes: &Bytes, offset: u64, length: u64) -> Option<Bytes> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}
