//! Listening, routes, and the way to stop.

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, EXPECT, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};
use tranche_schema::exit_code;
use tranche_transport::{Frame, HEALTH_PATH, INVOKE_PATH, READY_PATH, SharedFolder};

use crate::answer::{Answer, Refusal, frame_response, json_response};
use crate::function::{Function, State};
use crate::listen::Listener;
use crate::slice::{LoadFailure, Slice};
use crate::worker::{Job, Outcome, work};
use crate::{EngineOpener, Listen, ShimError, ShimOptions, body};

/// Longest request head, and the pause after an accept that failed.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A deadline that no request reaches, for those too far away to count.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Runs a function's process until SIGTERM or SIGINT and returns its exit code: 0, or
/// 20 when the slice could not be loaded, or 101 when the engine panicked.
///
/// Logs go to stderr (`TRANCHE_LOG` filters them), one line of metrics a request to stdout.
#[must_use]
pub fn run(options: ShimOptions, opener: EngineOpener) -> u8 {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRANCHE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    // One thread moves bytes, the worker's runs the slice: a function rarely has two CPUs.
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            let signals = {
                let _context = runtime.enter();
                (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
            };
            Ok((runtime, signals))
        })
        .map_err(|source| ShimError::System { source })
        .and_then(|(runtime, (mut terminate, mut interrupt))| {
            let stop = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            let code = runtime.block_on(serve(options, opener, stop, |_| {}));
            runtime.shutdown_background();
            code
        });
    served.unwrap_or_else(|failure| {
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
    let listener = Listener::bind(&options.listen).await?;
    let address = listener.address();
    info!(slice = %options.slice, %address, "listening");
    listening(address);
    let function = start(options, opener, shared)?;
    accept(&function, listener, stop).await;
    Ok(if function.poisoned.load(Ordering::Relaxed) {
        exit_code::BUG
    } else if matches!(*function.state.borrow(), State::Failed(_)) {
        exit_code::UNSUPPORTED_MODEL
    } else {
        exit_code::OK
    })
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
        in_flight: Arc::new(Semaphore::new(options.max_in_flight)),
        options,
        slice,
        state: watch::channel(state).0,
        jobs,
        draining: watch::channel(false).0,
        poisoned: AtomicBool::new(false),
        answered: AtomicU64::new(0),
    });
    if let Ok(slice) = function.slice.clone() {
        let worker = Arc::clone(&function);
        std::thread::Builder::new()
            .name("session".to_owned())
            .spawn(move || work(&worker, &slice, opener, shared.as_ref(), queue))
            .map_err(|source| ShimError::System { source })?;
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

async fn accept(function: &Arc<Function>, listener: Listener, stop: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(function.options.max_connections));
    let mut tasks = JoinSet::new();
    let poisoned = becomes(&function.draining, |draining| *draining);
    let mut stop = pin!(async {
        tokio::select! {
            () = stop => {}
            () = poisoned => {}
        }
    });
    loop {
        let free = Arc::clone(&connections).acquire_owned();
        let accepted = async {
            let permit = free.await.ok();
            let spawned = match &listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    tasks.spawn(converse(Arc::clone(function), stream, permit));
                }),
                Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                    tasks.spawn(converse(Arc::clone(function), stream, permit));
                }),
            };
            if let Err(failure) = spawned {
                // Out of descriptors, as a rule: some will be free again.
                warn!("cannot accept a connection: {failure}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = accepted => {}
        }
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    function.draining.send_replace(true);
    info!(connections = tasks.len(), "draining");
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(function.options.drain_deadline, drained).await.is_err() {
        warn!(connections = tasks.len(), "stopped with requests unanswered");
    }
}

/// Serves one connection until it ends, or until its current request is answered when draining.
async fn converse<S>(function: Arc<Function>, stream: S, permit: Option<tokio::sync::OwnedSemaphorePermit>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let function = Arc::clone(&function);
        async move { Ok::<_, Infallible>(answer(&function, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(function.options.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = becomes(&function.draining, |draining| *draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(failure) = ended {
        debug!("connection: {failure}");
    }
    drop(permit);
}

async fn answer(function: &Arc<Function>, request: Request<Incoming>) -> Answer {
    let allow = match request.uri().path() {
        HEALTH_PATH if request.method() == Method::GET => {
            return json_response(StatusCode::OK, &function.describe());
        }
        READY_PATH if request.method() == Method::GET => {
            return json_response(readiness(function), &function.describe());
        }
        INVOKE_PATH if request.method() == Method::POST => {
            let Outcome { result, metrics } = invoke(function, request).await;
            return match result {
                Ok(output) => frame_response(output.chunks, metrics.as_ref()),
                Err(refusal) => refusal.into_response(metrics.as_ref()),
            };
        }
        HEALTH_PATH | READY_PATH => Some("GET"),
        INVOKE_PATH => Some("POST"),
        _ => None,
    };
    let refusal = match allow {
        Some(method) => Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            format!("{} is not for {}", request.method(), request.uri().path()),
            format!("use {method}"),
        ),
        None => Refusal::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("there is nothing at {}", request.uri().path()),
            "POST a frame to /, or GET /_/health or /_/ready",
        ),
    };
    let mut response = refuse(function, request, refusal).await.into_response(None);
    if let Some(method) = allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    }
    response
}

fn readiness(function: &Function) -> StatusCode {
    match &*function.state.borrow() {
        _ if function.is_draining() => StatusCode::SERVICE_UNAVAILABLE,
        State::Ready => StatusCode::OK,
        State::Loading => StatusCode::SERVICE_UNAVAILABLE,
        State::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn invoke(function: &Arc<Function>, request: Request<Incoming>) -> Outcome {
    match admit(function, request).await {
        Ok(outcome) => outcome,
        Err(refusal) => {
            debug!(code = refusal.code, "{}", refusal.message);
            Outcome { result: Err(refusal), metrics: None }
        }
    }
}

/// From a request's head to its outcome. What can be refused by the head alone is, before
/// the body is read.
async fn admit(function: &Arc<Function>, request: Request<Incoming>) -> Result<Outcome, Refusal> {
    let options = &function.options;
    let arrived = Instant::now();
    let declared = request.body().size_hint().exact();
    let turned_away = if function.is_draining() {
        Some(Refusal::draining())
    } else if let State::Failed(failure) = &*function.state.borrow() {
        Some(load_failed(failure))
    } else if declared.is_some_and(|bytes| bytes > options.max_body_bytes) {
        Some(body::too_large(declared, options.max_body_bytes))
    } else {
        None
    };
    if let Some(refusal) = turned_away {
        return Err(refuse(function, request, refusal).await);
    }
    let slice = match &function.slice {
        Ok(slice) => slice,
        Err(failure) => return Err(load_failed(failure)),
    };
    let permit = match Arc::clone(&function.in_flight).try_acquire_owned() {
        Ok(permit) => permit,
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
            let refusal = Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                format!("{} requests are in flight already", options.max_in_flight),
                "wait as Retry-After says; `--max-in-flight` is the bound",
            );
            return Err(refuse(function, request, refusal).await);
        }
    };
    let whole = after(arrived, options.request_deadline);
    let bytes =
        body::read(request.into_body(), options.max_body_bytes, options.body_timeout, whole.into()).await?;
    let received = Instant::now();
    let frame = Frame::parse(bytes, &slice.frame_limits)?;
    slice.check(&frame)?;
    let deadline = after(arrived, frame.header.deadline.unwrap_or(options.request_deadline));
    let (reply, outcome) = oneshot::channel();
    // Queued at once, loaded or not, so that requests run in the order in which they came.
    let job = Job { frame, received, deadline, reply, permit };
    if function.jobs.send(job).is_ok() {
        let failed = becomes(&function.state, |state| matches!(state, State::Failed(_)));
        tokio::select! {
            biased;
            Ok(outcome) = outcome => return Ok(outcome),
            () = tokio::time::sleep_until(deadline.into()) => {
                return Err(Refusal::deadline("the deadline passed before the answer was ready"));
            }
            () = failed => {}
        }
    }
    match &*function.state.borrow() {
        State::Failed(failure) => Err(load_failed(failure)),
        State::Loading | State::Ready => Err(Refusal::draining()),
    }
}

/// Reads on for a while so that the caller gets to see the refusal; a caller that asked
/// whether it may send its body does not get to send it.
async fn refuse(function: &Function, request: Request<Incoming>, refusal: Refusal) -> Refusal {
    if request.body().is_end_stream() {
        return refusal;
    }
    if request.headers().contains_key(EXPECT) {
        return refusal.closing();
    }
    body::discard(request.into_body(), function.options.max_body_bytes).await;
    refusal
}

fn load_failed(failure: &LoadFailure) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "load-failed",
        failure.message.clone(),
        failure.hint.clone(),
    )
}

/// Waits until the value is such; the value is not held, so others may change it.
async fn becomes<T>(value: &watch::Sender<T>, such: impl FnMut(&T) -> bool) {
    // The sender is borrowed, so it lives, so this does not fail.
    let _ = value.subscribe().wait_for(such).await;
}

fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time.min(FAR)).unwrap_or(start)
}
