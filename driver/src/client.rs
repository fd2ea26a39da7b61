//! One function's HTTP client: sends a frame, classifies what comes back.

use crate::plan::describe;
use crate::walk::{Failure, Retry};
use crate::{DriverError, Options};
use bytes::{BufMut as _, Bytes};
use hyper::body::{Body, Frame as BodyFrame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tranche_schema::{Address, DeployedFunction, ElementType, FunctionMetrics, TensorSpec};
use tranche_transport::{
    CONTENT_TYPE, CodedTensor, Frame, FrameLimits, Payload, RequestHeader, SharedFolder, aligned_buffer,
};

/// Response header that carries [`FunctionMetrics`] as JSON.
pub const METRICS_HEADER: &str = "tranche-metrics";
/// Longest text taken from an answer that is an error.
const MAX_REASON_BYTES: usize = 4096;
/// Room for the header of an answer beside its tensors.
const HEADER_ROOM: u64 = 64 * 1024;
/// Room for the entry and the padding of a tensor in an answer.
const ENTRY_ROOM: u64 = 4096;

/// A tensor between functions. The file that holds its bytes, if it is in one,
/// is removed with the last clone, however the request ends.
#[derive(Clone, Debug)]
pub(crate) struct Passing(Arc<Held>);

#[derive(Debug)]
struct Held {
    tensor: CodedTensor,
    shared: Option<Arc<SharedFolder>>,
}

impl Passing {
    pub(crate) fn new(tensor: CodedTensor, shared: Option<Arc<SharedFolder>>) -> Self {
        Self(Arc::new(Held { tensor, shared }))
    }

    pub(crate) fn tensor(&self) -> &CodedTensor {
        &self.0.tensor
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let (Payload::Lease(lease), Some(shared)) = (&self.tensor.payload, &self.shared)
            && let Err(error) = shared.release(&lease.name)
        {
            tracing::warn!(tensor = %self.tensor.spec.name, %error, "cannot release a shared tensor");
        }
    }
}

/// What a function answered.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its outputs, in the deployment's order.
    pub(crate) outputs: Vec<Passing>,
    /// What it measured.
    pub(crate) metrics: FunctionMetrics,
    /// From sending to the last byte of the answer.
    pub(crate) elapsed: Duration,
}

/// A client for one function; connections are kept and used again.
#[derive(Debug)]
pub(crate) struct FunctionClient {
    pub(crate) slice: String,
    http: reqwest::Client,
    base: String,
    outputs: Vec<TensorSpec>,
    limits: FrameLimits,
    shared: Option<Arc<SharedFolder>>,
}

impl FunctionClient {
    pub(crate) fn new(
        function: &DeployedFunction,
        shared: Option<Arc<SharedFolder>>,
        options: &Options,
    ) -> Result<Self, DriverError> {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true);
        let (builder, base) = match &function.address {
            Address::Unix { path } => (builder.unix_socket(path.as_path()), "http://function".to_owned()),
            Address::Http { url } => (builder, url.trim_end_matches('/').to_owned()),
        };
        let http = builder.build().map_err(|error| DriverError::Client {
            slice: function.slice.clone(),
            reason: reason_of(&error),
        })?;
        let limits = answer_limits(&function.outputs, options.max_string_bytes);
        let outputs = function.outputs.clone();
        Ok(Self { slice: function.slice.clone(), http, base, outputs, limits, shared })
    }

    /// Sends the inputs, waits for the outputs at most `left`.
    pub(crate) async fn call(
        &self,
        header: RequestHeader,
        inputs: &[Passing],
        left: Duration,
    ) -> Result<Reply, Failure> {
        let request_id = header.request_id;
        let expected_id = header.request_id_hex();
        let tensors = inputs.iter().map(|input| input.tensor().clone()).collect();
        let chunks = Frame { header, tensors }
            .to_chunks()
            .map_err(|error| final_failure(format!("cannot write the request: {error}")))?;
        let started = Instant::now();
        let response = self
            .http
            .post(format!("{}/", self.base))
            .header("content-type", CONTENT_TYPE)
            .timeout(left)
            .body(reqwest::Body::wrap(Chunks::new(chunks)))
            .send()
            .await
            .map_err(|error| transport_failure(&error, left))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(refusal(status, response).await);
        }
        let metrics = response.headers().get(METRICS_HEADER).cloned();
        let body = self.read_body(response, left).await?;
        let elapsed = started.elapsed();
        let metrics = metrics
            .ok_or_else(|| final_failure(format!("its answer has no `{METRICS_HEADER}` header")))
            .and_then(|text| {
                serde_json::from_slice::<FunctionMetrics>(text.as_bytes())
                    .map_err(|error| final_failure(format!("its `{METRICS_HEADER}` header: {error}")))
            });
        let frame = Frame::parse(body, &self.limits)
            .map_err(|error| final_failure(format!("its answer is no frame: {error}")))?;
        // From here on the files that the answer names are released whatever is wrong with it.
        let Frame { header, tensors } = frame;
        let tensors: Vec<Passing> =
            tensors.into_iter().map(|tensor| Passing::new(tensor, self.shared.clone())).collect();
        let metrics = metrics?;
        if header.request_id != request_id || metrics.request_id != expected_id {
            return Err(final_failure("it answered another request".to_owned()));
        }
        if header.slice != self.slice {
            return Err(final_failure(format!("`{}` answered in its place", header.slice)));
        }
        if !metrics.billed_ms.0.is_finite() || metrics.billed_ms.0 < 0.0 {
            return Err(final_failure(format!("it bills {} ms", metrics.billed_ms.0)));
        }
        Ok(Reply { outputs: self.in_order(tensors)?, metrics, elapsed })
    }

    /// Whether the function says that it is loaded.
    pub(crate) async fn ready(&self, left: Duration) -> Result<(), String> {
        let response = self
            .http
            .get(format!("{}/_/ready", self.base))
            .timeout(left)
            .send()
            .await
            .map_err(|error| reason_of(&error))?;
        let status = response.status().as_u16();
        if status == 200 { Ok(()) } else { Err(refusal(status, response).await.reason) }
    }

    async fn read_body(&self, mut response: reqwest::Response, left: Duration) -> Result<Bytes, Failure> {
        let limit = self.limits.max_frame_bytes;
        let too_large =
            |found| final_failure(format!("its answer has {found} bytes, its outputs take at most {limit}"));
        let announced = response.content_length();
        if let Some(length) = announced.filter(|&length| length > limit) {
            return Err(too_large(length));
        }
        let mut body = aligned_buffer(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|error| transport_failure(&error, left))? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                return Err(too_large(body.len() as u64 + chunk.len() as u64));
            }
            body.put(chunk);
        }
        Ok(body.freeze())
    }

    fn in_order(&self, tensors: Vec<Passing>) -> Result<Vec<Passing>, Failure> {
        if let Some(extra) = tensors
            .iter()
            .find(|found| !self.outputs.iter().any(|spec| spec.name == found.tensor().spec.name))
        {
            let name = &extra.tensor().spec.name;
            return Err(final_failure(format!("it answered a tensor `{name}` that it should not write")));
        }
        let find = |spec: &TensorSpec| {
            let found = tensors.iter().find(|found| found.tensor().spec.name == spec.name);
            let found =
                found.ok_or_else(|| final_failure(format!("its answer lacks tensor {}", describe(spec))))?;
            if found.tensor().spec != *spec {
                return Err(final_failure(format!(
                    "it answered {} instead of {}",
                    describe(&found.tensor().spec),
                    describe(spec)
                )));
            }
            Ok(found.clone())
        };
        self.outputs.iter().map(find).collect()
    }
}

/// Most that an answer with these tensors can take: coding never makes bytes more.
fn answer_limits(outputs: &[TensorSpec], max_string_bytes: u64) -> FrameLimits {
    let bytes = |spec: &TensorSpec| match spec.element_type {
        ElementType::String => max_string_bytes,
        _ => spec.bytes().0,
    };
    let total: u64 = outputs.iter().map(bytes).fold(0, u64::saturating_add);
    let room = HEADER_ROOM.saturating_add(ENTRY_ROOM.saturating_mul(outputs.len() as u64));
    FrameLimits {
        max_frame_bytes: total.saturating_add(room),
        max_tensor_bytes: total,
        max_total_tensor_bytes: total,
        ..FrameLimits::default()
    }
}

fn final_failure(reason: String) -> Failure {
    Failure { reason, retry: Retry::Never }
}

/// The connection failed, before or while it answered: a function that crashed
/// is started again, and slices are pure, so the call may be made again.
fn transport_failure(error: &reqwest::Error, left: Duration) -> Failure {
    if error.is_builder() {
        return final_failure(reason_of(error));
    }
    let reason = match (error.is_timeout(), error.is_connect()) {
        (true, false) => format!("it did not answer within {:.1} s", left.as_secs_f64()),
        (_, true) => format!("cannot connect: {}", reason_of(error)),
        (false, false) => format!("the connection broke: {}", reason_of(error)),
    };
    Failure { reason, retry: Retry::Later }
}

async fn refusal(status: u16, mut response: reqwest::Response) -> Failure {
    let wait = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok())
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_REASON_BYTES - text.len();
        text.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if text.len() == MAX_REASON_BYTES {
            break;
        }
    }
    let retry = match status {
        408 | 429 | 502 | 503 | 504 => wait.map_or(Retry::Later, Retry::After),
        _ => Retry::Never,
    };
    Failure { reason: format!("HTTP {status}{}", said(&text)), retry }
}

/// What a refusal says: its `message`, or the text of its body.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let field = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
    let text = field.as_deref().unwrap_or(&text).trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// The last cause of an error: the system's words.
fn reason_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A request body of several pieces, sent without joining them.
struct Chunks {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl Chunks {
    fn new(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: pieces.into(), left }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(BodyFrame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
