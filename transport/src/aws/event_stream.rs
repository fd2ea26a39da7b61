//! `application/vnd.amazon.eventstream`, as `InvokeWithResponseStream` answers.
//!
//! A message is the big-endian total length and header length, the CRC-32 of these eight bytes, the
//! headers, the payload, and the CRC-32 of everything before. A header is a length and a name, a
//! type, and a value whose size the type tells (Smithy, "Amazon Event Stream Specification").

use bytes::{Buf as _, Bytes, BytesMut};

const PRELUDE_BYTES: usize = 12;
/// Prelude and final checksum.
const FRAME_BYTES: usize = 16;
/// The specification's bounds.
const MAX_HEADER_BYTES: usize = 128 * 1024;
const MAX_PAYLOAD_BYTES: usize = 24 << 20;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Headers whose values are text.
    pub(super) headers: Vec<(String, String)>,
    pub(super) payload: Bytes,
}

impl Message {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Takes bytes as they come, gives messages.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the stream ended between messages.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message, once it is there whole.
    pub(super) fn next(&mut self) -> Result<Option<Message>, String> {
        let Some(prelude) = self.buffer.first_chunk::<PRELUDE_BYTES>() else { return Ok(None) };
        let word = |at: usize| read_u32(prelude, at).unwrap_or_default();
        if crc32fast::hash(&prelude[..8]) != word(8) {
            return Err("has a message whose prelude does not match its checksum".to_owned());
        }
        let (total, header_bytes) = (word(0) as usize, word(4) as usize);
        let payload_bytes = total.checked_sub(FRAME_BYTES).and_then(|rest| rest.checked_sub(header_bytes));
        if header_bytes > MAX_HEADER_BYTES || payload_bytes.is_none_or(|bytes| bytes > MAX_PAYLOAD_BYTES) {
            return Err(format!("has a message of {total} bytes with {header_bytes} of headers"));
        }
        if self.buffer.len() < total {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(total).freeze();
        let body = message.split_to(total - 4);
        if crc32fast::hash(&body) != message.get_u32() {
            return Err("has a message that does not match its checksum".to_owned());
        }
        let headers = body.slice(PRELUDE_BYTES..PRELUDE_BYTES + header_bytes);
        let headers = read_headers(&headers).ok_or("has a message with malformed headers")?;
        Ok(Some(Message { headers, payload: body.slice(PRELUDE_BYTES + header_bytes..) }))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read_headers(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let (&kind, rest) = rest.split_first()?;
        let (size, rest) = match kind {
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest),
            9 => (16, rest),
            6 | 7 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(size)?;
        bytes = rest;
        if kind == 7 {
            let text = |bytes: &[u8]| Some(std::str::from_utf8(bytes).ok()?.to_owned());
            headers.push((text(name)?, text(value)?));
        }
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut table = vec![1, b'i', 4, 0, 0, 0, 7]; // an integer, to be passed over
        for (name, value) in headers {
            table.push(name.len() as u8);
            table.extend_from_slice(name.as_bytes());
            table.push(7);
            table.extend_from_slice(&(value.len() as u16).to_be_bytes());
            table.extend_from_slice(value.as_bytes());
        }
        let mut out = Vec::new();
        out.extend_from_slice(&((FRAME_BYTES + table.len() + payload.len()) as u32).to_be_bytes());
        out.extend_from_slice(&(table.len() as u32).to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(&table);
        out.extend_from_slice(payload);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    /// `payload_no_headers` of the test vectors that AWS's SDKs share.
    #[test]
    fn a_published_message_is_read() {
        let mut bytes = vec![0, 0, 0, 0x1d, 0, 0, 0, 0, 0xfd, 0x52, 0x8c, 0x5a];
        bytes.extend_from_slice(b"{'foo':'bar'}");
        bytes.extend_from_slice(&[0xc3, 0x65, 0x39, 0x36]);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let message = decoder.next().unwrap().unwrap();
        assert_eq!((message.payload.as_ref(), message.headers.len()), (b"{'foo':'bar'}".as_slice(), 0));
    }

    #[test]
    fn an_absurd_length_is_refused_before_anything_is_waited_for() {
        let mut bytes = vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert!(decoder.next().is_err());
    }

    proptest! {
        #[test]
        fn messages_come_back_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..4),
            cut in 1_usize..64,
        ) {
            let bytes: Vec<u8> =
                payloads.iter().flat_map(|payload| encode(&[(":event-type", "PayloadChunk")], payload)).collect();
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.next().unwrap() {
                    prop_assert_eq!(message.header(":event-type"), Some("PayloadChunk"));
                    found.push(message.payload.to_vec());
                }
            }
            prop_assert!(decoder.is_empty());
            prop_assert_eq!(found, payloads);
        }

        #[test]
        fn a_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..64), at in any::<usize>()) {
            let mut bytes = encode(&[("a", "b")], &payload);
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            prop_assert!(!matches!(decoder.next(), Ok(Some(_))));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_headers(&bytes);
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            let _ = decoder.next();
        }
    }
}
