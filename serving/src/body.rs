//! Reading a request's body within bounds.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::EXPECT;
use hyper::{Request, StatusCode};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tranche_transport::{aligned_buffer, buffer_aligned_at};

use crate::{Refusal, ServerOptions};

/// How much is reserved for a body that does not say its length.
const UNDECLARED_BYTES: u64 = 64 * 1024;
/// How long the rest of a refused request is read, so that its sender sees the answer.
const LINGER: Duration = Duration::from_secs(1);

/// The whole body, aligned so that raw tensors of a frame are read in place. A sender that asked
/// (`Expect: 100-continue`) is told to go on as soon as this begins. Gateways pass bodies on in
/// chunks without a length; `announced` reads it off the first bytes where the body itself tells.
///
/// # Errors
/// A refusal when the body is too large, ends early, pauses too long or is not whole in time.
pub async fn read_body(
    body: Incoming,
    options: &ServerOptions,
    deadline: Instant,
    announced: impl Fn(&[u8]) -> Option<u64>,
) -> Result<Bytes, Refusal> {
    read_body_aligned_at(0, body, options, deadline, announced).await
}

/// [`read_body`], with the byte at `aligned_at` aligned instead of the first: for tensors behind a
/// head of that length.
///
/// # Errors
/// As [`read_body`].
pub async fn read_body_aligned_at(
    aligned_at: usize,
    mut body: Incoming,
    options: &ServerOptions,
    deadline: Instant,
    announced: impl Fn(&[u8]) -> Option<u64>,
) -> Result<Bytes, Refusal> {
    let max_bytes = options.max_body_bytes;
    let deadline = deadline.min(Instant::now() + options.read_timeout);
    let declared = body.size_hint().exact();
    let mut told = declared.is_some();
    let reserved = declared.unwrap_or(UNDECLARED_BYTES).min(max_bytes);
    let mut buffer = buffer_aligned_at(aligned_at, usize::try_from(reserved).unwrap_or(0));
    let slow = || {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "the body did not come in time",
            "send the whole body at once",
        )
        .closing()
    };
    loop {
        let until = deadline.min(Instant::now() + options.body_timeout);
        let Some(piece) = timeout_at(until, body.frame()).await.map_err(|_| slow())? else {
            return Ok(buffer.freeze());
        };
        let piece = piece.map_err(|error| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "bad-body",
                format!("the body ended early: {error}"),
                "send it again",
            )
            .closing()
        })?;
        if let Ok(data) = piece.into_data() {
            if buffer.len() as u64 + data.len() as u64 > max_bytes {
                discard(body, max_bytes).await;
                return Err(too_large(None, max_bytes));
            }
            if let (false, true, Some(length)) = (told, buffer.is_empty(), announced(&data)) {
                // Growing piece by piece would copy all of it several times and lose the alignment.
                told = true;
                buffer = grown(&buffer, length.min(max_bytes));
            }
            buffer.extend_from_slice(&data);
        }
    }
}

fn grown(begun: &[u8], length: u64) -> BytesMut {
    let mut buffer = aligned_buffer(usize::try_from(length).unwrap_or(0).max(begun.len()));
    buffer.extend_from_slice(begun);
    buffer
}

/// 413.
#[must_use]
pub fn too_large(declared: Option<u64>, max_bytes: u64) -> Refusal {
    let size = declared.map_or("larger".to_owned(), |bytes| format!("{bytes} bytes"));
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        format!("the body is {size}, the limit is {max_bytes} bytes"),
        "send less, or raise `--max-body-bytes`",
    )
    .closing()
}

/// Reads and forgets the body of a refused request for a while: a connection closed with
/// unread bytes is reset, and the reset may overtake the answer.
pub async fn discard(mut body: Incoming, max_bytes: u64) {
    let _ = timeout(LINGER, async {
        let mut seen = 0;
        while let Some(Ok(piece)) = body.frame().await {
            seen += piece.data_ref().map_or(0, Bytes::len) as u64;
            if seen > max_bytes {
                break;
            }
        }
    })
    .await;
}

/// Reads on for a while so that the caller gets to see the refusal; a caller that asked
/// whether it may send its body does not get to send it.
pub async fn refuse(request: Request<Incoming>, max_body_bytes: u64, refusal: Refusal) -> Refusal {
    if request.body().is_end_stream() {
        return refusal;
    }
    if request.headers().contains_key(EXPECT) {
        return refusal.closing();
    }
    discard(request.into_body(), max_body_bytes).await;
    refusal
}
