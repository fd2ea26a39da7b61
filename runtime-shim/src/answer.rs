//! Answers of a slice: frames, and refusals, with what the request took.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use tranche_schema::FunctionMetrics;
use tranche_serving::{Answer, Refusal, respond};
use tranche_transport::{CONTENT_TYPE, FrameError, METRICS_HEADER};

use crate::metrics;

pub(crate) fn bad_input(message: impl Into<String>) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad-input",
        message,
        "send the slice's inputs as the bundle's manifest lists them",
    )
}

pub(crate) fn bad_frame(error: &FrameError) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad-frame", error.to_string(), error.hint())
}

pub(crate) fn frame_response(chunks: Vec<Bytes>, metrics: Option<&FunctionMetrics>) -> Answer {
    with_metrics(respond(StatusCode::OK, CONTENT_TYPE, chunks), metrics)
}

pub(crate) fn with_metrics(mut response: Answer, metrics: Option<&FunctionMetrics>) -> Answer {
    // A header has no room for letters beyond ASCII, and slices may be named with them.
    let value = metrics.map(metrics::to_header).and_then(|text| HeaderValue::from_str(&text).ok());
    if let Some(value) = value {
        response.headers_mut().insert(HeaderName::from_static(METRICS_HEADER), value);
    }
    response
}
