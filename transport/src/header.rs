use std::time::Duration;

/// Whose request a frame belongs to, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The request; the same in every slice and every attempt.
    pub request_id: [u8; 16],
    /// The slice that is to run, or that answers.
    pub slice: String,
    /// Which try of this slice it is, from 1.
    pub attempt: u32,
    /// W3C Trace Context `traceparent`, visible ASCII of at most 128 bytes.
    pub traceparent: Option<String>,
    /// Time left when the frame was made; whole milliseconds travel.
    pub deadline: Option<Duration>,
}

impl RequestHeader {
    /// First attempt of a request, untraced, without a deadline.
    #[must_use]
    pub fn new(request_id: [u8; 16], slice: impl Into<String>) -> Self {
        Self { request_id, slice: slice.into(), attempt: 1, traceparent: None, deadline: None }
    }

    /// The request id as 32 hexadecimal digits.
    #[must_use]
    pub fn request_id_hex(&self) -> String {
        use std::fmt::Write as _;
        self.request_id.iter().fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

pub(crate) const MAX_TRACEPARENT_BYTES: u32 = 128;

pub(crate) fn valid_traceparent(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TRACEPARENT_BYTES as usize
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}
