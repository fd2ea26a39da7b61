//! Routes, and a request's way to the worker.

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{TryAcquireError, oneshot};
use tracing::{debug, info, warn};
use tranche_serving::{Answer, Listener, Refusal, accept, echo, json_response, read_body, refuse, too_large};
use tranche_transport::{CALL_ID_HEADER, Frame, HEALTH_PATH, INVOKE_PATH, READY_PATH, SharedFolder};

use crate::answer::{bad_frame, frame_response, with_metrics};
use crate::function::{Function, State};
use crate::onward::{Continuation, Way};
use crate::process::{after, gone, load_failed, start, wait};
use crate::worker::{Job, Outcome};
use crate::{EngineOpener, Listen, ShimError, ShimOptions};

/// Longest call id taken over.
const MAX_CALL_ID_BYTES: usize = 256;

/// Serves until `stop` is ready, then drains, and returns the exit code as [`crate::run`] does.
/// `listening` is called once with the address in use.
///
/// # Errors
/// When options are wrong, the address cannot be listened on, or the shared folder
/// cannot be opened.
pub async fn serve(
    options: ShimOptions,
    opener: EngineOpener,
    stop: impl Future<Output = ()>,
    listening: impl FnOnce(Listen),
) -> Result<u8, ShimError> {
    options.check()?;
    let shared = options.shared_folder.as_deref().map(SharedFolder::open).transpose()?;
    let listener = Listener::bind(&options.server.listen).await?;
    let address = listener.address();
    info!(slice = %options.slice, %address, "listening");
    listening(address);
    let function = start(options, opener, shared)?;
    let service = {
        let function = Arc::clone(&function);
        move |request| answer(Arc::clone(&function), request)
    };
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = function.is_idle() => {}
        }
    };
    accept(listener, &function.options.server, &function.phase, service, stop).await;
    finish_onward(&function).await;
    Ok(function.exit_code())
}

/// Requests that go on by themselves have no connection that draining waits for.
async fn finish_onward(function: &Function) {
    let all = u32::try_from(function.options.server.max_in_flight).unwrap_or(u32::MAX);
    let finished = function.in_flight.acquire_many(all);
    if tokio::time::timeout(function.options.server.drain_deadline, finished).await.is_err() {
        warn!("stopped with requests unanswered or not handed on");
    }
}

async fn answer(function: Arc<Function>, request: Request<Incoming>) -> Answer {
    function.touch();
    let call_id = request.headers().get(CALL_ID_HEADER).filter(|id| id.len() <= MAX_CALL_ID_BYTES).cloned();
    let mut response = route(&function, request, call_id.as_ref()).await;
    function.touch();
    echo(&mut response, CALL_ID_HEADER, call_id);
    response
}

async fn route(
    function: &Arc<Function>,
    request: Request<Incoming>,
    call_id: Option<&HeaderValue>,
) -> Answer {
    let allow = match request.uri().path() {
        HEALTH_PATH if request.method() == Method::GET => {
            return json_response(StatusCode::OK, &function.describe());
        }
        READY_PATH if request.method() == Method::GET => {
            return json_response(readiness(function), &function.describe());
        }
        INVOKE_PATH if request.method() == Method::POST => {
            let call_id = call_id.and_then(|id| Some(id.to_str().ok()?.to_owned()));
            return match admit(function, request, call_id).await {
                Ok(Admitted::GoesOn) => {
                    json_response(StatusCode::ACCEPTED, &serde_json::json!({ "state": "accepted" }))
                }
                Ok(Admitted::Done(outcome)) => {
                    let Outcome { result, metrics } = *outcome;
                    match result {
                        Ok(output) => frame_response(output.chunks, metrics.as_ref()),
                        Err(refusal) => with_metrics(refusal.into_response(), metrics.as_ref()),
                    }
                }
                Err(refusal) => {
                    debug!(code = refusal.code, "{}", refusal.message);
                    refusal.into_response()
                }
            };
        }
        HEALTH_PATH | READY_PATH => Some("GET"),
        INVOKE_PATH => Some("POST"),
        _ => None,
    };
    let path = request.uri().path();
    let refusal = match allow {
        Some(allowed) => Refusal::method_not_allowed(request.method(), path, allowed),
        None => Refusal::not_found(path, "POST a frame to /, or GET /_/health or /_/ready"),
    };
    let max_body_bytes = function.options.server.max_body_bytes;
    let mut response = refuse(request, max_body_bytes, refusal).await.into_response();
    if let Some(method) = allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    }
    response
}

fn readiness(function: &Function) -> StatusCode {
    match &*function.state.borrow() {
        _ if function.is_leaving() => StatusCode::SERVICE_UNAVAILABLE,
        State::Ready => StatusCode::OK,
        State::Loading => StatusCode::SERVICE_UNAVAILABLE,
        State::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A request that was not refused.
enum Admitted {
    /// It is answered with this.
    Done(Box<Outcome>),
    /// It goes on by itself; its caller is told so.
    GoesOn,
}

/// From a request's head to its outcome. What can be refused by the head alone is, before
/// the body is read.
async fn admit(
    function: &Arc<Function>,
    request: Request<Incoming>,
    call_id: Option<String>,
) -> Result<Admitted, Refusal> {
    let (options, server) = (&function.options, &function.options.server);
    let arrived = Instant::now();
    let declared = request.body().size_hint().exact();
    let (way, wrong_way) = match Way::read(request.headers(), &options.continue_to) {
        Ok(way) => (way, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let turned_away = if function.is_draining() {
        Some(Refusal::draining())
    } else if let State::Failed(failure) = &*function.state.borrow() {
        Some(load_failed(failure))
    } else if declared.is_some_and(|bytes| bytes > server.max_body_bytes) {
        Some(too_large(declared, server.max_body_bytes))
    } else {
        wrong_way
    };
    if let Some(refusal) = turned_away {
        return Err(refuse(request, server.max_body_bytes, refusal).await);
    }
    let slice = match &function.slice {
        Ok(slice) => slice,
        Err(failure) => return Err(load_failed(failure)),
    };
    let permit = match Arc::clone(&function.in_flight).try_acquire_owned() {
        Ok(permit) => Arc::new(permit),
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
            let refusal = Refusal::busy(server.max_in_flight);
            return Err(refuse(request, server.max_body_bytes, refusal).await);
        }
    };
    let whole = after(arrived, server.bounded(options.request_deadline));
    let bytes = read_body(request.into_body(), server, whole.into(), Frame::announced_bytes).await?;
    let received = Instant::now();
    let mut frame = Frame::parse(bytes, &slice.frame_limits).map_err(|error| bad_frame(&error))?;
    let reads = |name: &str| slice.manifest.inputs.iter().any(|input| input.name == name);
    let carried = way.as_ref().map(|way| way.split(&mut frame, reads)).unwrap_or_default();
    slice.check(&frame)?;
    let deadline = after(arrived, server.bounded(frame.header.deadline.unwrap_or(options.request_deadline)));
    let (reply, outcome) = oneshot::channel();
    let continuation = way.map(|way| {
        let header = frame.header.clone();
        (Continuation { way, carried, header, deadline }, Arc::clone(&permit))
    });
    // Queued at once, loaded or not, so that requests run in the order in which they came.
    let inline = continuation.is_some();
    let job = Job { frame, call_id, received, deadline, reply, permit, inline, quiet: false };
    if function.jobs.send(job).is_err() {
        return Err(gone(function));
    }
    let Some((continuation, permit)) = continuation else {
        return wait(function, outcome, deadline).await.map(Box::new).map(Admitted::Done);
    };
    let function = Arc::clone(function);
    tokio::spawn(async move {
        let (result, metrics) = match wait(&function, outcome, deadline).await {
            Ok(Outcome { result, metrics }) => (result, metrics),
            Err(refusal) => (Err(refusal), None),
        };
        function.onward.finish(continuation, result, metrics).await;
        drop(permit);
    });
    Ok(Admitted::GoesOn)
}
