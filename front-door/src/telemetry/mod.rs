//! Traces: spans go into a bounded queue and from there to a collector, by OTLP over HTTP. Nothing
//! of it waits or fails a request: what finds the queue full, or no collector, is counted and gone.

mod export;
mod span;

pub(crate) use export::Exporter;
pub(crate) use span::{RequestSpan, attempt_spans};

use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Spans that wait for the exporter: some hundred requests.
const QUEUE: usize = 4096;

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// Where spans are left.
pub(crate) struct Telemetry {
    queue: Option<mpsc::Sender<Span>>,
    pub(crate) counts: Arc<Counts>,
}

impl Telemetry {
    /// Nobody wants spans.
    pub(crate) fn off() -> Self {
        Self { queue: None, counts: Arc::default() }
    }

    /// Spans go to what the receiver is given to, and are counted there.
    pub(crate) fn on() -> (Self, mpsc::Receiver<Span>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue: Some(queue), counts: Arc::default() }, waiting)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Leaves a span for the exporter, or counts it as dropped.
    pub(crate) fn send(&self, span: Span) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_the_queue_full_is_counted() {
        let (telemetry, waiting) = Telemetry::on();
        (0..QUEUE + 3).for_each(|_| telemetry.send(Span::default()));
        assert_eq!((waiting.len(), telemetry.counts.dropped.load(Ordering::Relaxed)), (QUEUE, 3));
        Telemetry::off().send(Span::default());
    }
}
