//! Waiting for functions: to run, to answer, to be used by nobody, to be gone.

use super::snapshot::differences;
use super::wire::{Load, Readiness};
use super::{Gateway, GatewayError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tranche_packager::openfaas::{FunctionDeployment, Provider};

/// For how many first pauses an update may go unseen before it is taken for one
/// of those that Kubernetes' Community Edition answers with success and does not
/// do: five seconds by default.
const UNSEEN: u32 = 50;
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why a function does not serve.
#[derive(Debug)]
pub(super) enum BringUpError {
    /// The gateway did not do it.
    Gateway(GatewayError),
    /// It runs and says that it never will.
    Failed(String),
    /// It was not ready in time.
    Late(String),
    /// Another one failed first.
    GivenUp,
}

/// Makes one function serve.
#[derive(Clone, Debug)]
pub(super) struct BringUp {
    pub gateway: Gateway,
    pub provider: Provider,
    pub function: FunctionDeployment,
    /// Whether it is to be made or changed, and not only waited for.
    pub apply: bool,
    pub deadline: Instant,
    /// First pause between two looks.
    pub pause: Duration,
    /// Set when another function has failed.
    pub given_up: Arc<AtomicBool>,
}

impl BringUp {
    pub async fn run(self) -> Result<(), BringUpError> {
        let mut open = None;
        if self.apply {
            match tokio::time::timeout_at(self.deadline, self.gateway.apply(&self.function)).await {
                Ok(Ok(_)) => {}
                // It may have been done all the same: pulling an image outlasts a gateway's patience.
                Ok(Err(error)) if error.is_open() => open = Some(error),
                Ok(Err(error)) => return Err(BringUpError::Gateway(error)),
                Err(_) => return Err(BringUpError::Late("the gateway has not answered".to_owned())),
            }
        }
        self.until_it_runs(open).await?;
        self.until_it_answers().await
    }

    /// A success says nothing on Kubernetes: only what `GET` shows counts.
    async fn until_it_runs(&self, open: Option<GatewayError>) -> Result<(), BringUpError> {
        let name = &self.function.service;
        let mut waiting = Waiting::new(self);
        let mut applied_at = Instant::now();
        let mut scaled = false;
        loop {
            let seen = match waiting.ask(self.gateway.get(name)).await? {
                Some(running) => {
                    let differences = differences(&self.function, &running, self.provider);
                    match (differences.is_empty(), running.available_replicas) {
                        (true, 1..) => return Ok(()),
                        (true, 0) => {
                            // Scaled to nothing by hand, or ended on faasd. Where it is only
                            // about to start, being refused does no harm.
                            if running.replicas == 0 && !scaled {
                                let _ = waiting.ask(self.gateway.scale(name, 1)).await;
                                scaled = true;
                            }
                            "no replica runs yet".to_owned()
                        }
                        (false, _) => format!("the gateway still has {}", differences.join(", ")),
                    }
                }
                None => "the gateway does not have it".to_owned(),
            };
            let unseen = seen.starts_with("the gateway");
            if unseen && self.apply && open.is_none() && applied_at.elapsed() >= self.pause * UNSEEN {
                // Creating is answered truly, so it says what is wrong.
                let again = match seen.as_str() {
                    "the gateway does not have it" => self.gateway.create(&self.function),
                    _ => return Err(self.not_done(seen)),
                };
                waiting.ask(again).await?;
                applied_at = Instant::now();
            }
            waiting.pause(seen, open.as_ref()).await?;
        }
    }

    fn not_done(&self, seen: String) -> BringUpError {
        BringUpError::Failed(format!("its update was answered with success and not done: {seen}"))
    }

    async fn until_it_answers(&self) -> Result<(), BringUpError> {
        let mut waiting = Waiting::new(self);
        loop {
            match waiting.ask(self.gateway.readiness(&self.function.service)).await? {
                Readiness::Ready { .. } => return Ok(()),
                Readiness::Failed { message } => return Err(BringUpError::Failed(message)),
                Readiness::Waiting { reason } => waiting.pause(reason, None).await?,
            }
        }
    }
}

/// The time left, and the pause until the next look.
struct Waiting<'a> {
    of: &'a BringUp,
    pause: Duration,
}

impl<'a> Waiting<'a> {
    fn new(of: &'a BringUp) -> Self {
        Self { of, pause: of.pause }
    }

    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, GatewayError>>,
    ) -> Result<T, BringUpError> {
        match tokio::time::timeout_at(self.of.deadline, question).await {
            Ok(result) => result.map_err(BringUpError::Gateway),
            Err(_) => Err(BringUpError::Late("the gateway has not answered".to_owned())),
        }
    }

    async fn pause(&mut self, seen: String, open: Option<&GatewayError>) -> Result<(), BringUpError> {
        if self.of.given_up.load(Ordering::Relaxed) {
            return Err(BringUpError::GivenUp);
        }
        if Instant::now() + self.pause >= self.of.deadline {
            return Err(open.cloned().map_or(BringUpError::Late(seen), BringUpError::Gateway));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// How long functions that are to go are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// They go after this long, whoever uses them.
    pub most: Duration,
    /// They go when nobody has used them for this long. A request is between two
    /// slices for less.
    pub quiet: Duration,
    pub pause: Duration,
}

/// Waits until nobody uses the functions; whether that was so before patience
/// ended. Functions that do not say what they do are waited for to the end.
pub(super) async fn until_unused(gateway: &Gateway, names: &[String], patience: Patience) -> bool {
    let end = Instant::now() + patience.most;
    let mut last: Option<(u64, Instant)> = None;
    loop {
        let load = total_load(gateway, names);
        let Ok(load) = tokio::time::timeout_at(end, load).await else { return false };
        last = match (load, last) {
            (Some(Load { in_flight: 0, answered }), Some((before, since))) if before == answered => {
                Some((before, since))
            }
            (Some(Load { in_flight: 0, answered }), _) => Some((answered, Instant::now())),
            _ => None,
        };
        if last.is_some_and(|(_, since)| since.elapsed() >= patience.quiet) {
            return true;
        }
        if Instant::now() + patience.pause >= end {
            tokio::time::sleep_until(end).await;
            return false;
        }
        tokio::time::sleep(patience.pause).await;
    }
}

/// What all of them do together; `None` when one does not say. One of several
/// replicas cannot speak for the others; one that is not ready does nothing.
async fn total_load(gateway: &Gateway, names: &[String]) -> Option<Load> {
    let mut total = Load::default();
    for name in names {
        match gateway.get(name).await {
            Ok(Some(running)) if running.replicas > 1 => return None,
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(_) => return None,
        }
        match gateway.readiness(name).await {
            Ok(Readiness::Ready { load }) => {
                let load = load?;
                total.in_flight += load.in_flight;
                total.answered += load.answered;
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    Some(total)
}

/// Waits until the gateway has none of the functions; those that it still has.
pub(super) async fn until_gone(
    gateway: &Gateway,
    names: &[String],
    most: Duration,
    pause: Duration,
) -> Result<Vec<String>, GatewayError> {
    let end = Instant::now() + most;
    loop {
        let mut left = Vec::new();
        for name in names {
            if gateway.get(name).await?.is_some() {
                left.push(name.clone());
            }
        }
        if left.is_empty() || Instant::now() + pause >= end {
            return Ok(left);
        }
        tokio::time::sleep(pause).await;
    }
}
