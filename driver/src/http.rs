//! A function's client over HTTP.

use crate::chunks::Chunks;
use crate::client::{Expected, Passing, Reply, final_failure};
use crate::endpoint::{Endpoint, has_ended};
use crate::refusal::{MAX_REASON_BYTES, classify, retry_after};
use crate::walk::{Failure, Retry};
use crate::{DriverError, Options};
use bytes::{BufMut as _, Bytes};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tranche_schema::{DeployedFunction, FunctionMetrics, Itinerary, LocalSupervisor, to_ascii_json};
use tranche_transport::{
    CALL_ID_HEADER, CONTENT_TYPE, Frame, INVOKE_PATH, ITINERARY_HEADER, READY_PATH, RequestHeader,
    SharedFolder, TIMEOUT_HEADER, aligned_buffer, call_id,
};

/// Response header that carries [`FunctionMetrics`] as JSON.
pub const METRICS_HEADER: &str = "tranche-metrics";

/// What hyper's connector says of https where no TLS is compiled in.
const SCHEME_REFUSED: &str = "scheme is not http";
const WITHOUT_TLS: &str = "this program was built without TLS; use the gateway's http address";
const DESTROYED: &str = "the deployment was destroyed, or its supervisor was killed: deploy the bundle again";

/// A client for one function; connections are kept and used again.
#[derive(Debug)]
pub(crate) struct HttpClient {
    pub(crate) expected: Expected,
    http: reqwest::Client,
    endpoint: Endpoint,
    shared: Option<Arc<SharedFolder>>,
    /// Who starts the function again when it has ended.
    supervisor: Option<LocalSupervisor>,
}

impl HttpClient {
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
        let expected = Expected::of(function, options);
        Ok(Self { expected, http, endpoint, shared, supervisor })
    }

    /// Sends the inputs, waits for the outputs at most `left`.
    pub(crate) async fn call(
        &self,
        header: RequestHeader,
        inputs: &[Passing],
        left: Duration,
    ) -> Result<Reply, Failure> {
        let request_id = header.request_id;
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
        let frame = Frame::parse(body, &self.expected.limits)
            .map_err(|error| final_failure(format!("its answer is no frame: {error}")))?;
        let (outputs, metrics) = self.expected.accept(frame, metrics, request_id, self.shared.as_ref())?;
        Ok(Reply { outputs, metrics, elapsed })
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
        let call = call_id(&header.request_id_hex(), &self.expected.slice, header.attempt);
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
        let limit = self.expected.limits.max_frame_bytes;
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
