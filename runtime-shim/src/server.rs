//! Routes, and a request's way to the worker.

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};
use tranche_schema::exit_code;
use tranche_serving::{
    Answer, Listener, Phase, Refusal, ServingError, accept, becomes, echo, json_response, read_body, refuse,
    too_large,
};
use tranche_transport::{CALL_ID_HEADER, Frame, HEALTH_PATH, INVOKE_PATH, READY_PATH, SharedFolder};

use crate::answer::{bad_frame, frame_response, with_metrics};
use crate::function::{Function, State};
use crate::onward::{Continuation, Onward, Way};
use crate::slice::{LoadFailure, Slice};
use crate::worker::{Job, Outcome, work};
use crate::{EngineOpener, Listen, ShimError, ShimOptions};

/// A deadline that no request reaches, for those too far away to count.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest call id taken over.
const MAX_CALL_ID_BYTES: usize = 256;

/// Runs a function's process until SIGTERM or SIGINT and returns its exit code: 0, or
/// 20 when the slice could not be loaded, or 101 when the engine panicked.
///
/// Logs go to stderr (`TRANCHE_LOG` filters them), one line of metrics a request to stdout.
#[must_use]
pub fn run(options: ShimOptions, opener: EngineOpener) -> u8 {
    // One thread moves bytes, the worker's runs the slice: a function rarely has two CPUs.
    let served = tranche_serving::run(async |stop| serve(options, opener, stop, |_| {}).await);
    served.map_err(ShimError::from).flatten().unwrap_or_else(|failure| {
        error!(hint = failure.hint(), "{failure}");
        failure.exit_code()
    })
}

/// Serves until `stop` is ready, then drains, and returns the exit code as [`run`] does.
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
    accept(listener, &function.options.server, &function.phase, service, stop).await;
    finish_onward(&function).await;
    Ok(if function.poisoned.load(Ordering::Relaxed) {
        exit_code::BUG
    } else if matches!(*function.state.borrow(), State::Failed(_)) {
        exit_code::UNSUPPORTED_MODEL
    } else {
        exit_code::OK
    })
}

/// Requests that go on by themselves have no connection that draining waits for.
async fn finish_onward(function: &Function) {
    let all = u32::try_from(function.options.server.max_in_flight).unwrap_or(u32::MAX);
    let finished = function.in_flight.acquire_many(all);
    if tokio::time::timeout(function.options.server.drain_deadline, finished).await.is_err() {
        warn!("stopped with requests unanswered or not handed on");
    }
}

/// Reads the manifest and starts the worker, which loads the slice.
fn start(
    options: ShimOptions,
    opener: EngineOpener,
    shared: Option<SharedFolder>,
) -> Result<Arc<Function>, ShimError> {
    let slice = Slice::read(&options).map(Arc::new);
    let (jobs, queue) = mpsc::unbounded_channel();
    let state = match &slice {
        Ok(_) => State::Loading,
        Err(failure) => {
            error!(hint = failure.hint, "{}", failure.message);
            State::Failed(failure.clone())
        }
    };
    let function = Arc::new(Function {
        in_flight: Arc::new(Semaphore::new(options.server.max_in_flight)),
        options,
        slice,
        state: watch::channel(state).0,
        jobs,
        phase: watch::channel(Phase::Serving).0,
        poisoned: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        onward: Onward::new(),
    });
    if let Ok(slice) = function.slice.clone() {
        let worker = Arc::clone(&function);
        std::thread::Builder::new()
            .name("session".to_owned())
            .spawn(move || work(&worker, &slice, opener, shared.as_ref(), queue))
            .map_err(|source| ServingError::System { source })?;
        tokio::spawn(limit_loading(Arc::clone(&function)));
    }
    Ok(function)
}

/// Gives up on a load that takes too long; if it ends after all, the function is ready.
async fn limit_loading(function: Arc<Function>) {
    tokio::time::sleep(function.options.load_deadline).await;
    let seconds = function.options.load_deadline.as_secs_f64();
    function.state.send_if_modified(|state| {
        let late = matches!(state, State::Loading);
        if late {
            let message = format!("the slice was not loaded within {seconds} s");
            error!("{message}");
            *state = State::Failed(LoadFailure::new(
                message,
                "raise `--load-deadline-ms`, or give the function more CPU",
            ));
        }
        late
    });
}

async fn answer(function: Arc<Function>, request: Request<Incoming>) -> Answer {
    let call_id = request.headers().get(CALL_ID_HEADER).filter(|id| id.len() <= MAX_CALL_ID_BYTES).cloned();
    let mut response = route(&function, request, call_id.as_ref()).await;
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
    let job = Job { frame, call_id, received, deadline, reply, permit, inline: continuation.is_some() };
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

/// Waits for what the worker says of a job, until its deadline.
async fn wait(
    function: &Function,
    outcome: oneshot::Receiver<Outcome>,
    deadline: Instant,
) -> Result<Outcome, Refusal> {
    let failed = becomes(&function.state, |state| matches!(state, State::Failed(_)));
    tokio::select! {
        biased;
        Ok(outcome) = outcome => Ok(outcome),
        () = tokio::time::sleep_until(deadline.into()) => {
            Err(Refusal::deadline("the deadline passed before the answer was ready"))
        }
        () = failed => Err(gone(function)),
    }
}

/// Why there is no worker any more.
fn gone(function: &Function) -> Refusal {
    match &*function.state.borrow() {
        State::Failed(failure) => load_failed(failure),
        State::Loading | State::Ready => Refusal::draining(),
    }
}

fn load_failed(failure: &LoadFailure) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "load-failed",
        failure.message.clone(),
        failure.hint.clone(),
    )
}

fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time.min(FAR)).unwrap_or(start)
}
