//! Handing on: a request's way from a slice that has run to the next stop of its itinerary, or to
//! whoever waits for the outputs (docs/decisions/0005).

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::json;
use std::time::{Duration, Instant};
use tracing::{debug, warn};
use tranche_schema::{FunctionMetrics, Itinerary, to_ascii_json};
use tranche_serving::{Chunks, Refusal};
use tranche_transport::{
    CALL_ID_HEADER, CodedTensor, Frame, INVOKE_PATH, ITINERARY_HEADER, RequestHeader, TIMEOUT_HEADER,
    TRAIL_HEADER, call_id,
};

use crate::worker::Output;

/// Tries of a hand-off, and the wait after the first; each later wait is twice the one before.
const MOST_TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Less than functions and gateways keep an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest text taken from a refusal.
const MAX_REASON_BYTES: usize = 4096;

/// What posts to other functions.
pub(crate) struct Onward {
    client: Client<HttpConnector, Chunks>,
}

/// What a request that goes on by itself brings beside its frame.
pub(crate) struct Way {
    pub(crate) itinerary: Itinerary,
    trail: Vec<FunctionMetrics>,
}

/// A request that goes on when its slice has run.
pub(crate) struct Continuation {
    pub(crate) way: Way,
    /// What it brought that is sent on, coded as it came.
    pub(crate) carried: Vec<CodedTensor>,
    pub(crate) header: RequestHeader,
    pub(crate) deadline: Instant,
}

impl Way {
    /// The itinerary in the head of a request, if it has one; `bases` is what may be called.
    pub(crate) fn read(headers: &HeaderMap, bases: &[String]) -> Result<Option<Self>, Refusal> {
        let Some(text) = headers.get(ITINERARY_HEADER) else { return Ok(None) };
        let wrong = |name: &str, error: serde_json::Error| bad_itinerary(format!("`{name}`: {error}"));
        let itinerary: Itinerary =
            serde_json::from_slice(text.as_bytes()).map_err(|error| wrong(ITINERARY_HEADER, error))?;
        let trail = match headers.get(TRAIL_HEADER) {
            Some(text) => {
                serde_json::from_slice(text.as_bytes()).map_err(|error| wrong(TRAIL_HEADER, error))?
            }
            None => Vec::new(),
        };
        let urls = itinerary.stops.iter().map(|stop| &stop.url);
        let forbidden = urls.chain([&itinerary.answer.url]).find(|url| !may_call(url, bases)).cloned();
        match forbidden {
            Some(url) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "no-continuation",
                format!("this function may not call {url}"),
                "`--continue-to` (TRANCHE_CONTINUE_TO) lists the base URLs that it may hand tensors on to",
            )),
            None => Ok(Some(Self { itinerary, trail })),
        }
    }

    /// Takes what is only sent on out of the frame; what the slice reads as well stays there too.
    pub(crate) fn split(&self, frame: &mut Frame, reads: impl Fn(&str) -> bool) -> Vec<CodedTensor> {
        let sent = |tensor: &CodedTensor| self.itinerary.send().contains(&tensor.spec.name);
        let carried = frame.tensors.iter().filter(|tensor| sent(tensor)).cloned().collect();
        frame.tensors.retain(|tensor| reads(&tensor.spec.name) || !sent(tensor));
        carried
    }
}

/// Only plain http below a base that the function was given. A base that is a host without a port
/// stands for all its ports: a driver's callback has another one each time.
fn may_call(url: &str, bases: &[String]) -> bool {
    let plain = url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.query().is_none());
    let below = |base: &str| {
        let Some(rest) = url.strip_prefix(base) else { return false };
        let port = rest.strip_prefix(':').filter(|_| base.strip_prefix("http://").is_some_and(is_host));
        let rest = port.map_or(rest, |port| port.trim_start_matches(|letter: char| letter.is_ascii_digit()));
        rest.is_empty() || rest.starts_with('/')
    };
    let climbs = url.split('/').any(|part| matches!(part, "." | "..") || part.contains('%'));
    plain && !climbs && bases.iter().any(|base| below(base.trim_end_matches('/')))
}

fn is_host(authority: &str) -> bool {
    !authority.contains([':', '/', '@'])
}

fn bad_itinerary(message: String) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad-itinerary",
        message,
        "the driver writes itineraries; its version may be another",
    )
}

/// What is posted, beside its bytes, and where.
struct Parcel<'a> {
    url: &'a str,
    /// For the call's id.
    slice: &'a str,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    /// Whether the receiver is to hand on in its turn.
    is_stop: bool,
}

impl<'a> Parcel<'a> {
    fn new(
        url: &'a str,
        slice: &'a str,
        content_type: &'static str,
        trail: &[FunctionMetrics],
    ) -> Result<Self, Refusal> {
        let headers = vec![(TRAIL_HEADER, ascii(trail)?)];
        Ok(Self { url, slice, content_type, headers, is_stop: false })
    }
}

/// Why a try of a hand-off failed, and whether another may succeed.
struct Failed {
    reason: String,
    passes: bool,
}

impl Onward {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { client }
    }

    /// Sends a slice's outputs, or the reason why there are none, where they go.
    pub(crate) async fn finish(
        &self,
        mut continuation: Continuation,
        result: Result<Output, Refusal>,
        metrics: Option<FunctionMetrics>,
    ) {
        continuation.way.trail.extend(metrics);
        let failure = match result {
            Ok(output) => self.hand_on(&continuation, output.tensors).await.err(),
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = failure {
            warn!(code = refusal.code, "{}", refusal.message);
            self.report(&continuation, &refusal).await;
        }
    }

    async fn hand_on(&self, continuation: &Continuation, outputs: Vec<CodedTensor>) -> Result<(), Refusal> {
        let itinerary = &continuation.way.itinerary;
        let find = |name: &String| {
            let mut all = outputs.iter().chain(&continuation.carried);
            let found = all.find(|tensor| tensor.spec.name == *name).cloned();
            found.ok_or_else(|| bad_itinerary(format!("tensor `{name}` is to be sent on, but is not here")))
        };
        let tensors = itinerary.send().iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let own = continuation.header.slice.as_str();
        let (url, slice, rest) = match itinerary.stops.split_first() {
            Some((next, rest)) => {
                let rest = Itinerary { stops: rest.to_vec(), answer: itinerary.answer.clone() };
                (format!("{}{INVOKE_PATH}", next.url), next.slice.as_str(), Some(rest))
            }
            None => (itinerary.answer.url.clone(), own, None),
        };
        let mut parcel = Parcel::new(&url, slice, tranche_transport::CONTENT_TYPE, &continuation.way.trail)?;
        if let Some(rest) = &rest {
            parcel.headers.push((ITINERARY_HEADER, ascii(rest)?));
            parcel.is_stop = true;
        }
        let make = |attempt, left| {
            let header = RequestHeader {
                slice: slice.to_owned(),
                attempt,
                deadline: Some(left),
                ..continuation.header.clone()
            };
            Frame { header, tensors: tensors.clone() }.to_chunks().map_err(|error| error.to_string())
        };
        self.post(continuation, &parcel, make).await
    }

    async fn report(&self, continuation: &Continuation, refusal: &Refusal) {
        let body = json!({
            "slice": continuation.header.slice,
            "status": refusal.status.as_u16(),
            "code": refusal.code,
            "message": refusal.message,
            "hint": refusal.hint,
        });
        let text = Bytes::from(body.to_string());
        let url = &continuation.way.itinerary.answer.url;
        let slice = &continuation.header.slice;
        let told = match Parcel::new(url, slice, "application/json", &continuation.way.trail) {
            Ok(parcel) => self.post(continuation, &parcel, |_, _| Ok(vec![text.clone()])).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(failure) = told {
            warn!("nobody could be told: {}", failure.message);
        }
    }

    /// Posts until it is taken, a few times, within the request's deadline. A stop must answer 202:
    /// 200 would be one that ran without knowing where to go on.
    async fn post(
        &self,
        continuation: &Continuation,
        parcel: &Parcel<'_>,
        make: impl Fn(u32, Duration) -> Result<Vec<Bytes>, String>,
    ) -> Result<(), Refusal> {
        let Parcel { url, slice, content_type, headers, is_stop } = parcel;
        let mut last = "the deadline passed before it was tried".to_owned();
        for attempt in 1..=MOST_TRIES {
            let left = continuation.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let chunks = make(attempt, left).map_err(bad_itinerary)?;
            let id = call_id(&continuation.header.request_id_hex(), slice, attempt);
            let mut request = Request::builder()
                .method(Method::POST)
                .uri(*url)
                .header(CONTENT_TYPE, *content_type)
                .header(CALL_ID_HEADER, id)
                .header(TIMEOUT_HEADER, format!("{}ms", left.as_millis().max(1)));
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let request =
                request.body(Chunks::new(chunks)).map_err(|error| bad_itinerary(error.to_string()))?;
            let Ok(tried) = tokio::time::timeout(left, self.attempt(request, *is_stop)).await else {
                last = "it did not answer before the deadline".to_owned();
                break;
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(Failed { reason, passes }) => {
                    debug!(url, attempt, "{reason}");
                    last = reason;
                    if !passes {
                        break;
                    }
                }
            }
            tokio::time::sleep(FIRST_WAIT * 2_u32.pow(attempt - 1)).await;
        }
        Err(Refusal::new(
            StatusCode::BAD_GATEWAY,
            "hand-off-failed",
            format!("cannot hand on to {url}: {last}"),
            "check that the address can be reached from the function; `--continue-to` lists what it may call",
        ))
    }

    async fn attempt(&self, request: Request<Chunks>, is_stop: bool) -> Result<(), Failed> {
        let sent = self.client.request(request).await;
        let response = sent.map_err(|error| Failed { reason: last_cause(&error), passes: true })?;
        let status = response.status();
        if status == StatusCode::ACCEPTED || (status.is_success() && !is_stop) {
            return Ok(());
        }
        if status.is_success() {
            return Err(Failed { reason: format!("HTTP {status}: it does not hand on"), passes: false });
        }
        let body = Limited::new(response.into_body(), MAX_REASON_BYTES).collect().await;
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        let passes = matches!(status.as_u16(), 408 | 429 | 500 | 502..=504);
        Err(Failed { reason: format!("HTTP {status}: {}", text.unwrap_or_default()), passes })
    }
}

fn ascii(value: &(impl serde::Serialize + ?Sized)) -> Result<String, Refusal> {
    to_ascii_json(value).map_err(|error| bad_itinerary(error.to_string()))
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
    fn only_what_was_allowed_is_called() {
        let bases = ["http://gateway:8080/", "http://127.0.0.1:9000/answers", "http://driver"];
        let bases = bases.map(str::to_owned);
        for url in [
            "http://gateway:8080",
            "http://gateway:8080/function/a",
            "http://127.0.0.1:9000/answers/07ab",
            "http://driver:40123/07ab",
            "http://driver/07ab",
        ] {
            assert!(may_call(url, &bases), "{url}");
        }
        for url in [
            "http://gateway:80801/function/a",
            "http://driver:80@elsewhere/",
            "http://driver.elsewhere/",
            "http://gateway:8080@elsewhere/",
            "http://gateway:8080/function/../system",
            "http://gateway:8080/function/%2e%2e/system",
            "http://gateway:8080/function/a?x",
            "https://gateway:8080/function/a",
            "http://127.0.0.1:9000/",
            "gateway:8080",
            "",
        ] {
            assert!(!may_call(url, &bases), "{url}");
        }
        assert!(!may_call("http://gateway:8080", &[]));
    }
}
