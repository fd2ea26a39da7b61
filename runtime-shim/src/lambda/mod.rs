//! A function's process on AWS Lambda: a custom runtime that takes events from the Runtime API.
//! docs/formats/lambda.md is the contract.
//!
//! The slice is loaded while Lambda initializes the process. What takes longer than Lambda waits
//! goes on loading, and the first request waits for it.

mod answer;
mod emf;
mod event;
mod onward;
mod options;
mod store;
mod stored;

pub use options::LambdaOptions;
pub use store::AwsOpener;
pub(crate) use store::from_environment;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};
use tranche_schema::exit_code;
use tranche_serving::becomes;
use tranche_serving::lambda::{Invocation, RuntimeApi, RuntimeApiError, RuntimeFailure, in_task};

use crate::function::{Function, State};
use crate::process::start;
use crate::slice::{LoadFailure, Slice};
use crate::{EngineOpener, ShimError, ShimOptions};
use answer::Said;
use store::Store;

/// Takes events and answers them until `stop` is ready or Lambda wants no more, and returns the
/// exit code as [`crate::run`] does. `aws` is called when a request first needs an object store.
///
/// # Errors
/// When options are wrong, or the Runtime API is not there.
pub async fn serve(
    mut options: ShimOptions,
    opener: EngineOpener,
    api: RuntimeApi,
    aws: AwsOpener,
    stop: impl Future<Output = ()>,
) -> Result<u8, ShimError> {
    options.check()?;
    if let Some(folder) = options.shared_folder.take() {
        warn!("functions on Lambda share no memory: {} is not used", folder.display());
    }
    options.manifest = in_task(&options.manifest);
    options.onnxruntime = options.onnxruntime.as_deref().map(in_task);
    let mut stop = pin!(stop);
    let init_wait = options.lambda.init_wait(api.initialization());
    let function = start(options, opener, None)?;
    let begun = async {
        if let Some(failure) = loaded_within(&function, init_wait).await {
            let failure = RuntimeFailure::new("load-failed", &failure.message, &failure.hint);
            api.init_error(&failure).await?;
            return Ok(false);
        }
        if api.restore_next().await? {
            info!("restored from a snapshot");
        }
        Ok::<_, RuntimeApiError>(true)
    };
    let begun = tokio::select! {
        biased;
        () = &mut stop => return Ok(exit_code::OK),
        begun = begun => begun?,
    };
    let (true, Ok(slice)) = (begun, function.slice.clone()) else { return Ok(function.exit_code()) };
    let runtime = Runtime { function, slice, api, store: Store::new(aws) };
    tokio::select! {
        biased;
        () = stop => Ok(exit_code::OK),
        ended = runtime.take_events() => Ok(ended?),
    }
}

/// Waits for the slice, but no longer; why it was not loaded, if it is not going to be.
async fn loaded_within(function: &Function, time: Duration) -> Option<LoadFailure> {
    let loaded = becomes(&function.state, |state| !matches!(state, State::Loading));
    if tokio::time::timeout(time, loaded).await.is_err() {
        warn!(waited_ms = time.as_millis() as u64, "still loading: the first request waits for it");
    }
    match &*function.state.borrow() {
        State::Failed(failure) => Some(failure.clone()),
        State::Loading | State::Ready => None,
    }
}

/// What requests are answered with.
struct Runtime {
    function: Arc<Function>,
    slice: Arc<Slice>,
    api: RuntimeApi,
    store: Store,
}

impl Runtime {
    /// Answers one event after the other, and gives the exit code when the process is to end.
    async fn take_events(&self) -> Result<u8, RuntimeApiError> {
        loop {
            let invocation = self.api.next().await?;
            let was_running = self.is_running();
            let used_up = self.respond(&invocation).await;
            if self.function.poisoned.load(Ordering::Relaxed)
                || matches!(*self.function.state.borrow(), State::Failed(_))
            {
                return Ok(self.function.exit_code());
            }
            if was_running && used_up && self.is_running() {
                error!("a run did not end during all the time of another request: the process ends");
                return Ok(exit_code::REMOTE);
            }
        }
    }

    /// Whether the session is still at work for a request that has been answered.
    fn is_running(&self) -> bool {
        self.function.in_flight.available_permits() < self.function.options.server.max_in_flight
    }

    /// Answers an event; whether all the time that Lambda gives it was used up in vain.
    async fn respond(&self, invocation: &Invocation) -> bool {
        let id = invocation.request_id.as_str();
        let mut used_up = false;
        let sent = match self.answer(invocation).await {
            Ok(Said::Whole(payload)) => self.api.respond(id, payload).await,
            Ok(Said::Streamed(pieces)) => {
                let pieces = futures_util::stream::iter(pieces.into_iter().map(Ok));
                self.api.respond_streamed(id, "application/octet-stream", pieces).await
            }
            Err(refusal) => {
                warn!(request = id, code = refusal.code, "{}", refusal.message);
                used_up = refusal.code == "deadline" && Instant::now() >= self.deadline(invocation);
                self.api.fail(id, &RuntimeFailure::from(&refusal)).await
            }
        };
        if let Err(failure) = sent {
            // Lambda has given the request up; `next` says whether it wants another answered.
            error!(request = id, hint = failure.hint(), "{failure}");
        }
        used_up
    }

    /// When a request that comes now must be answered.
    fn deadline(&self, invocation: &Invocation) -> Instant {
        let margin = self.function.options.lambda.deadline_margin;
        invocation.deadline.checked_sub(margin).unwrap_or(invocation.deadline)
    }
}
