//! Reading a request's body within bounds.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tranche_transport::aligned_buffer;

use crate::answer::Refusal;

/// How much is reserved for a body that does not say its length.
const UNDECLARED_BYTES: u64 = 64 * 1024;
/// How long the rest of a refused request is read, so that its sender sees the answer.
const LINGER: Duration = Duration::from_secs(1);

/// The whole body, aligned so that raw tensors are read in place.
pub(crate) async fn read(
    mut body: Incoming,
    max_bytes: u64,
    pause: Duration,
    deadline: Instant,
) -> Result<Bytes, Refusal> {
    let declared = body.size_hint().exact();
    let reserved = declared.unwrap_or(UNDECLARED_BYTES).min(max_bytes);
    let mut buffer = aligned_buffer(usize::try_from(reserved).unwrap_or(0));
    let slow = || {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "the body did not come in time",
            "send the whole frame at once",
        )
        .closing()
    };
    loop {
        let until = deadline.min(Instant::now() + pause);
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
            buffer.extend_from_slice(&data);
        }
    }
}

pub(crate) fn too_large(declared: Option<u64>, max_bytes: u64) -> Refusal {
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
pub(crate) async fn discard(mut body: Incoming, max_bytes: u64) {
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
