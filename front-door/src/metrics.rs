//! `GET /metrics`: what is counted, in OpenMetrics text, which Prometheus reads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tranche_driver::{Attempt, Ended};
use tranche_schema::Bill;

use crate::line::RequestLine;

/// Media type of [`Metrics::write`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the histograms, in seconds.
const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    model: String,
    /// `ok`, or the code of the refusal.
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Slice {
    model: String,
    slice: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Try {
    model: String,
    slice: String,
    /// `answered`, `failed` or `cut-off`.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tensors {
    model: String,
    slice: String,
    /// `in` or `out`, as the function sees it.
    direction: &'static str,
    /// `raw`, or `coded` as they travelled.
    form: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreRequests {
    model: String,
    operation: &'static str,
}

type Seconds = Counter<f64, AtomicU64>;
type Times<L> = Family<L, Histogram, fn() -> Histogram>;

fn times<L: Clone + Eq + std::hash::Hash>() -> Times<L> {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

/// State of the door that is read when somebody asks.
pub(crate) struct Now {
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) spans_sent: u64,
    pub(crate) spans_dropped: u64,
    /// Models, and whether their functions were ready.
    pub(crate) ready: Vec<(String, bool)>,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    durations: Times<Model>,
    request_bytes: Family<Model, Counter>,
    answer_bytes: Family<Model, Counter>,
    gibibyte_seconds: Family<Slice, Seconds>,
    billed_seconds: Family<Slice, Seconds>,
    slice_durations: Times<Slice>,
    handoff_seconds: Family<Slice, Seconds>,
    tries: Family<Try, Counter>,
    cold_starts: Family<Slice, Counter>,
    tensor_bytes: Family<Tensors, Counter>,
    lambda_invocations: Family<Slice, Counter>,
    lambda_payload_bytes: Family<Slice, Counter>,
    store_requests: Family<StoreRequests, Counter>,
    in_flight: Gauge,
    waiting: Gauge,
    ready: Family<Model, Gauge>,
    spans_sent: Counter,
    spans_dropped: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("tranche");
        let list = &mut registry;
        Self {
            requests: add(list, "requests", "Requests to models, by their end", Family::default()),
            durations: add(list, "request_duration_seconds", "From a request's head to its answer", times()),
            request_bytes: add(list, "request_bytes", "Bytes of requests' bodies", Family::default()),
            answer_bytes: add(list, "answer_bytes", "Bytes of answers' bodies", Family::default()),
            gibibyte_seconds: add(list, "slice_gib_seconds", "Memory times billed time", Family::default()),
            billed_seconds: add(list, "slice_billed_seconds", "Billed time", Family::default()),
            slice_durations: add(list, "slice_duration_seconds", "Billed time of a call", times()),
            handoff_seconds: add(
                list,
                "slice_handoff_seconds",
                "Time of calls beyond what was billed",
                Family::default(),
            ),
            tries: add(list, "slice_tries", "Calls of functions, by their end", Family::default()),
            cold_starts: add(list, "slice_cold_starts", "Answers of fresh processes", Family::default()),
            tensor_bytes: add(list, "slice_tensor_bytes", "Bytes of tensors", Family::default()),
            lambda_invocations: add(
                list,
                "lambda_invocations",
                "Invocations that AWS Lambda took",
                Family::default(),
            ),
            lambda_payload_bytes: add(
                list,
                "lambda_payload_bytes",
                "Bytes of events and answers on AWS Lambda",
                Family::default(),
            ),
            store_requests: add(
                list,
                "store_requests",
                "Requests to the object store that have a fee",
                Family::default(),
            ),
            in_flight: add(list, "in_flight", "Requests that have a place", Gauge::default()),
            waiting: add(list, "waiting", "Requests that wait for a place", Gauge::default()),
            ready: add(list, "model_ready", "Whether every function was ready once", Family::default()),
            spans_sent: add(list, "spans_sent", "Spans that the collector took", Counter::default()),
            spans_dropped: add(list, "spans_dropped", "Spans given up", Counter::default()),
            registry,
        }
    }

    /// A request to a model is over.
    pub(crate) fn finished(&self, line: &RequestLine, elapsed: Duration) {
        let model = Model { model: line.deployment.clone() };
        self.refused(&line.deployment, line.code.unwrap_or("ok"));
        self.durations.get_or_create(&model).observe(elapsed.as_secs_f64());
        self.request_bytes.get_or_create(&model).inc_by(line.body_bytes.0);
        self.answer_bytes.get_or_create(&model).inc_by(line.answer_bytes.0);
    }

    /// A request ended with this code; of those that reached no model, `model` is empty.
    pub(crate) fn refused(&self, model: &str, code: &'static str) {
        self.requests.get_or_create(&Outcome { model: model.to_owned(), code }).inc();
    }

    /// A function was called.
    pub(crate) fn tried(&self, model: &str, attempt: &Attempt) {
        let outcome = match attempt.ended {
            Ended::Answered(_) => "answered",
            Ended::Failed(_) => "failed",
            Ended::CutOff => "cut-off",
        };
        let labels = Try { model: model.to_owned(), slice: attempt.slice.clone(), outcome };
        self.tries.get_or_create(&labels).inc();
    }

    /// A request was answered.
    pub(crate) fn billed(&self, bill: &Bill) {
        for part in &bill.slices {
            let labels = Slice { model: bill.deployment.clone(), slice: part.slice.clone() };
            let measured = &part.measured;
            let billed = part.lambda.as_ref().filter(|lambda| lambda.reported > 0);
            let (seconds, memory_time) = billed
                .map_or((measured.billed_ms.0 / 1000.0, part.memory_time.0), |lambda| {
                    (lambda.billed_ms.0 / 1000.0, lambda.memory_time.0)
                });
            self.billed_seconds.get_or_create(&labels).inc_by(seconds);
            self.gibibyte_seconds.get_or_create(&labels).inc_by(memory_time);
            self.slice_durations.get_or_create(&labels).observe(measured.billed_ms.0 / 1000.0);
            self.handoff_seconds.get_or_create(&labels).inc_by(part.transport_ms.0 / 1000.0);
            self.cold_starts.get_or_create(&labels).inc_by(u64::from(measured.cold));
            for (direction, form, bytes) in [
                ("in", "raw", measured.input_bytes),
                ("in", "coded", measured.input_coded_bytes),
                ("out", "raw", measured.output_bytes),
                ("out", "coded", measured.output_coded_bytes),
            ] {
                let Slice { model, slice } = labels.clone();
                let labels = Tensors { model, slice, direction, form };
                self.tensor_bytes.get_or_create(&labels).inc_by(bytes.0);
            }
            if let Some(lambda) = &part.lambda {
                self.lambda_invocations.get_or_create(&labels).inc_by(lambda.invocations.into());
                self.lambda_payload_bytes.get_or_create(&labels).inc_by(lambda.payload_bytes.0);
            }
        }
        if let Some(lambda) = &bill.lambda {
            let store = &lambda.store;
            for (operation, count) in [("put", store.puts), ("get", store.gets), ("list", store.lists)] {
                let labels = StoreRequests { model: bill.deployment.clone(), operation };
                self.store_requests.get_or_create(&labels).inc_by(count.into());
            }
        }
    }

    /// All of it as text.
    ///
    /// # Errors
    /// As the library's, whose writer is memory.
    pub(crate) fn write(&self, now: Now) -> Result<String, fmt::Error> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.in_flight.set(count(now.in_flight));
        self.waiting.set(count(now.waiting));
        for (model, ready) in now.ready {
            self.ready.get_or_create(&Model { model }).set(ready.into());
        }
        raise(&self.spans_sent, now.spans_sent);
        raise(&self.spans_dropped, now.spans_dropped);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// A counter that is kept elsewhere is brought up to it.
fn raise(counter: &Counter, to: u64) {
    counter.inner().fetch_max(to, std::sync::atomic::Ordering::Relaxed);
}
