//! Paths, and what answers them.
//!
//! Further protocols are further routes: [`Route::of`] reads the paths of the plain door, and
//! [`inference::answer`] those of the Open Inference Protocol; both end in [`invoke`].

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;
use tranche_driver::Answer as Answered;
use tranche_schema::Deployment;
use tranche_serving::{Answer, Phase, Refusal, echo, json_response, refuse, respond};
use tranche_transport::{CALL_ID_HEADER, HEALTH_PATH, READY_PATH};

use crate::door::{Door, Model};
use crate::inference;
use crate::request::Tensors;
use crate::run::{Protocol, Written, invoke};
use crate::{answer as answers, describe, metrics, request as requests, token};

/// Where metrics are.
pub(crate) const METRICS_PATH: &str = "/metrics";
/// Longest call id taken over.
const MAX_CALL_ID_BYTES: usize = 256;

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

/// JSON in, JSON out.
#[derive(Clone)]
struct Plain;

impl Protocol for Plain {
    type Asked = ();

    fn read(&self, body: &Bytes, deployment: &Deployment) -> Result<(Tensors, ()), Refusal> {
        Ok((requests::read(body, &deployment.inputs)?, ()))
    }

    fn write(&self, (): &(), answer: &Answered) -> std::io::Result<Written> {
        answers::write(answer).map(Written::json)
    }
}

/// Answers any request.
pub(crate) async fn answer(door: Arc<Door>, request: Request<Incoming>) -> Answer {
    let call_id = request.headers().get(CALL_ID_HEADER).filter(|id| id.len() <= MAX_CALL_ID_BYTES).cloned();
    let path = request.uri().path();
    let open = matches!(path, HEALTH_PATH | READY_PATH) || inference::is_health(path);
    let allowed = if open { Ok(()) } else { token::check(door.token.as_ref(), request.headers()) };
    let below = inference::below(path).map(str::to_owned);
    let mut response = match (allowed, below) {
        (Err(refusal), below) => {
            door.metrics.refused("", refusal.code);
            let refusal = refuse(request, door.options.server.max_body_bytes, refusal).await;
            let mut response =
                if below.is_some() { inference::refusal(refusal) } else { refusal.into_response() };
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        (Ok(()), Some(below)) => inference::answer(&door, request, &below, call_id.as_ref()).await,
        (Ok(()), None) if path == METRICS_PATH => scrape(&door, request).await,
        (Ok(()), None) => plain(&door, request, call_id.as_ref()).await,
    };
    echo(&mut response, CALL_ID_HEADER, call_id);
    response
}

async fn plain(door: &Arc<Door>, request: Request<Incoming>, call_id: Option<&HeaderValue>) -> Answer {
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
            let status = if serves(door) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json_response(status, &describe::state(door))
        }
        (Route::Index, &Method::GET) => json_response(StatusCode::OK, &describe::models(door)),
        (Route::Model(model), &Method::GET) => json_response(StatusCode::OK, &describe::model(model)),
        (Route::Model(model) | Route::Invoke(model), &Method::POST) => {
            invoke(door, model, request, call_id, Plain).await
        }
        _ => not_allowed(door, request, route.allowed(), Refusal::into_response).await,
    }
}

/// Whether every model is ready and the door is not about to close.
pub(crate) fn serves(door: &Door) -> bool {
    door.is_ready() && *door.phase.borrow() == Phase::Serving
}

async fn scrape(door: &Door, request: Request<Incoming>) -> Answer {
    if request.method() != Method::GET {
        return not_allowed(door, request, "GET", Refusal::into_response).await;
    }
    match door.metrics.write(door.now()) {
        Ok(text) => respond(StatusCode::OK, metrics::MEDIA_TYPE, vec![text.into()]),
        Err(error) => {
            let hint = "this is a bug in tranche; please report it";
            let message = format!("the metrics cannot be written: {error}");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Refusal::new(status, "front-door-failed", message, hint).into_response()
        }
    }
}

/// 405, written as the protocol writes refusals.
pub(crate) async fn not_allowed(
    door: &Door,
    request: Request<Incoming>,
    allowed: &'static str,
    write: impl FnOnce(Refusal) -> Answer,
) -> Answer {
    let refusal = Refusal::method_not_allowed(request.method(), request.uri().path(), allowed);
    let mut response = write(refuse(request, door.options.server.max_body_bytes, refusal).await);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
