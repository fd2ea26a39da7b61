//! Frame v1: the byte layout is documented in docs/formats/frame.md and here.
//!
//! All integers are little-endian.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic `TRNF`
//!      4      2  version, 1
//!      6      2  flags, 0
//!      8      4  header length H: offset of the first byte after the tensor table
//!     12      4  number of tensors
//!     16      8  length of the whole frame
//!     24      8  XXH3-64 of bytes 0..H with these 8 bytes as zero
//!     32     16  request id
//!     48      4  attempt
//!     52      4  reserved, 0
//!     56      8  deadline: milliseconds left, 2^64-1 for none
//!     64         slice name: u16 length, UTF-8
//!                traceparent: u16 length, ASCII; length 0 for none
//!                tensor table
//! ```
//!
//! Each entry of the tensor table:
//!
//! ```text
//!      2  length of the name, then the name in UTF-8
//!      4  element type, as ONNX numbers them
//!      1  codec: 0 raw, 1 zstd, 2 lz4, 3 shuffle-zstd, 4 sparse, 5 f16, 6 bf16, 7 int8
//!      1  location: 0 inline, 1 lease, 2 object
//!      2  rank
//!  8*rank extents
//!      8  raw length
//!      8  coded length
//!      8  XXH3-64 of the coded bytes
//!         inline: 8 offset in the frame, a multiple of 64
//!         lease:  8 offset in the file; 2 + n name of the file
//!         object: 2 + n URI; 2 + n entity tag
//! ```
//!
//! Inline payloads follow the header in table order, each at the next multiple of 64
//! after the one before; the gaps are zero and the frame ends with its last payload.
//! Equal frames are therefore equal bytes, and every bit of a frame is covered by a
//! checksum or by a rule.

use bytes::{BufMut as _, Bytes};
use std::collections::HashSet;
use std::time::Duration;
use tranche_schema::{ElementType, Tensor, TensorSpec};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::header::{MAX_TRACEPARENT_BYTES, valid_traceparent};
use crate::wire::{Reader, put_text, slice};
use crate::{
    CodedTensor, FrameError, FrameLimits, LeaseReference, ObjectReference, Payload, RequestHeader,
    SharedFolder, aligned_buffer, codec,
};

/// First bytes of a frame.
pub const MAGIC: [u8; 4] = *b"TRNF";
/// The version this crate writes and reads.
pub const VERSION: u16 = 1;
/// Alignment of inline payloads within a frame.
pub const ALIGNMENT: usize = 64;
/// Bytes before the slice name.
pub const FIXED_HEADER_BYTES: usize = 64;

const CHECKSUM_RANGE: std::ops::Range<usize> = 24..32;
const NO_DEADLINE: u64 = u64::MAX;
/// Bytes of the smallest entry: a scalar with an empty name and an empty object reference.
const MIN_ENTRY_BYTES: u64 = 38;
const MAX_URI_BYTES: u32 = 4096;
const MAX_ETAG_BYTES: u32 = 256;
const ZEROS: &[u8] = &[0; ALIGNMENT];

/// A request or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whose it is.
    pub header: RequestHeader,
    /// The tensors, still coded; names are unique.
    pub tensors: Vec<CodedTensor>,
}

impl Frame {
    /// The frame as pieces to be sent one after the other; payloads are shared, not copied.
    ///
    /// # Errors
    /// When a name is longer than 65,535 bytes, there are too many tensors, two have one
    /// name, or a tensor's declared lengths do not agree with its type, shape and bytes.
    pub fn to_chunks(&self) -> Result<Vec<Bytes>, FrameError> {
        let mut header = self.fixed_header()?;
        let mut names = HashSet::with_capacity(self.tensors.len());
        // The table is written with the offsets known: its length does not depend on them.
        let mut cursor = self.header_bytes();
        for tensor in &self.tensors {
            if !names.insert(tensor.spec.name.as_str()) {
                return Err(FrameError::malformed(
                    format!("tensor `{}`", tensor.spec.name),
                    "two tensors have this name",
                ));
            }
            put_entry(&mut header, tensor, &mut cursor)?;
        }
        let header_length = u32::try_from(header.len())
            .map_err(|_| too_large("length of the header", header.len() as u64))?;
        put_at(&mut header, 8, &header_length.to_le_bytes());
        put_at(&mut header, 16, &cursor.to_le_bytes());
        let checksum = xxh3_64(&header);
        put_at(&mut header, CHECKSUM_RANGE.start, &checksum.to_le_bytes());

        let mut position = header.len();
        let mut chunks = vec![Bytes::from(header)];
        for tensor in &self.tensors {
            if let Payload::Inline(bytes) = &tensor.payload {
                let padding = position.next_multiple_of(ALIGNMENT) - position;
                chunks.push(Bytes::from_static(ZEROS).slice(..padding));
                chunks.push(bytes.clone());
                position += padding + bytes.len();
            }
        }
        chunks.retain(|chunk| !chunk.is_empty());
        Ok(chunks)
    }

    /// The frame as one buffer, aligned to 64.
    ///
    /// # Errors
    /// As [`Frame::to_chunks`].
    pub fn to_bytes(&self) -> Result<Bytes, FrameError> {
        let chunks = self.to_chunks()?;
        let mut buffer = aligned_buffer(chunks.iter().map(Bytes::len).sum());
        for chunk in chunks {
            buffer.put(chunk);
        }
        Ok(buffer.freeze())
    }

    /// The length of the whole frame that these first bytes of it announce, for whoever receives it
    /// without having been told. `None` while too few bytes are there, or when they are of no frame.
    #[must_use]
    pub fn announced_bytes(start: &[u8]) -> Option<u64> {
        let mut reader = Reader::new(start);
        let magic = reader.array::<4>("the magic number").ok()?;
        reader.take(12, "the header").ok()?;
        let length = reader.u64("the frame length").ok()?;
        (magic == MAGIC).then_some(length)
    }

    /// Reads a frame's header and table. Payloads are sliced out of `bytes`, neither
    /// copied nor read, except for the gaps between them.
    ///
    /// # Errors
    /// When the bytes are not a whole, well-formed frame within `limits`.
    pub fn parse(bytes: Bytes, limits: &FrameLimits) -> Result<Self, FrameError> {
        limit("length of the frame", bytes.len() as u64, limits.max_frame_bytes)?;
        let mut reader = Reader::new(&bytes);
        if reader.array::<4>("the magic number")? != MAGIC {
            return Err(FrameError::NotAFrame);
        }
        let version = reader.u16("the version")?;
        if version != VERSION {
            return Err(FrameError::Version { found: version });
        }
        expect_zero(u64::from(reader.u16("the flags")?), "flags")?;
        let header_length = reader.u32("the header length")? as usize;
        let header_bytes =
            bytes.get(..header_length).ok_or(FrameError::Truncated { within: "the header" })?;
        let mut reader = Reader::new(header_bytes);
        reader.take(12, "the header")?;
        let count = reader.u32("the number of tensors")?;
        let length = reader.u64("the frame length")?;
        if length > bytes.len() as u64 {
            return Err(FrameError::Truncated { within: "the payloads" });
        }
        let checksum = reader.u64("the checksum")?;
        if header_checksum(header_bytes) != Some(checksum) {
            return Err(FrameError::HeaderChecksum);
        }
        let header = parse_request(&mut reader, limits)?;

        limit("number of tensors", u64::from(count), u64::from(limits.max_tensors))?;
        if u64::from(count) * MIN_ENTRY_BYTES > reader.remaining() as u64 {
            return Err(FrameError::Truncated { within: "the tensor table" });
        }
        let mut tensors: Vec<CodedTensor> = Vec::with_capacity(count as usize);
        let mut names = HashSet::with_capacity(count as usize);
        let mut cursor = header_length as u64;
        let mut total = 0_u64;
        for _ in 0..count {
            let tensor = parse_entry(&mut reader, &bytes, &mut cursor, limits)?;
            total = total.saturating_add(tensor.raw_bytes);
            limit("size of all tensors", total, limits.max_total_tensor_bytes)?;
            if !names.insert(tensor.spec.name.clone()) {
                return Err(FrameError::malformed(
                    format!("tensor `{}`", tensor.spec.name),
                    "two tensors have this name",
                ));
            }
            tensors.push(tensor);
        }
        expect_zero(reader.remaining() as u64, "bytes after the tensor table")?;
        if cursor != length || length != bytes.len() as u64 {
            return Err(FrameError::malformed(
                "length of the frame",
                format!("{length} is declared, its parts end at {cursor}, {} came", bytes.len()),
            ));
        }
        Ok(Self { header, tensors })
    }

    /// Decodes every tensor, in order, with its name.
    ///
    /// # Errors
    /// As [`CodedTensor::decode`].
    pub fn decode(
        &self,
        limits: &FrameLimits,
        shared: Option<&SharedFolder>,
    ) -> Result<Vec<(String, Tensor)>, FrameError> {
        self.tensors
            .iter()
            .map(|tensor| Ok((tensor.spec.name.clone(), tensor.decode(limits, shared)?)))
            .collect()
    }

    /// The tensor of this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&CodedTensor> {
        self.tensors.iter().find(|tensor| tensor.spec.name == name)
    }

    /// Bytes of all tensors when decoded.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.raw_bytes).sum()
    }

    /// Bytes of all tensors as coded, wherever they lie.
    #[must_use]
    pub fn coded_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.coded_bytes).sum()
    }

    /// The shared files the frame refers to; to be released when nobody needs them any more.
    pub fn leases(&self) -> impl Iterator<Item = &LeaseReference> {
        self.tensors.iter().filter_map(|tensor| match &tensor.payload {
            Payload::Lease(lease) => Some(lease),
            Payload::Inline(_) | Payload::Object(_) => None,
        })
    }

    fn fixed_header(&self) -> Result<Vec<u8>, FrameError> {
        let header = &self.header;
        let count = u32::try_from(self.tensors.len())
            .map_err(|_| too_large("number of tensors", self.tensors.len() as u64))?;
        let deadline = header.deadline.map_or(NO_DEADLINE, |left| {
            u64::try_from(left.as_millis()).unwrap_or(NO_DEADLINE - 1).min(NO_DEADLINE - 1)
        });
        let mut out = Vec::with_capacity(usize::try_from(self.header_bytes()).unwrap_or(FIXED_HEADER_BYTES));
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]); // flags; header length, set later
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 16]); // frame length and checksum, set later
        out.extend_from_slice(&header.request_id);
        out.extend_from_slice(&header.attempt.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&deadline.to_le_bytes());
        put_text(&mut out, &header.slice, "the slice name")?;
        let traceparent = header.traceparent.as_deref();
        if traceparent.is_some_and(|text| !valid_traceparent(text)) {
            return Err(FrameError::malformed("traceparent", "it is not 1 to 128 visible ASCII characters"));
        }
        put_text(&mut out, traceparent.unwrap_or_default(), "traceparent")?;
        Ok(out)
    }

    /// Length of header and table.
    fn header_bytes(&self) -> u64 {
        let trace = self.header.traceparent.as_deref().unwrap_or_default();
        let texts = 4 + self.header.slice.len() + trace.len();
        let entries: usize = self
            .tensors
            .iter()
            .map(|tensor| {
                let location = match &tensor.payload {
                    Payload::Inline(_) => 8,
                    Payload::Lease(lease) => 10 + lease.name.len(),
                    Payload::Object(object) => 4 + object.uri.len() + object.etag.len(),
                };
                34 + tensor.spec.name.len() + 8 * tensor.spec.shape.len() + location
            })
            .sum();
        (FIXED_HEADER_BYTES + texts + entries) as u64
    }
}

fn put_entry(out: &mut Vec<u8>, tensor: &CodedTensor, cursor: &mut u64) -> Result<(), FrameError> {
    const UNBOUNDED: FrameLimits = FrameLimits {
        max_frame_bytes: u64::MAX,
        max_tensors: u32::MAX,
        max_rank: u32::MAX,
        max_name_bytes: u32::MAX,
        max_tensor_bytes: u64::MAX,
        max_total_tensor_bytes: u64::MAX,
    };
    tensor.check(&UNBOUNDED)?;
    put_text(out, &tensor.spec.name, "a tensor's name")?;
    out.extend_from_slice(&tensor.spec.element_type.to_onnx().to_le_bytes());
    out.push(codec::to_wire(tensor.codec));
    out.push(match &tensor.payload {
        Payload::Inline(_) => 0,
        Payload::Lease(_) => 1,
        Payload::Object(_) => 2,
    });
    let rank = tensor.spec.shape.len();
    let rank = u16::try_from(rank).map_err(|_| too_large("rank of a tensor", rank as u64))?;
    out.extend_from_slice(&rank.to_le_bytes());
    for extent in &tensor.spec.shape {
        out.extend_from_slice(&extent.to_le_bytes());
    }
    for number in [tensor.raw_bytes, tensor.coded_bytes, tensor.checksum] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    match &tensor.payload {
        Payload::Inline(bytes) => {
            if bytes.len() as u64 != tensor.coded_bytes {
                return Err(FrameError::malformed(
                    format!("coded length of tensor `{}`", tensor.spec.name),
                    format!("{} is declared, {} are there", tensor.coded_bytes, bytes.len()),
                ));
            }
            let offset = cursor.next_multiple_of(ALIGNMENT as u64);
            out.extend_from_slice(&offset.to_le_bytes());
            *cursor = offset + tensor.coded_bytes;
        }
        Payload::Lease(lease) => {
            out.extend_from_slice(&lease.offset.to_le_bytes());
            put_text(out, &lease.name, "the name of a shared file")?;
        }
        Payload::Object(object) => {
            put_text(out, &object.uri, "an object's URI")?;
            put_text(out, &object.etag, "an object's entity tag")?;
        }
    }
    Ok(())
}

fn parse_request(reader: &mut Reader<'_>, limits: &FrameLimits) -> Result<RequestHeader, FrameError> {
    let request_id = reader.array("the request id")?;
    let attempt = reader.u32("the attempt")?;
    expect_zero(u64::from(reader.u32("the reserved field")?), "reserved field")?;
    let deadline = reader.u64("the deadline")?;
    let slice = reader.text(limits.max_name_bytes, "the slice name")?.to_owned();
    let traceparent = reader.text(MAX_TRACEPARENT_BYTES, "traceparent")?;
    if !traceparent.is_empty() && !valid_traceparent(traceparent) {
        return Err(FrameError::malformed("traceparent", "it is not visible ASCII"));
    }
    Ok(RequestHeader {
        request_id,
        slice,
        attempt,
        traceparent: (!traceparent.is_empty()).then(|| traceparent.to_owned()),
        deadline: (deadline != NO_DEADLINE).then(|| Duration::from_millis(deadline)),
    })
}

fn parse_entry(
    reader: &mut Reader<'_>,
    frame: &Bytes,
    cursor: &mut u64,
    limits: &FrameLimits,
) -> Result<CodedTensor, FrameError> {
    let name = reader.text(limits.max_name_bytes, "a tensor's name")?.to_owned();
    let of = |what: &str| format!("{what} of tensor `{name}`");
    let code = reader.i32("an element type")?;
    let element_type = ElementType::from_onnx(code)
        .ok_or_else(|| FrameError::malformed(of("element type"), format!("ONNX has no type {code}")))?;
    let number = reader.u8("a codec")?;
    let codec = codec::from_wire(number)
        .ok_or_else(|| FrameError::malformed(of("codec"), format!("there is no codec {number}")))?;
    let location = reader.u8("a location")?;
    let rank = reader.u16("a rank")?;
    limit(of("rank"), u64::from(rank), u64::from(limits.max_rank))?;
    let mut extents = Reader::new(reader.take(usize::from(rank) * 8, "a shape")?);
    let shape = (0..rank).map(|_| extents.u64("a shape")).collect::<Result<_, _>>()?;
    let raw_bytes = reader.u64("a raw length")?;
    let coded_bytes = reader.u64("a coded length")?;
    let checksum = reader.u64("a checksum")?;
    let payload = match location {
        0 => {
            let offset = reader.u64("an offset")?;
            Payload::Inline(inline(frame, offset, coded_bytes, cursor).ok_or_else(|| {
                FrameError::malformed(
                    of("location"),
                    format!("{coded_bytes} bytes at {offset} are not the frame's next aligned bytes"),
                )
            })?)
        }
        1 => {
            let offset = reader.u64("an offset")?;
            let file = reader.text(LeaseReference::MAX_NAME_BYTES, "the name of a shared file")?;
            let lease = LeaseReference { name: file.to_owned(), offset, length: coded_bytes };
            if !lease.is_valid() {
                return Err(FrameError::malformed(of("lease"), "it does not name bytes of a shared file"));
            }
            Payload::Lease(lease)
        }
        2 => Payload::Object(ObjectReference {
            uri: reader.text(MAX_URI_BYTES, "an object's URI")?.to_owned(),
            etag: reader.text(MAX_ETAG_BYTES, "an object's entity tag")?.to_owned(),
        }),
        other => return Err(FrameError::malformed(of("location"), format!("there is no location {other}"))),
    };
    let spec = TensorSpec { name, element_type, shape };
    let tensor = CodedTensor { spec, codec, checksum, raw_bytes, coded_bytes, payload };
    tensor.check(limits)?;
    Ok(tensor)
}

/// The payload at `offset`, if that is where the next one must begin.
fn inline(frame: &Bytes, offset: u64, length: u64, cursor: &mut u64) -> Option<Bytes> {
    if offset != cursor.checked_next_multiple_of(ALIGNMENT as u64)? {
        return None;
    }
    let gap = slice(frame, *cursor, offset - *cursor)?;
    if gap.iter().any(|&byte| byte != 0) {
        return None;
    }
    let bytes = slice(frame, offset, length)?;
    *cursor = offset + length;
    Some(bytes)
}

/// The header's hash with its checksum field as zero.
fn header_checksum(header: &[u8]) -> Option<u64> {
    let mut hasher = Xxh3Default::new();
    hasher.update(header.get(..CHECKSUM_RANGE.start)?);
    hasher.update(&[0; 8]);
    hasher.update(header.get(CHECKSUM_RANGE.end..)?);
    Some(hasher.digest())
}

fn put_at(out: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(field) = out.get_mut(offset..offset + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn expect_zero(found: u64, what: &'static str) -> Result<(), FrameError> {
    if found == 0 { Ok(()) } else { Err(FrameError::malformed(what, format!("expected 0, found {found}"))) }
}

fn limit(what: impl Into<String>, found: u64, limit: u64) -> Result<(), FrameError> {
    if found > limit { Err(FrameError::Limit { what: what.into(), found, limit }) } else { Ok(()) }
}

fn too_large(what: &str, found: u64) -> FrameError {
    FrameError::Limit { what: what.to_owned(), found, limit: u64::from(u32::MAX) }
}
