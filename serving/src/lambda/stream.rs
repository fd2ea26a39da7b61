//! The body of a streamed answer: chunks, and trailers when it fails in the middle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::RuntimeFailure;

pub(super) const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
pub(super) const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");

/// Sends the chunks of a stream as they come. A failure ends the body with trailers that say
/// why; what has been sent stays sent.
pub(super) struct Streamed<S> {
    chunks: Pin<Box<S>>,
    ended: bool,
}

impl<S> Streamed<S> {
    pub(super) fn new(chunks: S) -> Self {
        Self { chunks: Box::pin(chunks), ended: false }
    }
}

impl<S: Stream<Item = Result<Bytes, RuntimeFailure>>> Body for Streamed<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.chunks.as_mut().poll_next(context)) {
            Some(Ok(chunk)) => Some(Ok(Frame::data(chunk))),
            Some(Err(failure)) => {
                self.ended = true;
                Some(Ok(Frame::trailers(trailers(&failure))))
            }
            None => {
                self.ended = true;
                None
            }
        })
    }
}

fn trailers(failure: &RuntimeFailure) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(ERROR_TYPE, failure.type_header());
    if let Ok(body) = HeaderValue::from_str(&STANDARD.encode(failure.to_json())) {
        trailers.insert(ERROR_BODY, body);
    }
    trailers
}
