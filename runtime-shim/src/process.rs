//! A function's process, however requests reach it: the slice's loading, and waiting for runs.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::error;
use tranche_serving::lambda::{RuntimeApi, RuntimeFailure};
use tranche_serving::{Phase, Refusal, ServingError, becomes};
use tranche_transport::SharedFolder;

use crate::function::{Function, State};
use crate::lambda::from_environment;
use crate::onward::Onward;
use crate::slice::{LoadFailure, Slice};
use crate::worker::{Outcome, work};
use crate::{EngineOpener, ShimError, ShimOptions, lambda, server};

/// A deadline that no request reaches, for those too far away to count.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Runs a function's process and returns its exit code: 0, or 20 when the slice could not be
/// loaded, or 101 when the engine panicked. It ends on SIGTERM or SIGINT, or when its platform
/// wants no more of it.
///
/// Where `AWS_LAMBDA_RUNTIME_API` is set it takes events from there (docs/formats/lambda.md),
/// else it listens.
///
/// Logs go to stderr (`TRANCHE_LOG` filters them), one line of metrics a request to stdout.
#[must_use]
pub fn run(options: ShimOptions, opener: EngineOpener) -> u8 {
    tranche_engine::return_large_blocks();
    // One thread moves bytes, the worker's runs the slice: a function rarely has two CPUs.
    let ran = tranche_serving::run(async |stop| match RuntimeApi::from_environment()? {
        Some(api) => lambda::serve(options, opener, api, from_environment(), stop).await,
        None => server::serve(options, opener, stop, |_| {}).await,
    });
    ran.map_err(ShimError::from).flatten().unwrap_or_else(|failure| {
        error!(hint = failure.hint(), "{failure}");
        failure.exit_code()
    })
}

/// Tells the platform why this process cannot even begin, where it wants to be told: on AWS Lambda.
/// Elsewhere the exit code and standard error are all.
pub fn refuse_to_begin(reason: &str) {
    let told = tranche_serving::run(async |_| match RuntimeApi::from_environment()? {
        Some(api) => api.init_error(&RuntimeFailure::new("load-failed", reason, "")).await,
        None => Ok(()),
    });
    if let Err(failure) = told.map_err(ShimError::from).and_then(|told| told.map_err(ShimError::from)) {
        error!(hint = failure.hint(), "{failure}");
    }
}

/// Reads the manifest and starts the worker, which loads the slice.
pub(crate) fn start(
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
        start_up: OnceLock::new(),
        onward: Onward::new(),
        touched: watch::channel(Instant::now()).0,
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

/// Waits for what the worker says of a job, until its deadline.
pub(crate) async fn wait(
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
pub(crate) fn gone(function: &Function) -> Refusal {
    match &*function.state.borrow() {
        State::Failed(failure) => load_failed(failure),
        State::Loading | State::Ready => Refusal::draining(),
    }
}

pub(crate) fn load_failed(failure: &LoadFailure) -> Refusal {
    Refusal::new(
        hyper::StatusCode::INTERNAL_SERVER_ERROR,
        "load-failed",
        failure.message.clone(),
        failure.hint.clone(),
    )
}

pub(crate) fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time.min(FAR)).unwrap_or(start)
}
