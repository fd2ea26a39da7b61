//! Telling somebody of every try of every function, for metrics and traces.

use crate::client::Reply;
use crate::walk::Failure;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tranche_schema::FunctionMetrics;

/// One try of one function, told when it ends.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The slice that was called.
    pub slice: String,
    /// Which try this was, from 1.
    pub attempt: u32,
    /// The `traceparent` that the function got: the trace, and this try's span.
    pub traceparent: String,
    /// When the driver began to send.
    pub started: SystemTime,
    /// From sending to the last byte of the answer, or to the failure.
    pub elapsed: Duration,
    /// How it ended.
    pub ended: Ended,
}

/// How a try ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// With outputs, and with what the function measured.
    Answered(Box<FunctionMetrics>),
    /// With a failure, in words.
    Failed(String),
    /// The request ended first: its deadline passed, its caller left, or another function failed.
    CutOff,
}

/// Is told of every try of a request, by the task that made it: it must not block.
#[derive(Clone)]
pub struct Watcher(Arc<dyn Fn(Attempt) + Send + Sync>);

impl Watcher {
    /// Calls `told` with every try, when it ends.
    pub fn new(told: impl Fn(Attempt) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn begin(&self, slice: &str, attempt: u32, traceparent: &str) -> Watched {
        Watched {
            watcher: self.clone(),
            started: Instant::now(),
            attempt: Some(Attempt {
                slice: slice.to_owned(),
                attempt,
                traceparent: traceparent.to_owned(),
                started: SystemTime::now(),
                elapsed: Duration::ZERO,
                ended: Ended::CutOff,
            }),
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watcher")
    }
}

/// A try that has begun. Dropped before its end, it was cut off.
pub(crate) struct Watched {
    watcher: Watcher,
    started: Instant,
    attempt: Option<Attempt>,
}

impl Watched {
    pub(crate) fn end(mut self, result: &Result<Reply, Failure>) {
        self.tell(match result {
            Ok(reply) => Ended::Answered(Box::new(reply.metrics.clone())),
            Err(failure) => Ended::Failed(failure.reason.clone()),
        });
    }

    fn tell(&mut self, ended: Ended) {
        if let Some(attempt) = self.attempt.take() {
            (self.watcher.0)(Attempt { elapsed: self.started.elapsed(), ended, ..attempt });
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tell(Ended::CutOff);
    }
}
