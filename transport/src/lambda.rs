//! What functions on AWS Lambda are sent and answer, as bytes; and the keys of tensors on their way
//! (docs/formats/lambda.md).
//!
//! Sizes are computed before anything is encoded, so that a caller can choose another channel.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BufMut as _, Bytes};
use serde::{Deserialize, Serialize};
use tranche_schema::{
    AlignedBuffer, AnswerWish, Digest, FunctionMetrics, LAMBDA_EVENT_VERSION, LambdaAnswer, LambdaEvent,
    ObjectStore,
};

use crate::{Frame, FrameError, FrameLimits};

/// Most bytes of a synchronous event and of a buffered answer: Lambda's 6 MB, as its Runtime
/// Interface Emulator enforces them.
pub const PAYLOAD_LIMIT: u64 = 6_291_556;
/// Most bytes of an event of an asynchronous invocation.
pub const EVENT_PAYLOAD_LIMIT: u64 = 1_048_576;
/// Most bytes of a streamed answer (200 MB).
pub const STREAM_LIMIT: u64 = 200 << 20;
/// Bytes of a streamed answer that Lambda sends as fast as it can.
pub const STREAM_UNCAPPED_BYTES: u64 = 6 << 20;
/// Bytes a second beyond these.
pub const STREAM_BYTES_PER_SECOND: u64 = 2 << 20;
/// What stands between the JSON and the frame of a streamed answer.
pub const STREAM_SEPARATOR: [u8; 8] = [0; 8];

/// Longest name that stands in keys as it is.
const MAX_PLAIN_NAME: usize = 64;

/// An event or an answer that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// It is larger than Lambda takes.
    #[error("the {what} has {bytes} bytes, Lambda takes at most {limit}")]
    TooLarge {
        /// Event, answer or frame.
        what: &'static str,
        /// What it would take.
        bytes: u64,
        /// Lambda's bound, or the caller's.
        limit: u64,
    },
    /// It is no JSON of this kind.
    #[error("the {what} is not as expected: {source}")]
    Json {
        /// Event or answer.
        what: &'static str,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("the {what} is of version {found}, this tranche speaks version {LAMBDA_EVENT_VERSION}")]
    Version {
        /// Event or answer.
        what: &'static str,
        /// The version found.
        found: u32,
    },
    /// The frame's text is not base64.
    #[error("the frame is no base64: {reason}")]
    Base64 {
        /// What is wrong, and where.
        reason: String,
    },
    /// The frame cannot be written or read.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl LambdaError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "deploy with a bucket, so that large tensors go through it",
            Self::Json { .. } | Self::Base64 { .. } => "see docs/formats/lambda.md",
            Self::Version { .. } => "run driver and functions of the same version of tranche",
            Self::Frame(error) => error.hint(),
        }
    }
}

/// Bytes that base64 makes of this many.
#[must_use]
pub const fn base64_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Bytes of a frame as it is sent.
///
/// # Errors
/// As [`Frame::to_chunks`].
pub fn frame_bytes(frame: &Frame) -> Result<u64, FrameError> {
    Ok(frame.to_chunks()?.iter().map(|chunk| chunk.len() as u64).sum())
}

/// Bytes of the event that asks to run a frame of `frame_bytes`.
#[must_use]
pub fn run_event_bytes(frame_bytes: u64, answer: &AnswerWish) -> u64 {
    let wish = serde_json::to_string(answer).map_or(0, |text| text.len());
    (RUN_START.len() + RUN_MIDDLE.len() + RUN_END.len() + wish) as u64 + base64_bytes(frame_bytes)
}

/// Bytes of a buffered answer with a frame of `frame_bytes` and these metrics.
#[must_use]
pub fn run_answer_bytes(frame_bytes: u64, metrics: &FunctionMetrics) -> u64 {
    let metrics = serde_json::to_string(metrics).map_or(0, |text| text.len());
    (ANSWER_START.len() + ANSWER_MIDDLE.len() + ANSWER_END.len() + metrics) as u64 + base64_bytes(frame_bytes)
}

const RUN_START: &str = "{\"tranche\":1,\"ask\":{\"run\":{\"frame\":\"";
const RUN_MIDDLE: &str = "\",\"answer\":";
const RUN_END: &str = "}}}";
const ANSWER_START: &str = "{\"tranche\":1,\"frame\":\"";
const ANSWER_MIDDLE: &str = "\",\"metrics\":";
const ANSWER_END: &str = "}";

/// The event that asks to run a frame: the bytes that [`encode_event`] would make, without copies.
///
/// # Errors
/// When it is larger than [`PAYLOAD_LIMIT`], which is found out before the frame is encoded, or
/// the frame cannot be written.
pub fn encode_run(frame: &Frame, answer: &AnswerWish) -> Result<Bytes, LambdaError> {
    let wish = to_json("event", answer)?;
    around("event", [RUN_START, RUN_MIDDLE, RUN_END], frame, &wish)
}

/// The buffered answer to [`encode_run`].
///
/// # Errors
/// As [`encode_run`].
pub fn encode_run_answer(frame: &Frame, metrics: &FunctionMetrics) -> Result<Bytes, LambdaError> {
    let metrics = to_json("answer", metrics)?;
    around("answer", [ANSWER_START, ANSWER_MIDDLE, ANSWER_END], frame, &metrics)
}

/// `start`, the frame in base64, `middle`, `json`, `end`.
fn around(
    what: &'static str,
    [start, middle, end]: [&str; 3],
    frame: &Frame,
    json: &str,
) -> Result<Bytes, LambdaError> {
    let texts = (start.len() + middle.len() + json.len() + end.len()) as u64;
    let chunks = frame.to_chunks()?;
    let frame_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let bytes = texts + base64_bytes(frame_bytes);
    let mut out = Vec::with_capacity(bounded(what, bytes, PAYLOAD_LIMIT)?);
    out.extend_from_slice(start.as_bytes());
    put_base64(&mut out, &chunks);
    for text in [middle, json, end] {
        out.extend_from_slice(text.as_bytes());
    }
    Ok(out.into())
}

/// An event as JSON, within [`PAYLOAD_LIMIT`]; what is invoked asynchronously has
/// [`EVENT_PAYLOAD_LIMIT`], which the client checks.
///
/// # Errors
/// When it is larger.
pub fn encode_event(event: &LambdaEvent) -> Result<Bytes, LambdaError> {
    let text = to_json("event", event)?;
    bounded("event", text.len() as u64, PAYLOAD_LIMIT)?;
    Ok(text.into())
}

/// An event from JSON.
///
/// # Errors
/// When it is none, or of another version.
pub fn decode_event(payload: &[u8]) -> Result<LambdaEvent, LambdaError> {
    let event: LambdaEvent =
        serde_json::from_slice(payload).map_err(|source| LambdaError::Json { what: "event", source })?;
    check_version("event", event.tranche)?;
    Ok(event)
}

/// A frame in base64.
///
/// # Errors
/// When the text is longer than `limit`, which is found out before it is made, or the frame cannot
/// be written.
pub fn encode_frame(frame: &Frame, limit: u64) -> Result<String, LambdaError> {
    let chunks = frame.to_chunks()?;
    let bytes = base64_bytes(chunks.iter().map(|chunk| chunk.len() as u64).sum());
    let mut out = Vec::with_capacity(bounded("frame", bytes, limit)?);
    put_base64(&mut out, &chunks);
    // Base64 is ASCII.
    Ok(String::from_utf8(out).unwrap_or_default())
}

/// A frame from base64, aligned so that raw tensors are read in place.
///
/// # Errors
/// When the text is no base64, makes more than `limits` allow, or is no frame.
pub fn decode_frame(text: &str, limits: &FrameLimits) -> Result<Frame, LambdaError> {
    let most = base64_bytes(limits.max_frame_bytes);
    bounded("frame", text.len() as u64, most)?;
    let mut buffer = AlignedBuffer::zeroed(base64::decoded_len_estimate(text.len()));
    let length = STANDARD
        .decode_slice(text, buffer.as_mut())
        .map_err(|error| LambdaError::Base64 { reason: error.to_string() })?;
    Ok(Frame::parse(buffer.freeze().slice(..length), limits)?)
}

/// An answer as JSON: with its frame if it has one.
///
/// # Errors
/// When it is larger than [`PAYLOAD_LIMIT`].
pub fn encode_answer(answer: &LambdaAnswer) -> Result<Bytes, LambdaError> {
    let text = to_json("answer", answer)?;
    bounded("answer", text.len() as u64, PAYLOAD_LIMIT)?;
    Ok(text.into())
}

/// A streamed answer as pieces: JSON, [`STREAM_SEPARATOR`], and the frame as it is.
///
/// # Errors
/// When it is larger than [`STREAM_LIMIT`], or the frame cannot be written.
pub fn encode_streamed(frame: &Frame, metrics: &FunctionMetrics) -> Result<Vec<Bytes>, LambdaError> {
    let answer = LambdaAnswer { tranche: LAMBDA_EVENT_VERSION, frame: None, metrics: Some(metrics.clone()) };
    let mut pieces = vec![Bytes::from(to_json("answer", &answer)?), Bytes::from_static(&STREAM_SEPARATOR)];
    pieces.extend(frame.to_chunks()?);
    bounded("answer", pieces.iter().map(|piece| piece.len() as u64).sum(), STREAM_LIMIT)?;
    Ok(pieces)
}

/// An answer from what Lambda passed on, streamed or not, and its frame if it has one.
///
/// # Errors
/// When it is none, of another version, or its frame is none within `limits`.
pub fn decode_answer(
    mut payload: Bytes,
    limits: &FrameLimits,
) -> Result<(LambdaAnswer, Option<Frame>), LambdaError> {
    // JSON has no zero bytes.
    let streamed = payload.iter().position(|&byte| byte == 0);
    let json = match streamed {
        Some(end) => payload.split_to(end),
        None => payload.clone(),
    };
    let mut answer: LambdaAnswer =
        serde_json::from_slice(&json).map_err(|source| LambdaError::Json { what: "answer", source })?;
    check_version("answer", answer.tranche)?;
    if streamed.is_none() {
        let frame = answer.frame.take().map(|text| decode_frame(&text, limits)).transpose()?;
        return Ok((answer, frame));
    }
    let separator = payload.get(..STREAM_SEPARATOR.len());
    if separator != Some(&STREAM_SEPARATOR) {
        return Err(FrameError::Truncated { within: "a streamed answer" }.into());
    }
    payload.advance(STREAM_SEPARATOR.len());
    // What came in one piece after JSON of any length is not aligned; raw tensors want it.
    bounded("answer", payload.len() as u64, limits.max_frame_bytes)?;
    let frame = Frame::parse(AlignedBuffer::copy_of(&payload).freeze(), limits)?;
    Ok((answer, Some(frame)))
}

/// How a function failed, as Lambda passes it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionFailure {
    /// `tranche.CODE`, or Lambda's own word.
    #[serde(rename = "errorType", default)]
    pub error_type: String,
    /// For people.
    #[serde(rename = "errorMessage", default)]
    pub message: String,
}

impl FunctionFailure {
    /// Reads an error document; anything else becomes the message, shortened.
    #[must_use]
    pub fn read(payload: &[u8]) -> Self {
        let found: Option<Self> = serde_json::from_slice(payload).ok();
        found.filter(|failure| !failure.error_type.is_empty() || !failure.message.is_empty()).unwrap_or_else(
            || {
                let start = payload.get(..4096).unwrap_or(payload);
                Self { error_type: String::new(), message: String::from_utf8_lossy(start).trim().to_owned() }
            },
        )
    }

    /// CODE, when it is the function's own and not Lambda's.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.error_type.strip_prefix("tranche.")
    }
}

/// A tensor's or slice's name as part of a key: itself where it is 1 to 64 of `A-Za-z0-9_.-` (and
/// neither `.` nor `..`), else `x-` and the first 32 hexadecimal digits of its SHA-256.
#[must_use]
pub fn key_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=MAX_PLAIN_NAME).contains(&name.len()) && name.bytes().all(plain) && !matches!(name, "." | "..") {
        return name.to_owned();
    }
    let digest = Digest::of(name.as_bytes());
    format!("x-{}", digest.hex().get(..32).unwrap_or_default())
}

/// What all keys of a request begin with: `PREFIX/REQUEST/`.
#[must_use]
pub fn request_prefix(store: &ObjectStore, request: &str) -> String {
    if store.prefix.is_empty() { format!("{request}/") } else { format!("{}/{request}/", store.prefix) }
}

/// Where a stored request's tensor is: a frame of this tensor alone.
#[must_use]
pub fn tensor_key(store: &ObjectStore, request: &str, tensor: &str) -> String {
    format!("{}tensors/{}", request_prefix(store, request), key_name(tensor))
}

/// Created by who invokes a slice of a stored request.
#[must_use]
pub fn claim_key(store: &ObjectStore, request: &str, slice: &str) -> String {
    format!("{}claims/{}", request_prefix(store, request), key_name(slice))
}

/// Where a slice of a stored request says what it measured.
#[must_use]
pub fn metrics_key(store: &ObjectStore, request: &str, slice: &str) -> String {
    format!("{}metrics/{}", request_prefix(store, request), key_name(slice))
}

/// Created by who finds a stored request done, or failed.
#[must_use]
pub fn answer_key(store: &ObjectStore, request: &str) -> String {
    format!("{}answer", request_prefix(store, request))
}

/// Where a frame's tensor lies that no payload takes: its coded bytes, whose XXH3-64 is `checksum`,
/// as written for or by this try of a slice.
#[must_use]
pub fn passing_key(
    store: &ObjectStore,
    request: &str,
    (slice, attempt): (&str, u32),
    checksum: u64,
    tensor: &str,
) -> String {
    let prefix = request_prefix(store, request);
    format!("{prefix}passing/{}-{attempt}/{checksum:016x}-{}", key_name(slice), key_name(tensor))
}

/// `s3://BUCKET/KEY`.
#[must_use]
pub fn object_uri(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key}")
}

/// Bucket and key of [`object_uri`].
#[must_use]
pub fn parse_object_uri(uri: &str) -> Option<(&str, &str)> {
    let (bucket, key) = uri.strip_prefix("s3://")?.split_once('/')?;
    (!bucket.is_empty() && !key.is_empty()).then_some((bucket, key))
}

fn to_json(what: &'static str, value: &impl Serialize) -> Result<String, LambdaError> {
    serde_json::to_string(value).map_err(|source| LambdaError::Json { what, source })
}

fn check_version(what: &'static str, found: u32) -> Result<(), LambdaError> {
    if found == LAMBDA_EVENT_VERSION { Ok(()) } else { Err(LambdaError::Version { what, found }) }
}

fn bounded(what: &'static str, bytes: u64, limit: u64) -> Result<usize, LambdaError> {
    match usize::try_from(bytes) {
        Ok(length) if bytes <= limit => Ok(length),
        _ => Err(LambdaError::TooLarge { what, bytes, limit }),
    }
}

/// Appends the base64 of pieces, as if they were one.
fn put_base64(out: &mut Vec<u8>, pieces: &[Bytes]) {
    let mut joined;
    let all = if let [only] = pieces {
        only
    } else {
        joined = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
        for piece in pieces {
            joined.put_slice(piece);
        }
        &Bytes::from(joined)
    };
    let start = out.len();
    out.resize(start + usize::try_from(base64_bytes(all.len() as u64)).unwrap_or(0), 0);
    if let Some(room) = out.get_mut(start..) {
        // There is exactly the room it takes.
        let written = STANDARD.encode_slice(all, room).unwrap_or(0);
        out.truncate(start + written);
    }
}
