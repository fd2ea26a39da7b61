//! What connections and the worker know of each other.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::info;
use tranche_schema::{StartUp, exit_code};

use tranche_serving::Phase;

use crate::ShimOptions;
use crate::onward::Onward;
use crate::slice::{LoadFailure, Slice};
use crate::worker::Job;

/// How far the process is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// The engine reads the slice.
    Loading,
    /// Requests run.
    Ready,
    /// Requests are answered with the reason.
    Failed(LoadFailure),
}

/// One function's process.
pub(crate) struct Function {
    pub(crate) options: ShimOptions,
    /// What the manifest says, when it could be read.
    pub(crate) slice: Result<Arc<Slice>, LoadFailure>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) jobs: mpsc::UnboundedSender<Job>,
    /// One a request from its head to its answer: what bounds memory.
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) phase: watch::Sender<Phase>,
    /// The engine panicked: what is left of the session is not to be trusted.
    pub(crate) poisoned: AtomicBool,
    pub(crate) answered: AtomicU64,
    /// How long starting took, when it has ended well.
    pub(crate) start_up: OnceLock<StartUp>,
    pub(crate) onward: Onward,
    /// When a request last came or was answered.
    pub(crate) touched: watch::Sender<Instant>,
}

impl Function {
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() == Phase::Draining
    }

    /// It was told to stop, whether or not it still takes requests.
    pub(crate) fn is_leaving(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    /// A request comes or has been answered.
    pub(crate) fn touch(&self) {
        self.touched.send_replace(Instant::now());
    }

    /// Whether it loads, or holds a request.
    fn is_busy(&self) -> bool {
        let free = self.in_flight.available_permits() == self.options.server.max_in_flight;
        !free || matches!(*self.state.borrow(), State::Loading)
    }

    /// Ends when nothing was asked for long enough; never where that is not wanted.
    pub(crate) async fn is_idle(&self) {
        let Some(patience) = self.options.idle_exit else { return std::future::pending().await };
        loop {
            let quiet = self.touched.borrow().checked_add(patience);
            let Some(quiet) = quiet else { return std::future::pending().await };
            tokio::time::sleep_until(quiet.into()).await;
            if self.is_busy() {
                self.touch();
            } else if self.touched.borrow().elapsed() >= patience {
                return info!(patience_ms = patience.as_millis() as u64, "idle");
            }
        }
    }

    /// What the process exits with when it ends now.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.poisoned.load(Ordering::Relaxed) {
            exit_code::BUG
        } else if matches!(*self.state.borrow(), State::Failed(_)) {
            exit_code::UNSUPPORTED_MODEL
        } else {
            exit_code::OK
        }
    }

    /// The body of health and readiness.
    pub(crate) fn describe(&self) -> Value {
        let (state, failure) = match &*self.state.borrow() {
            _ if self.is_leaving() => ("draining", None),
            State::Loading => ("loading", None),
            State::Ready => ("ready", None),
            State::Failed(failure) => ("failed", Some(failure.clone())),
        };
        let engine = match &self.slice {
            Ok(slice) => Some(slice.engine.as_str()),
            Err(_) => self.options.engine.as_deref(),
        };
        let mut value = json!({
            "state": state,
            "slice": self.options.slice,
            "engine": engine,
            "version": env!("CARGO_PKG_VERSION"),
            "in_flight": self.options.server.max_in_flight.saturating_sub(self.in_flight.available_permits()),
            "answered": self.answered.load(Ordering::Relaxed),
        });
        if let (Some(taken), Value::Object(fields)) = (self.start_up.get(), &mut value) {
            fields.insert("start_up".to_owned(), json!(taken));
        }
        if let (Some(failure), Value::Object(fields)) = (failure, &mut value) {
            fields.insert("message".to_owned(), failure.message.into());
            fields.insert("hint".to_owned(), failure.hint.into());
        }
        value
    }
}
