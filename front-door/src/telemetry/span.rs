//! The spans of a request: itself, each try of a function, and in an answered try the hand-off and
//! the function's own time.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tranche_driver::{Attempt, Ended, Trace};
use tranche_schema::{FunctionMetrics, Millis};

use crate::line::RequestLine;

/// A request's span until it ends.
pub(crate) struct RequestSpan {
    pub(crate) trace: Trace,
    /// The caller's span.
    pub(crate) parent: Option<String>,
    pub(crate) started: SystemTime,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) failure: Option<String>,
}

impl RequestSpan {
    /// Names of attributes are those of OpenTelemetry's semantic conventions for HTTP, and ours.
    pub(crate) fn end(&self, line: &RequestLine, elapsed: Duration) -> Span {
        let mut span = Span {
            kind: SpanKind::Server.into(),
            parent_span_id: self.parent.as_deref().map(bytes).unwrap_or_default(),
            ..span(&self.trace, &format!("infer {}", line.deployment), (self.started, elapsed))
        };
        span.attributes = vec![
            text("http.request.method", &self.method),
            text("url.path", &self.path),
            number("http.response.status_code", line.status.into()),
            text("tranche.deployment", &line.deployment),
            whole("tranche.body_bytes", line.body_bytes.0),
            whole("tranche.answer_bytes", line.answer_bytes.0),
        ];
        span.attributes.extend(line.request_id.as_deref().map(|id| text("tranche.request_id", id)));
        span.attributes.extend(line.code.map(|code| text("error.type", code)));
        span.attributes.extend(line.billed_ms.map(|time| float("tranche.billed_ms", time.0)));
        span.attributes.extend(line.memory_time.map(|time| float("tranche.gib_seconds", time.0)));
        span.status = self.failure.as_deref().map(failed);
        span
    }
}

/// The span of a try, below `parent`. An answered one has two children. Clocks of functions are not
/// compared: all of the hand-off, there and back, is drawn before the function's own time.
pub(crate) fn attempt_spans(parent: &Trace, attempt: &Attempt) -> Vec<Span> {
    let Some(trace) = Trace::read(&attempt.traceparent) else { return Vec::new() };
    let mut tried = Span {
        kind: SpanKind::Client.into(),
        parent_span_id: bytes(&parent.span),
        ..span(&trace, &format!("slice {}", attempt.slice), (attempt.started, attempt.elapsed))
    };
    tried.attributes =
        vec![text("tranche.slice", &attempt.slice), number("tranche.attempt", attempt.attempt.into())];
    match &attempt.ended {
        Ended::Answered(measured) => {
            tried.attributes.extend(traffic(measured));
            let parts = parts(&trace, attempt, measured);
            std::iter::once(tried).chain(parts).collect()
        }
        Ended::Failed(reason) => vec![Span { status: Some(failed(reason)), ..tried }],
        Ended::CutOff => vec![Span { status: Some(failed("cut off")), ..tried }],
    }
}

fn traffic(measured: &FunctionMetrics) -> [KeyValue; 4] {
    [
        whole("tranche.input_bytes", measured.input_bytes.0),
        whole("tranche.input_coded_bytes", measured.input_coded_bytes.0),
        whole("tranche.output_bytes", measured.output_bytes.0),
        whole("tranche.output_coded_bytes", measured.output_coded_bytes.0),
    ]
}

fn parts(trace: &Trace, attempt: &Attempt, measured: &FunctionMetrics) -> [Span; 2] {
    let billed = duration(measured.billed_ms).min(attempt.elapsed);
    let handoff = attempt.elapsed - billed;
    let part = |name: &str, start, length| Span {
        kind: SpanKind::Internal.into(),
        parent_span_id: bytes(&trace.span),
        ..span(&trace.child(rand::random()), name, (start, length))
    };
    let mut function = part("function", attempt.started + handoff, billed);
    function.attributes = vec![
        float("tranche.billed_ms", measured.billed_ms.0),
        float("tranche.wait_ms", measured.wait_ms.0),
        float("tranche.decode_ms", measured.decode_ms.0),
        float("tranche.run_ms", measured.run_ms.0),
        float("tranche.encode_ms", measured.encode_ms.0),
        KeyValue { value: value(Value::BoolValue(measured.cold)), ..key("tranche.cold") },
    ];
    [part("hand-off", attempt.started, handoff), function]
}

fn span(trace: &Trace, name: &str, (started, elapsed): (SystemTime, Duration)) -> Span {
    Span {
        trace_id: bytes(&trace.id),
        span_id: bytes(&trace.span),
        name: name.to_owned(),
        start_time_unix_nano: nanoseconds(started),
        end_time_unix_nano: nanoseconds(started + elapsed),
        flags: u32::from_str_radix(&trace.flags, 16).unwrap_or_default(),
        ..Span::default()
    }
}

fn failed(message: &str) -> Status {
    Status { message: message.to_owned(), code: StatusCode::Error.into() }
}

fn duration(time: Millis) -> Duration {
    Duration::try_from_secs_f64(time.0 / 1000.0).unwrap_or_default()
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The bytes of hexadecimal digits, as [`Trace`] has them.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn key(name: &str) -> KeyValue {
    KeyValue { key: name.to_owned(), ..KeyValue::default() }
}

fn value(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

pub(super) fn text(name: &str, content: &str) -> KeyValue {
    KeyValue { value: value(Value::StringValue(content.to_owned())), ..key(name) }
}

fn number(name: &str, content: i64) -> KeyValue {
    KeyValue { value: value(Value::IntValue(content)), ..key(name) }
}

fn whole(name: &str, content: u64) -> KeyValue {
    number(name, i64::try_from(content).unwrap_or(i64::MAX))
}

fn float(name: &str, content: f64) -> KeyValue {
    KeyValue { value: value(Value::DoubleValue(content)), ..key(name) }
}
