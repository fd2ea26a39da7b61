//! Spans to a collector: OTLP 1.x over HTTP with binary Protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::Counts;
use super::span::text;
use crate::FrontDoorError;

/// Most spans of one export, and how long fewer wait for more.
const MOST: usize = 512;
const PAUSE: Duration = Duration::from_millis(200);
/// Longest time of one export, and of connecting.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Waits before an export is tried again, where the specification has it tried again.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];
/// Longest answer that is looked into.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends spans to one collector.
pub(crate) struct Exporter {
    url: reqwest::Url,
    client: reqwest::Client,
    service: String,
}

impl Exporter {
    /// To `/v1/traces` below `endpoint`, as `OTEL_EXPORTER_OTLP_ENDPOINT` means it.
    ///
    /// # Errors
    /// When it is no URL of plain HTTP.
    pub(crate) fn new(endpoint: &str, service: String) -> Result<Self, FrontDoorError> {
        let wrong = |reason: String| FrontDoorError::Collector { url: endpoint.to_owned(), reason };
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let url = reqwest::Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(wrong(format!("`{}` is not http", url.scheme())));
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { url, client, service })
    }

    /// Exports what comes until `stop`, then what is left.
    pub(crate) async fn run(
        self,
        mut waiting: mpsc::Receiver<Span>,
        counts: Arc<Counts>,
        mut stop: oneshot::Receiver<()>,
    ) {
        let mut well = true;
        let mut batch = Vec::new();
        loop {
            let received = tokio::select! {
                received = waiting.recv_many(&mut batch, MOST) => received,
                _ = &mut stop, if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            if batch.len() < MOST && !waiting.is_closed() {
                tokio::time::sleep(PAUSE).await;
                while let (true, Ok(span)) = (batch.len() < MOST, waiting.try_recv()) {
                    batch.push(span);
                }
            }
            let sent = batch.len() as u64;
            let rejected = match self.export(std::mem::take(&mut batch)).await {
                Ok(rejected) => rejected.min(sent),
                Err(reason) => {
                    // Said once, not with every batch.
                    if std::mem::replace(&mut well, false) {
                        warn!(collector = %self.url, "spans are dropped: {reason}");
                    }
                    counts.dropped.fetch_add(sent, Ordering::Relaxed);
                    continue;
                }
            };
            if !std::mem::replace(&mut well, true) {
                info!(collector = %self.url, "spans are taken again");
            }
            counts.sent.fetch_add(sent - rejected, Ordering::Relaxed);
            counts.dropped.fetch_add(rejected, Ordering::Relaxed);
        }
    }

    /// How many spans the collector did not take.
    async fn export(&self, spans: Vec<Span>) -> Result<u64, String> {
        let body = bytes::Bytes::from(self.request(spans).encode_to_vec());
        let mut waits = WAITS.into_iter();
        loop {
            let (reason, again) = match self.post(body.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(failed) => failed,
            };
            match waits.next().filter(|_| again) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(reason),
            }
        }
    }

    /// Failures come with whether trying again may help.
    async fn post(&self, body: bytes::Bytes) -> Result<u64, (String, bool)> {
        let sent = self.client.post(self.url.clone()).header("content-type", "application/x-protobuf");
        let mut answer = sent.body(body).send().await.map_err(|error| (error.to_string(), true))?;
        let status = answer.status();
        if !status.is_success() {
            return Err((format!("it answers {status}"), matches!(status.as_u16(), 429 | 502 | 503 | 504)));
        }
        let mut text = Vec::new();
        while let Ok(Some(piece)) = answer.chunk().await {
            if text.len() + piece.len() > MAX_ANSWER_BYTES {
                break;
            }
            text.extend_from_slice(&piece);
        }
        let told = ExportTraceServiceResponse::decode(text.as_slice()).ok();
        let rejected = told.and_then(|told| told.partial_success).map_or(0, |part| part.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let attributes =
            vec![text("service.name", &self.service), text("service.version", env!("CARGO_PKG_VERSION"))];
        let scope = InstrumentationScope { name: "tranche".to_owned(), ..InstrumentationScope::default() };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }],
        }
    }
}
