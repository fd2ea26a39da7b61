//! A request's way through the door: admitted, read, walked, answered, accounted for.

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, VARY};
use hyper::{Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;
use tranche_driver::{Answer, Call};
use tranche_schema::{ByteCount, Deployment};
use tranche_serving::{Answer as Response, Phase, Refusal, read_body_aligned_at, refuse, respond, too_large};
use tranche_transport::{TIMEOUT_HEADER, parse_go_duration};

use crate::account::Account;
use crate::answer;
use crate::coding::Coding;
use crate::door::{Door, Model};
use crate::request::Tensors;

/// Bodies beyond this are read and written beside the thread that moves bytes.
const INLINE_BYTES: usize = 32 * 1024;

/// How a request is read and its answer written.
pub(crate) trait Protocol: Clone + Send + 'static {
    /// What the request says beside its inputs.
    type Asked: Send + 'static;

    /// Where tensors begin in a body, to be aligned there.
    fn aligned_at(&self) -> usize {
        0
    }

    /// The inputs of a body.
    fn read(&self, body: &Bytes, deployment: &Deployment) -> Result<(Tensors, Self::Asked), Refusal>;

    /// The time that the request asks for in its body.
    fn timeout(_: &Self::Asked) -> Option<Duration> {
        None
    }

    /// The body of an answer.
    fn write(&self, asked: &Self::Asked, answer: &Answer) -> std::io::Result<Written>;

    /// A refusal as the protocol has it.
    fn refuse(&self, refusal: Refusal) -> Response {
        refusal.into_response()
    }
}

/// A body with its head.
pub(crate) struct Written {
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) chunks: Vec<Bytes>,
}

impl Written {
    pub(crate) fn json(text: Bytes) -> Self {
        Self { content_type: "application/json", headers: Vec::new(), chunks: vec![text] }
    }

    fn coded(mut self, wanted: Option<Coding>) -> std::io::Result<Self> {
        if let Some(coding) = wanted
            && let Some(coded) = coding.encode(&self.chunks)?
        {
            self.chunks = vec![coded];
            self.headers.push((CONTENT_ENCODING, coding.header()));
            self.headers.push((VARY, HeaderValue::from_static("accept-encoding")));
        }
        Ok(self)
    }

    fn into_response(self) -> Response {
        let mut response = respond(StatusCode::OK, self.content_type, self.chunks);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// Runs the model on a request. A caller that leaves drops this, which ends the request.
pub(crate) async fn invoke<P: Protocol>(
    door: &Arc<Door>,
    model: &Arc<Model>,
    request: Request<Incoming>,
    call_id: Option<&HeaderValue>,
    protocol: P,
) -> Response {
    let call_id = call_id.and_then(|id| Some(id.to_str().ok()?.to_owned()));
    let mut account = Account::open(door, model, call_id, &request);
    let response = match infer(door, model, request, &protocol, &mut account).await {
        Ok(written) => written.into_response(),
        Err(refusal) => {
            debug!(code = refusal.code, "{}", refusal.message);
            account.refused(&refusal);
            protocol.refuse(refusal)
        }
    };
    let length = response.body().size_hint().exact().unwrap_or_default();
    account.close(response.status(), ByteCount(length));
    response
}

/// From a request's head to the bytes of its answer. What can be refused by the head alone is,
/// before the body is read.
async fn infer<P: Protocol>(
    door: &Door,
    model: &Arc<Model>,
    request: Request<Incoming>,
    protocol: &P,
    account: &mut Account,
) -> Result<Written, Refusal> {
    let server = &door.options.server;
    let max_body_bytes = server.max_body_bytes;
    let arrived = account.arrived();
    let head = read_head(door, &request);
    let (time, coding) = match head {
        Ok(head) => head,
        Err(refusal) => return Err(refuse(request, max_body_bytes, refusal).await),
    };
    let wanted = Coding::wanted(request.headers());
    let deadline = arrived + time;
    let place = match door.admission.enter(deadline).await {
        Ok(place) => place,
        Err(refusal) => return Err(refuse(request, max_body_bytes, refusal).await),
    };
    account.entered();
    let at = protocol.aligned_at();
    // Where the bytes of a coded body lie is no matter.
    let at_as_sent = if coding.is_some() { 0 } else { at };
    let body =
        read_body_aligned_at(at_as_sent, request.into_body(), server, deadline.into(), |_| None).await?;
    account.received(ByteCount(body.len() as u64));
    // Tensors behind a head are not read, only cut out.
    let text = if at > 0 && coding.is_none() { at } else { body.len() };
    let (inputs, asked) = {
        let (model, protocol) = (Arc::clone(model), protocol.clone());
        let read = move || {
            let body = match coding {
                Some(coding) => coding.decode(&body, at, max_body_bytes)?,
                None => body,
            };
            protocol.read(&body, model.deployment())
        };
        beside(text, read).await??
    };
    let time = P::timeout(&asked).map_or(time, |asked| asked.min(time));
    let call = Call {
        deadline: Some(time.saturating_sub(arrived.elapsed())),
        traceparent: Some(account.traceparent()),
        watcher: Some(account.watcher()),
    };
    let answered = model.driver.invoke_as(inputs, &call).await;
    let answered = answered.map_err(|failure| answer::refusal(&failure))?;
    account.answered(&answered);
    let length = answered.outputs.iter().map(|(_, tensor)| tensor.data().len()).sum();
    let protocol = protocol.clone();
    let write = move || protocol.write(&asked, &answered)?.coded(wanted);
    let written = beside(length, write).await?;
    drop(place);
    written.map_err(|error| failed(&error.to_string()))
}

/// What the head alone says: the time for the request, and its coding.
fn read_head(door: &Door, request: &Request<Incoming>) -> Result<(Duration, Option<Coding>), Refusal> {
    let max_body_bytes = door.options.server.max_body_bytes;
    let declared = request.body().size_hint().exact();
    if *door.phase.borrow() == Phase::Draining {
        return Err(Refusal::draining());
    }
    if declared.is_some_and(|bytes| bytes > max_body_bytes) {
        return Err(too_large(declared, max_body_bytes));
    }
    Ok((time_for(door, request.headers())?, Coding::of_request(request.headers())?))
}

/// `X-Timeout`, but no longer than a request may take.
fn time_for(door: &Door, headers: &HeaderMap) -> Result<Duration, Refusal> {
    let most = door.options.server.bounded(door.options.request_deadline);
    let asked = headers.get(TIMEOUT_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(asked) = asked else { return Ok(most) };
    parse_go_duration(&asked).filter(|time| !time.is_zero()).map(|time| time.min(most)).ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad-timeout",
            format!("`X-Timeout: {asked}` is no time"),
            "write it as Go does: 30s, 1m30s, 500ms",
        )
    })
}

/// Numbers of text take long; connections go on meanwhile.
async fn beside<T: Send + 'static>(
    length: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if length <= INLINE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| failed(&error.to_string()))
}

fn failed(reason: &str) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "front-door-failed",
        format!("the answer cannot be made: {reason}"),
        "this is a bug in tranche; please report it",
    )
}
