//! What is said of a request once it is over: its line, metrics, statistics and span.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tranche_driver::{Answer, Trace, Watcher};
use tranche_schema::ByteCount;
use tranche_serving::Refusal;

use crate::door::{Door, Model};
use crate::line::RequestLine;
use crate::telemetry::{RequestSpan, attempt_spans};

/// The code of a request whose caller left before it was answered.
const LEFT: &str = "caller-left";

/// The account of one request. Dropped without being closed, the caller has left.
pub(crate) struct Account {
    door: Arc<Door>,
    model: Arc<Model>,
    arrived: Instant,
    waited: Duration,
    line: RequestLine,
    span: RequestSpan,
    closed: bool,
}

impl Account {
    pub(crate) fn open(
        door: &Arc<Door>,
        model: &Arc<Model>,
        call_id: Option<String>,
        request: &Request<Incoming>,
    ) -> Self {
        let deployment = model.deployment().name.clone();
        let parent = request.headers().get("traceparent").and_then(|text| Trace::read(text.to_str().ok()?));
        let fresh = || Trace::of(rand::random(), rand::random());
        let trace = parent.as_ref().map_or_else(fresh, |parent| parent.child(rand::random()));
        Self {
            door: Arc::clone(door),
            model: Arc::clone(model),
            arrived: Instant::now(),
            waited: Duration::ZERO,
            span: RequestSpan {
                trace,
                parent: parent.map(|parent| parent.span),
                started: SystemTime::now(),
                method: request.method().as_str().to_owned(),
                path: request.uri().path().to_owned(),
                failure: None,
            },
            line: RequestLine { call_id, deployment, ..RequestLine::default() },
            closed: false,
        }
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// The parent of the driver's spans.
    pub(crate) fn traceparent(&self) -> String {
        self.span.trace.to_traceparent()
    }

    /// Counts every try and sends its spans.
    pub(crate) fn watcher(&self) -> Watcher {
        let door = Arc::clone(&self.door);
        let deployment = self.line.deployment.clone();
        let parent = self.span.trace.clone();
        Watcher::new(move |attempt| {
            door.metrics.tried(&deployment, &attempt);
            if parent.is_sampled() && door.telemetry.is_on() {
                attempt_spans(&parent, &attempt).into_iter().for_each(|span| door.telemetry.send(span));
            }
        })
    }

    /// It has a place.
    pub(crate) fn entered(&mut self) {
        self.waited = self.arrived.elapsed();
    }

    pub(crate) fn received(&mut self, bytes: ByteCount) {
        self.line.body_bytes = bytes;
    }

    pub(crate) fn answered(&mut self, answer: &Answer) {
        self.line.add(answer);
        self.door.metrics.billed(&answer.bill);
        self.model.stats.computed(&answer.bill);
    }

    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.line.code = Some(refusal.code);
        self.span.failure = Some(refusal.message.clone());
    }

    /// The answer is ready to be sent.
    pub(crate) fn close(mut self, status: StatusCode, answer_bytes: ByteCount) {
        if self.line.code.is_none() {
            self.door.answered.fetch_add(1, Ordering::Relaxed);
        }
        self.line.status = status.as_u16();
        self.line.answer_bytes = answer_bytes;
        self.finish();
        self.line.print();
    }

    fn finish(&mut self) {
        self.closed = true;
        let elapsed = self.arrived.elapsed();
        self.line.elapsed_ms = elapsed.into();
        self.door.metrics.finished(&self.line, elapsed);
        self.model.stats.finished(self.line.code.is_none(), elapsed, self.waited);
        if self.span.trace.is_sampled() && self.door.telemetry.is_on() {
            self.door.telemetry.send(self.span.end(&self.line, elapsed));
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.closed {
            self.line.code = Some(LEFT);
            self.span.failure = Some("the caller left".to_owned());
            self.finish();
        }
    }
}
