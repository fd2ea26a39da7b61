//! Answers, and ends of connections without one.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// The connection ends and there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    /// Closed.
    #[error("closed without an answer")]
    Close,
    /// Reset.
    #[error("reset")]
    Reset,
}

/// Plain text, as Go's `http.Error` writes it.
pub(crate) fn text(status: StatusCode, message: &str) -> Answer {
    whole(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(message.as_bytes()))
}

/// A status by number.
pub(crate) fn status(status: u16, message: &str) -> Answer {
    text(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), message)
}

/// A JSON document.
pub(crate) fn json(value: &impl Serialize) -> Answer {
    whole(StatusCode::OK, "application/json", serde_json::to_vec(value).unwrap_or_default().into())
}

pub(crate) fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
