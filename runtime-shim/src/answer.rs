//! Answers: chunks of bytes, and refusals with a reason.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tranche_schema::FunctionMetrics;
use tranche_transport::{FrameError, METRICS_HEADER};

use crate::metrics;

/// A body of pieces that are sent as they lie, with their length known beforehand.
#[derive(Debug, Default)]
pub(crate) struct Chunks(VecDeque<Bytes>);

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

pub(crate) type Answer = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

/// Why a request is not answered with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Stable, for programs.
    pub(crate) code: &'static str,
    /// What happened, for people.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: String,
    /// Whether the connection cannot serve another request.
    pub(crate) close: bool,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), hint: hint.into(), close: false }
    }

    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-input",
            message,
            "send the slice's inputs as the bundle's manifest lists them",
        )
    }

    pub(crate) fn deadline(message: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            message,
            "give the request more time, or the function more CPU",
        )
    }

    pub(crate) fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the function is shutting down",
            "send the request again to the function's next process",
        )
        .closing()
    }

    pub(crate) fn into_response(self, metrics: Option<&FunctionMetrics>) -> Answer {
        let body = json!({ "code": self.code, "message": self.message, "hint": self.hint });
        let mut response = json_response(self.status, &body);
        let headers = response.headers_mut();
        if self.status == StatusCode::TOO_MANY_REQUESTS || self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        add_metrics(&mut response, metrics);
        response
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-frame", error.to_string(), error.hint())
    }
}

pub(crate) fn json_response(status: StatusCode, value: &serde_json::Value) -> Answer {
    let text = Bytes::from(format!("{value}\n"));
    respond(status, "application/json", vec![text])
}

pub(crate) fn frame_response(chunks: Vec<Bytes>, metrics: Option<&FunctionMetrics>) -> Answer {
    let mut response = respond(StatusCode::OK, tranche_transport::CONTENT_TYPE, chunks);
    add_metrics(&mut response, metrics);
    response
}

fn respond(status: StatusCode, content_type: &'static str, chunks: Vec<Bytes>) -> Answer {
    let mut response = Response::new(Chunks(chunks.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn add_metrics(response: &mut Answer, metrics: Option<&FunctionMetrics>) {
    // A header has no room for letters beyond ASCII, and slices may be named with them.
    let value = metrics.map(metrics::to_header).and_then(|text| HeaderValue::from_str(&text).ok());
    if let Some(value) = value {
        response.headers_mut().insert(HeaderName::from_static(METRICS_HEADER), value);
    }
}
