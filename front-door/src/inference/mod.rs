//! The Open Inference Protocol, version 2, over HTTP (KServe's `/v2`), with Triton's extensions for
//! binary tensors, statistics, model configuration and the index of a repository.
//!
//! Sources: the protocol's `open_inference_rest.yaml` and Triton's `docs/protocol`. docs/serving.md
//! says what is covered.

mod binary;
mod json;
mod metadata;
mod paths;
mod request;
mod response;
mod types;

pub(crate) use paths::{Inference, PREFIX, below, is_health};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use std::io;
use std::sync::Arc;
use tranche_driver::Answer as Answered;
use tranche_schema::Deployment;
use tranche_serving::{Answer, Phase, Refusal, json_response, read_body, refuse};

use crate::door::Door;
use crate::request::Tensors;
use crate::routes::{not_allowed, serves};
use crate::run::{Protocol, Written, invoke};
use request::Asked;

/// Says how long the JSON before the tensors is.
pub(crate) const HEADER_LENGTH: &str = "inference-header-content-length";

/// Answers a request to a path below [`PREFIX`].
pub(crate) async fn answer(
    door: &Arc<Door>,
    request: Request<Incoming>,
    path: &str,
    call_id: Option<&HeaderValue>,
) -> Answer {
    let route = match Inference::of(door, path) {
        Ok(route) => route,
        Err(unknown) => return turn_away(door, request, unknown).await,
    };
    if request.method() != route.method() {
        return not_allowed(door, request, route.allowed(), refusal).await;
    }
    let told = match route {
        Inference::Infer(model) => {
            return match BinaryHead::of(request.headers()) {
                Ok(protocol) => invoke(door, &model, request, call_id, protocol).await,
                Err(wrong) => turn_away(door, request, wrong).await,
            };
        }
        Inference::Index => return index(door, request).await,
        Inference::Live => return health(*door.phase.borrow() != Phase::Draining),
        Inference::Ready => return health(serves(door)),
        Inference::ModelReady(model) => return health(metadata::is_ready(&model)),
        Inference::Server => Ok(metadata::server()),
        Inference::Model(model) => metadata::model(model.deployment()),
        Inference::Config(model) => metadata::config(model.deployment()),
        Inference::Stats(models) => Ok(metadata::stats(&models)),
    };
    match told {
        Ok(told) => json_response(StatusCode::OK, &told),
        Err(failure) => refusal(failure),
    }
}

/// `{"error": …}`: all that the protocol has of refusals. The code is a header.
pub(crate) fn refusal(refusal: Refusal) -> Answer {
    let body = serde_json::json!({ "error": format!("{}; {}", refusal.message, refusal.hint) });
    let code = HeaderValue::from_static(refusal.code);
    let (mut head, _) = refusal.clone().into_response().into_parts();
    let answer = json_response(refusal.status, &body);
    let (own, body) = answer.into_parts();
    head.headers.extend(own.headers);
    head.headers.insert("tranche-code", code);
    Answer::from_parts(head, body)
}

async fn turn_away(door: &Door, request: Request<Incoming>, reason: Refusal) -> Answer {
    refusal(refuse(request, door.options.server.max_body_bytes, reason).await)
}

/// The protocol has 200 for true and a status from 400 to 499 for false.
fn health(is: bool) -> Answer {
    let status = if is { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    tranche_serving::respond(status, "application/json", Vec::new())
}

/// The body says whether only what is ready is asked for; most senders have none.
async fn index(door: &Door, request: Request<Incoming>) -> Answer {
    let server = &door.options.server;
    let deadline = tokio::time::Instant::now() + server.body_timeout;
    let body = match read_body(request.into_body(), server, deadline, |_| None).await {
        Ok(body) => body,
        Err(failure) => return refusal(failure),
    };
    match request::wants_ready_only(&body) {
        Ok(ready_only) => json_response(StatusCode::OK, &metadata::index(door, ready_only)),
        Err(failure) => refusal(failure),
    }
}

/// A request whose tensors may be behind its JSON.
#[derive(Clone, Copy)]
struct BinaryHead {
    /// Bytes of the JSON; nothing where the whole body is JSON, 0 where none of it is.
    length: Option<usize>,
}

impl BinaryHead {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(Self { length: None }) };
        let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        length.map(|length| Self { length: Some(length) }).ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "bad-header",
                "`Inference-Header-Content-Length` is no number of bytes",
                "say how long the JSON before the tensors is",
            )
        })
    }
}

impl Protocol for BinaryHead {
    type Asked = Asked;

    fn aligned_at(&self) -> usize {
        self.length.unwrap_or(0)
    }

    fn read(&self, body: &Bytes, deployment: &Deployment) -> Result<(Tensors, Asked), Refusal> {
        match self.length {
            Some(0) => request::read_raw(body, deployment),
            length => request::read(body, length, deployment),
        }
    }

    fn timeout(asked: &Asked) -> Option<std::time::Duration> {
        asked.timeout
    }

    fn write(&self, asked: &Asked, answer: &Answered) -> io::Result<Written> {
        response::write(asked, answer)
    }

    fn refuse(&self, reason: Refusal) -> Answer {
        refusal(reason)
    }
}
