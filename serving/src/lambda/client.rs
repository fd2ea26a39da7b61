use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, TRAILER};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tracing::warn;

use super::stream::{ERROR_BODY, ERROR_TYPE, Streamed};
use super::{Invocation, PAYLOAD_LIMIT, RuntimeApiError, RuntimeFailure, address};

/// Longest time to connect: the API is on the same machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time until a call is answered, but for those that wait for an event.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time that an answer streams: as long as a function may run.
const STREAM_TIMEOUT: Duration = Duration::from_secs(900);
/// How long `next` is tried again without having been answered at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// A call that held this long had waited for an event: the API was there.
const WAITED: Duration = Duration::from_secs(1);
/// The pause before `next` is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest text taken from a refusal.
const MAX_REASON_BYTES: usize = 4096;
/// Most bytes of an event read: what Lambda sends, and room for emulators without a limit.
const MAX_EVENT_BYTES: u64 = 64 << 20;

const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");

/// How Lambda initializes this process (`AWS_LAMBDA_INITIALIZATION_TYPE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initialization {
    /// For a request that waits: ten seconds, then it begins again.
    #[default]
    OnDemand,
    /// Ahead of requests, with more time (provisioned concurrency, managed instances).
    Ahead,
    /// Ahead of a snapshot that later processes are restored from.
    SnapStart,
}

impl Initialization {
    fn read(text: Option<&str>) -> Self {
        match text {
            Some("snap-start") => Self::SnapStart,
            Some("provisioned-concurrency" | "lambda-managed-instances") => Self::Ahead,
            _ => Self::OnDemand,
        }
    }
}

/// The Lambda Runtime API. One event is in hand at a time: `next`, then one of the answers.
#[derive(Clone)]
pub struct RuntimeApi {
    base: String,
    initialization: Initialization,
    client: Client<HttpConnector, RequestBody>,
}

type RequestBody = UnsyncBoxBody<Bytes, Infallible>;

/// Why a call brought nothing: trying again may help, or not.
enum Trouble {
    Broken(String),
    Final(RuntimeApiError),
}

impl RuntimeApi {
    /// The API that Lambda says this process is run by; `None` where it runs elsewhere, that is
    /// where `AWS_LAMBDA_RUNTIME_API` is not set.
    ///
    /// # Errors
    /// When the variable is no address.
    pub fn from_environment() -> Result<Option<Self>, RuntimeApiError> {
        let Some(address) = std::env::var_os("AWS_LAMBDA_RUNTIME_API") else { return Ok(None) };
        let kind = std::env::var("AWS_LAMBDA_INITIALIZATION_TYPE").ok();
        Self::new(&address.to_string_lossy(), Initialization::read(kind.as_deref())).map(Some)
    }

    /// The API at `HOST:PORT` or `http://HOST:PORT/PREFIX`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn new(address: &str, initialization: Initialization) -> Result<Self, RuntimeApiError> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { base: address::base(address)?, initialization, client })
    }

    /// How this process is initialized.
    #[must_use]
    pub fn initialization(&self) -> Initialization {
        self.initialization
    }

    /// Waits for the next event, as long as none comes: Lambda freezes the process meanwhile.
    /// Connections that break are made again. An event that does not come whole is answered as
    /// `tranche.bad-event` and the next one is waited for.
    ///
    /// # Errors
    /// When the API refuses, or is not there for ten seconds: the process is to end.
    pub async fn next(&self) -> Result<Invocation, RuntimeApiError> {
        let url = format!("{}/runtime/invocation/next", self.base);
        let mut reachable = Instant::now();
        loop {
            let tried = Instant::now();
            match self.take(&url).await {
                Ok(Ok(invocation)) => return Ok(invocation),
                Ok(Err((request_id, failure))) => {
                    warn!(request_id, "{}", failure.message);
                    self.fail(&request_id, &failure).await?;
                    reachable = Instant::now();
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Broken(reason)) => {
                    if tried.elapsed() >= WAITED {
                        reachable = Instant::now();
                    }
                    if reachable.elapsed() >= PATIENCE {
                        return Err(RuntimeApiError::Unreachable { url, reason });
                    }
                    warn!("waiting for an event: {reason}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// One try of `next`: an event, or the id of one that cannot be read and why.
    async fn take(&self, url: &str) -> Result<Result<Invocation, (String, RuntimeFailure)>, Trouble> {
        let response = self.wait_at(url).await?;
        let Some(mut invocation) = Invocation::read(response.headers()) else {
            return Err(Trouble::Broken("it gave an event without an id".to_owned()));
        };
        let read = read_event(response.into_body());
        // The event is there as a whole, so it is not long in coming.
        let whole = match tokio::time::timeout(CALL_TIMEOUT, read).await {
            Ok(read) => read,
            Err(_) => Err("it did not come in time".to_owned()),
        };
        Ok(match whole {
            Ok(payload) => {
                invocation.payload = payload;
                Ok(invocation)
            }
            Err(reason) => {
                let message = format!("the event cannot be read: {reason}");
                let failure = RuntimeFailure::new("bad-event", &message, "send it again");
                Err((invocation.request_id, failure))
            }
        })
    }

    /// Answers an event.
    ///
    /// # Errors
    /// When the answer is beyond [`PAYLOAD_LIMIT`] (it is not sent, and the event can be failed
    /// instead), or the API does not take it.
    pub async fn respond(&self, request_id: &str, payload: Bytes) -> Result<(), RuntimeApiError> {
        if payload.len() > PAYLOAD_LIMIT {
            return Err(RuntimeApiError::TooLarge { bytes: payload.len(), limit: PAYLOAD_LIMIT });
        }
        let request =
            Request::post(self.answer_url(request_id, "response")).header(CONTENT_TYPE, "application/json");
        self.call(request, Full::new(payload).boxed_unsync(), CALL_TIMEOUT).await
    }

    /// Answers an event with chunks as they come. A chunk that is a failure ends the answer: its
    /// caller has got what was sent before, and the reason in the trailers
    /// `Lambda-Runtime-Function-Error-Type` and `-Error-Body`.
    ///
    /// # Errors
    /// When the API does not take it.
    pub async fn respond_streamed<S>(
        &self,
        request_id: &str,
        content_type: &str,
        chunks: S,
    ) -> Result<(), RuntimeApiError>
    where
        S: Stream<Item = Result<Bytes, RuntimeFailure>> + Send + 'static,
    {
        let request = Request::post(self.answer_url(request_id, "response"))
            .header(CONTENT_TYPE, content_type)
            .header(RESPONSE_MODE, "streaming")
            .header(TRAILER, format!("{ERROR_TYPE}, {ERROR_BODY}"))
            // Lambda asks for the connection to be closed when the answer is whole.
            .header(CONNECTION, "close");
        self.call(request, Streamed::new(chunks).boxed_unsync(), STREAM_TIMEOUT).await
    }

    /// Answers an event with a failure.
    ///
    /// # Errors
    /// When the API does not take it.
    pub async fn fail(&self, request_id: &str, failure: &RuntimeFailure) -> Result<(), RuntimeApiError> {
        self.report(self.answer_url(request_id, "error"), failure).await
    }

    /// Says that this process cannot serve; it is to end then.
    ///
    /// # Errors
    /// When the API does not take it.
    pub async fn init_error(&self, failure: &RuntimeFailure) -> Result<(), RuntimeApiError> {
        self.report(format!("{}/runtime/init/error", self.base), failure).await
    }

    /// Under SnapStart, says that this process can be kept as a snapshot, waits until it was
    /// restored from one, and returns true. Elsewhere returns false at once.
    ///
    /// # Errors
    /// When the API refuses, or is not there.
    pub async fn restore_next(&self) -> Result<bool, RuntimeApiError> {
        if self.initialization != Initialization::SnapStart {
            return Ok(false);
        }
        let url = format!("{}/runtime/restore/next", self.base);
        match self.wait_at(&url).await {
            Ok(_) => Ok(true),
            Err(Trouble::Final(error)) => Err(error),
            Err(Trouble::Broken(reason)) => Err(RuntimeApiError::Unreachable { url, reason }),
        }
    }

    /// Under SnapStart, says that this process cannot serve after having been restored.
    ///
    /// # Errors
    /// When the API does not take it.
    pub async fn restore_error(&self, failure: &RuntimeFailure) -> Result<(), RuntimeApiError> {
        if self.initialization != Initialization::SnapStart {
            return Ok(());
        }
        self.report(format!("{}/runtime/restore/error", self.base), failure).await
    }

    fn answer_url(&self, request_id: &str, what: &str) -> String {
        format!("{}/runtime/invocation/{request_id}/{what}", self.base)
    }

    async fn report(&self, url: String, failure: &RuntimeFailure) -> Result<(), RuntimeApiError> {
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(ERROR_TYPE, failure.type_header());
        self.call(request, Full::new(failure.to_json()).boxed_unsync(), CALL_TIMEOUT).await
    }

    /// A call that is answered when there is something to answer, however long that takes.
    async fn wait_at(&self, url: &str) -> Result<Response<Incoming>, Trouble> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(url)
            .body(Empty::new().boxed_unsync())
            .map_err(|error| Trouble::Final(unreachable(url, error.to_string())))?;
        let response =
            self.client.request(request).await.map_err(|error| Trouble::Broken(last_cause(&error)))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(Trouble::Final(refused(url, status, response.into_body()).await)),
        }
    }

    async fn call(
        &self,
        request: Builder,
        body: RequestBody,
        within: Duration,
    ) -> Result<(), RuntimeApiError> {
        let url = request.uri_ref().map(ToString::to_string).unwrap_or_default();
        let request = request.body(body).map_err(|error| unreachable(&url, error.to_string()))?;
        let calling = async {
            let response = self.client.request(request).await;
            let response = response.map_err(|error| unreachable(&url, last_cause(&error)))?;
            match response.status() {
                status if status.is_success() => {
                    // Read to its end, so that the connection serves the next call.
                    let _ = Limited::new(response.into_body(), MAX_REASON_BYTES).collect().await;
                    Ok(())
                }
                status => Err(refused(&url, status, response.into_body()).await),
            }
        };
        match tokio::time::timeout(within, calling).await {
            Ok(called) => called,
            Err(_) => Err(unreachable(&url, format!("no answer within {} s", within.as_secs()))),
        }
    }
}

async fn read_event(mut body: Incoming) -> Result<Bytes, String> {
    let declared = body.size_hint().lower().min(MAX_EVENT_BYTES);
    let mut event = BytesMut::with_capacity(usize::try_from(declared).unwrap_or(0));
    while let Some(piece) = body.frame().await {
        let piece = piece.map_err(|error| last_cause(&error))?;
        if let Ok(data) = piece.into_data() {
            if event.len() as u64 + data.len() as u64 > MAX_EVENT_BYTES {
                return Err(format!("it has more than {MAX_EVENT_BYTES} bytes"));
            }
            event.extend_from_slice(&data);
        }
    }
    Ok(event.freeze())
}

async fn refused(url: &str, status: StatusCode, body: Incoming) -> RuntimeApiError {
    let read = Limited::new(body, MAX_REASON_BYTES).collect();
    let text = tokio::time::timeout(CALL_TIMEOUT, read).await;
    let text = text.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let reason = String::from_utf8_lossy(&text).trim().to_owned();
    RuntimeApiError::Refused { url: url.to_owned(), status, reason }
}

fn unreachable(url: &str, reason: String) -> RuntimeApiError {
    RuntimeApiError::Unreachable { url: url.to_owned(), reason }
}

fn last_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_initialization_are_read() {
        assert_eq!(Initialization::read(None), Initialization::OnDemand);
        assert_eq!(Initialization::read(Some("on-demand")), Initialization::OnDemand);
        assert_eq!(Initialization::read(Some("provisioned-concurrency")), Initialization::Ahead);
        assert_eq!(Initialization::read(Some("snap-start")), Initialization::SnapStart);
    }
}
