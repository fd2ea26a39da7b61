//! One function's HTTP client: sends a frame, classifies what comes back.

use crate::chunks::Chunks;
use crate::endpoint::{Endpoint, has_ended};
use crate::plan::describe;
use crate::refusal::{MAX_REASON_BYTES, classify, retry_after};
use crate::walk::{Failure, Retry};
use crate::{DriverError, Options};
use bytes::{BufMut as _, Bytes};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tranche_schema::{
    DeployedFunction, ElementType, FunctionMetrics, Itinerary, LocalSupervisor, TensorSpec, to_ascii_json,
};
use tranche_transport::{
    CALL_ID_HEADER, CONTENT_TYPE, CodedTensor, Frame, FrameLimits, INVOKE_PATH, ITINERARY_HEADER, Payload,
    READY_PATH, RequestHeader, SharedFolder, TIMEOUT_HEADER, aligned_buffer, call_id,
};

/// Response header that carries [`FunctionMetrics`] as JSON.
pub const METRICS_HEADER: &str = "tranche-metrics";
/// Room for the header of an answer beside its tensors.
const HEADER_ROOM: u64 = 64 * 1024;
/// Room for the entry and the padding of a tensor in an answer.
const ENTRY_ROOM: u64 = 4096;

/// What hyper's connector says of https where no TLS is compiled in.
const SCHEME_REFUSED: &str = "scheme is not http";
const WITHOUT_TLS: &str = "this program was built without TLS; use the gateway's http address";
const DESTROYED: &str = "the deployment was destroyed, or its supervisor was killed: deploy the bundle again";

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
    endpoint: Endpoint,
    outputs: Vec<TensorSpec>,
    limits: FrameLimits,
    shared: Option<Arc<SharedFolder>>,
    /// Who starts the function again when it has ended.
    supervisor: Option<LocalSupervisor>,
}

impl FunctionClient {
    pub(crate) fn new(
        function: &DeployedFunction,
        shared: Option<Arc<SharedFolder>>,
        supervisor: Option<LocalSupervisor>,
        options: &Options,
    ) -> Result<Self, DriverError> {
        let endpoint = Endpoint::of(function)?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(options.idle_timeout)
            .tcp_nodelay(true);
        let builder = match &endpoint.socket {
            Some(socket) => builder.unix_socket(socket.as_path()),
            None => builder,
        };
        let http = builder.build().map_err(|error| DriverError::Client {
            slice: function.slice.clone(),
            reason: root_cause(&error).to_string(),
        })?;
        let limits = answer_limits(&function.outputs, options.max_string_bytes);
        let outputs = function.outputs.clone();
        Ok(Self { slice: function.slice.clone(), http, endpoint, outputs, limits, shared, supervisor })
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
        let started = Instant::now();
        let response = self.send(header, inputs, None, left).await?;
        if response.status() != 200 {
            return Err(refusal(response).await);
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

    /// Sends the inputs to go on by themselves; the function answers 202 once it has them.
    pub(crate) async fn hand_over(
        &self,
        header: RequestHeader,
        inputs: &[Passing],
        itinerary: &Itinerary,
        left: Duration,
    ) -> Result<(), Failure> {
        let itinerary = to_ascii_json(itinerary)
            .map_err(|error| final_failure(format!("cannot write the itinerary: {error}")))?;
        let response = self.send(header, inputs, Some(itinerary), left).await?;
        match response.status().as_u16() {
            202 => Ok(()),
            200 => Err(final_failure("it answered itself instead of handing on".to_owned())),
            _ => Err(refusal(response).await),
        }
    }

    async fn send(
        &self,
        header: RequestHeader,
        inputs: &[Passing],
        itinerary: Option<String>,
        left: Duration,
    ) -> Result<reqwest::Response, Failure> {
        let call = call_id(&header.request_id_hex(), &self.slice, header.attempt);
        let tensors = inputs.iter().map(|input| input.tensor().clone()).collect();
        let chunks = Frame { header, tensors }
            .to_chunks()
            .map_err(|error| final_failure(format!("cannot write the request: {error}")))?;
        let mut request = self
            .http
            .post(format!("{}{INVOKE_PATH}", self.endpoint.base))
            .header("content-type", CONTENT_TYPE)
            .header(CALL_ID_HEADER, call)
            .header(TIMEOUT_HEADER, format!("{}ms", left.as_millis().max(1)))
            .timeout(left)
            .body(reqwest::Body::wrap(Chunks::new(chunks)));
        if let Some(itinerary) = itinerary {
            request = request.header(ITINERARY_HEADER, itinerary);
        }
        request.send().await.map_err(|error| self.transport_failure(&error, left))
    }

    /// Base URL of the function; `None` for one on a Unix socket.
    pub(crate) fn url(&self) -> Option<&str> {
        self.endpoint.socket.is_none().then_some(self.endpoint.base.as_str())
    }

    /// Whether the function says that it is loaded.
    pub(crate) async fn ready(&self, left: Duration) -> Result<(), Failure> {
        let response = self
            .http
            .get(format!("{}{READY_PATH}", self.endpoint.base))
            .timeout(left)
            .send()
            .await
            .map_err(|error| self.transport_failure(&error, left))?;
        match response.status().as_u16() {
            200 => Ok(()),
            // Only what stands before the function answers these; a load that failed may end well.
            401 | 403 | 404 => Err(refusal(response).await),
            _ => Err(Failure { retry: Retry::Later, ..refusal(response).await }),
        }
    }

    /// The connection failed, before or while it answered: a function that crashed
    /// is started again, and slices are pure, so the call may be made again. But not when
    /// nobody is left to start it, nor when this program cannot speak the URL's protocol.
    fn transport_failure(&self, error: &reqwest::Error, left: Duration) -> Failure {
        let cause = root_cause(error);
        if error.is_builder() {
            return final_failure(cause.to_string());
        }
        if error.is_timeout() {
            let reason = format!("it did not answer within {:.1} s", left.as_secs_f64());
            return Failure { reason, retry: Retry::Later, hint: None };
        }
        if !error.is_connect() {
            return Failure {
                reason: format!("the connection broke: {cause}"),
                retry: Retry::Later,
                hint: None,
            };
        }
        let mut failure =
            Failure { reason: format!("cannot connect: {cause}"), retry: Retry::Later, hint: None };
        let nobody = cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
        });
        if nobody && self.endpoint.socket.is_some() && self.supervisor.as_ref().is_some_and(has_ended) {
            failure.retry = Retry::Never;
            failure.hint = Some(DESTROYED.to_owned());
        } else if self.endpoint.base.starts_with("https:") && cause.to_string().contains(SCHEME_REFUSED) {
            failure.retry = Retry::Never;
            failure.hint = Some(WITHOUT_TLS.to_owned());
        }
        failure
    }

    async fn read_body(&self, mut response: reqwest::Response, left: Duration) -> Result<Bytes, Failure> {
        let limit = self.limits.max_frame_bytes;
        let too_large =
            |found| final_failure(format!("its answer has {found} bytes, its outputs take at most {limit}"));
        let announced = response.content_length();
        if let Some(length) = announced.filter(|&length| length > limit) {
            return Err(too_large(length));
        }
        // Gateways may pass answers on without their length: room is reserved, not touched.
        let mut body = aligned_buffer(usize::try_from(announced.unwrap_or(limit)).unwrap_or(0));
        while let Some(chunk) =
            response.chunk().await.map_err(|error| self.transport_failure(&error, left))?
        {
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
pub(crate) fn answer_limits(outputs: &[TensorSpec], max_string_bytes: u64) -> FrameLimits {
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
    Failure { reason, retry: Retry::Never, hint: None }
}

async fn refusal(mut response: reqwest::Response) -> Failure {
    let status = response.status().as_u16();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (wait, location) = (retry_after(header("retry-after").as_deref()), header("location"));
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_REASON_BYTES - text.len();
        text.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if text.len() == MAX_REASON_BYTES {
            break;
        }
    }
    classify(status, &text, wait, location.as_deref())
}

/// The last cause of an error: the system's words.
fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}
