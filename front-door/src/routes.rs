//! Paths, and a request's way to the driver.
//!
//! Further protocols are further routes: [`Route::of`] is the one place that reads paths, and
//! [`infer`] takes any way to read a body and to write an answer.

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::debug;
use tranche_driver::Call;
use tranche_schema::ByteCount;
use tranche_serving::{Answer, Phase, Refusal, echo, json_response, read_body, refuse, respond, too_large};
use tranche_transport::{CALL_ID_HEADER, HEALTH_PATH, READY_PATH, TIMEOUT_HEADER, parse_go_duration};

use crate::door::{Door, Model};
use crate::line::RequestLine;
use crate::{answer as answers, describe, request as requests};

/// Longest call id taken over.
const MAX_CALL_ID_BYTES: usize = 256;
/// Bodies beyond this are read and written beside the thread that moves bytes.
const INLINE_BYTES: usize = 32 * 1024;

/// What a path leads to.
pub(crate) enum Route {
    Health,
    Ready,
    Index,
    /// A model: described by GET, run by POST.
    Model(Arc<Model>),
    /// A model, run by POST only.
    Invoke(Arc<Model>),
}

impl Route {
    /// `/`, `/invoke`, `/NAME` and `/NAME/invoke`; those without a name lead to the only model.
    pub(crate) fn of(door: &Door, path: &str) -> Option<Self> {
        match path {
            HEALTH_PATH => return Some(Self::Health),
            READY_PATH => return Some(Self::Ready),
            _ => {}
        }
        let models = door.models();
        let only = match models.as_slice() {
            [model] => Some(model),
            _ => None,
        };
        let named = |name: &str| models.iter().find(|model| model.deployment().name == name);
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        match (path, path.strip_suffix("/invoke")) {
            ("", _) => Some(only.map_or(Self::Index, |model| Self::Model(Arc::clone(model)))),
            ("invoke", _) if only.is_some() => only.map(|model| Self::Invoke(Arc::clone(model))),
            (_, Some(name)) => named(name).map(|model| Self::Invoke(Arc::clone(model))),
            (name, None) => named(name).map(|model| Self::Model(Arc::clone(model))),
        }
    }

    pub(crate) fn allowed(&self) -> &'static str {
        match self {
            Self::Health | Self::Ready | Self::Index => "GET",
            Self::Model(_) => "GET, POST",
            Self::Invoke(_) => "POST",
        }
    }
}

/// Answers any request.
pub(crate) async fn answer(door: Arc<Door>, request: Request<Incoming>) -> Answer {
    let call_id = request.headers().get(CALL_ID_HEADER).filter(|id| id.len() <= MAX_CALL_ID_BYTES).cloned();
    let mut response = route(&door, request, call_id.as_ref()).await;
    echo(&mut response, CALL_ID_HEADER, call_id);
    response
}

async fn route(door: &Door, request: Request<Incoming>, call_id: Option<&HeaderValue>) -> Answer {
    let path = request.uri().path();
    let Some(route) = Route::of(door, path) else {
        let models = door.models();
        let names: Vec<&str> = models.iter().map(|model| model.deployment().name.as_str()).collect();
        let hint = format!("POST to /, or to /NAME of: {}", names.join(", "));
        let refusal = Refusal::not_found(path, &hint);
        return refuse(request, door.options.server.max_body_bytes, refusal).await.into_response();
    };
    match (&route, request.method()) {
        (Route::Health, &Method::GET) => json_response(StatusCode::OK, &describe::state(door)),
        (Route::Ready, &Method::GET) => {
            let ready = door.is_ready() && *door.phase.borrow() == Phase::Serving;
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json_response(status, &describe::state(door))
        }
        (Route::Index, &Method::GET) => json_response(StatusCode::OK, &describe::models(door)),
        (Route::Model(model), &Method::GET) => json_response(StatusCode::OK, &describe::model(model)),
        (Route::Model(model) | Route::Invoke(model), &Method::POST) => {
            let call_id = call_id.and_then(|id| Some(id.to_str().ok()?.to_owned()));
            let line = RequestLine {
                call_id,
                deployment: model.deployment().name.clone(),
                ..RequestLine::default()
            };
            invoke(door, model, request, line).await
        }
        _ => {
            let refusal = Refusal::method_not_allowed(request.method(), path, route.allowed());
            let max_body_bytes = door.options.server.max_body_bytes;
            let mut response = refuse(request, max_body_bytes, refusal).await.into_response();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(route.allowed()));
            response
        }
    }
}

async fn invoke(
    door: &Door,
    model: &Arc<Model>,
    request: Request<Incoming>,
    mut line: RequestLine,
) -> Answer {
    let arrived = Instant::now();
    let (response, length) = match infer(door, model, request, arrived, &mut line).await {
        Ok(text) => {
            door.answered.fetch_add(1, Ordering::Relaxed);
            let length = text.len();
            (respond(StatusCode::OK, "application/json", vec![text]), length as u64)
        }
        Err(refusal) => {
            debug!(code = refusal.code, "{}", refusal.message);
            line.code = Some(refusal.code);
            let response = refusal.into_response();
            let length = response.body().size_hint().lower();
            (response, length)
        }
    };
    line.status = response.status().as_u16();
    line.answer_bytes = ByteCount(length);
    line.elapsed_ms = arrived.elapsed().into();
    line.print();
    response
}

/// From a request's head to the bytes of its answer. What can be refused by the head alone is,
/// before the body is read.
async fn infer(
    door: &Door,
    model: &Arc<Model>,
    request: Request<Incoming>,
    arrived: Instant,
    line: &mut RequestLine,
) -> Result<Bytes, Refusal> {
    let server = &door.options.server;
    let declared = request.body().size_hint().exact();
    let (time, wrong_time) = match time_for(door, request.headers()) {
        Ok(time) => (time, None),
        Err(refusal) => (Duration::ZERO, Some(refusal)),
    };
    let turned_away = if *door.phase.borrow() == Phase::Draining {
        Some(Refusal::draining())
    } else if declared.is_some_and(|bytes| bytes > server.max_body_bytes) {
        Some(too_large(declared, server.max_body_bytes))
    } else {
        wrong_time
    };
    let permit = match (turned_away, Arc::clone(&door.in_flight).try_acquire_owned()) {
        (None, Ok(permit)) => permit,
        (refusal, _) => {
            let refusal = refusal.unwrap_or_else(|| Refusal::busy(server.max_in_flight));
            return Err(refuse(request, server.max_body_bytes, refusal).await);
        }
    };
    let traceparent = text(request.headers(), "traceparent");
    let body = read_body(request.into_body(), server, (arrived + time).into(), |_| None).await?;
    line.body_bytes = ByteCount(body.len() as u64);
    let read = {
        let model = Arc::clone(model);
        let length = body.len();
        beside(length, move || requests::read(&body, &model.deployment().inputs)).await??
    };
    let call = Call { deadline: Some(time.saturating_sub(arrived.elapsed())), traceparent };
    let answer = model.driver.invoke_as(read, &call).await.map_err(|failure| answers::refusal(&failure))?;
    line.add(&answer);
    let length = answer.outputs.iter().map(|(_, tensor)| tensor.data().len()).sum();
    let written = beside(length, move || answers::write(&answer)).await?;
    drop(permit);
    written.map_err(|error| failed(&error.to_string()))
}

/// `X-Timeout`, but no longer than a request may take.
fn time_for(door: &Door, headers: &HeaderMap) -> Result<Duration, Refusal> {
    let most = door.options.server.bounded(door.options.request_deadline);
    let Some(asked) = text(headers, TIMEOUT_HEADER) else { return Ok(most) };
    parse_go_duration(&asked).filter(|time| !time.is_zero()).map(|time| time.min(most)).ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "bad-timeout",
            format!("`X-Timeout: {asked}` is no time"),
            "write it as Go does: 30s, 1m30s, 500ms",
        )
    })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
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
