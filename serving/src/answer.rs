//! Answers: chunks of bytes, and refusals with a reason.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body of pieces that are sent as they lie, with their length known beforehand.
#[derive(Debug, Default)]
pub struct Chunks(VecDeque<Bytes>);

impl Chunks {
    /// A body of these pieces.
    #[must_use]
    pub fn new(pieces: Vec<Bytes>) -> Self {
        Self(pieces.into())
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|chunk| chunk.len() as u64).sum())
    }
}

/// What a request is answered with.
pub type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// What happened, for people.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Whether the connection cannot serve another request.
    pub close: bool,
}

impl Refusal {
    /// A refusal that leaves the connection open.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), hint: hint.into(), close: false }
    }

    /// The same, with the connection closed after it.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// 504: the time is over.
    #[must_use]
    pub fn deadline(message: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            message,
            "give the request more time, or the function more CPU",
        )
    }

    /// 503: the process is stopping.
    #[must_use]
    pub fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the function is shutting down",
            "send the request again to the function's next process",
        )
        .closing()
    }

    /// 429: as many as may be are in flight.
    #[must_use]
    pub fn busy(max_in_flight: usize) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "busy",
            format!("{max_in_flight} requests are in flight already"),
            "wait as Retry-After says; `--max-in-flight` is the bound",
        )
    }

    /// 405: the path takes another method.
    #[must_use]
    pub fn method_not_allowed(method: &hyper::Method, path: &str, allowed: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            format!("{method} is not for {path}"),
            format!("use {allowed}"),
        )
    }

    /// 404: the path leads nowhere; `hint` says where paths do.
    #[must_use]
    pub fn not_found(path: &str, hint: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {path}"), hint)
    }

    /// As JSON with `code`, `message` and `hint`; 429 and 503 with `Retry-After`.
    #[must_use]
    pub fn into_response(self) -> Answer {
        let body = json!({ "code": self.code, "message": self.message, "hint": self.hint });
        let mut response = json_response(self.status, &body);
        let headers = response.headers_mut();
        if self.status == StatusCode::TOO_MANY_REQUESTS || self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A JSON answer of one line.
#[must_use]
pub fn json_response(status: StatusCode, value: &serde_json::Value) -> Answer {
    respond(status, "application/json", vec![Bytes::from(format!("{value}\n"))])
}

/// An answer of these bytes, with its length told.
#[must_use]
pub fn respond(status: StatusCode, content_type: &'static str, chunks: Vec<Bytes>) -> Answer {
    let mut response = Response::new(Chunks::new(chunks).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Sends a header of the request back, if it came.
pub fn echo(response: &mut Answer, name: &'static str, value: Option<HeaderValue>) {
    if let Some(value) = value {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
