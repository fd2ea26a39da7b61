//! From what runs to what is wanted, and back when that fails.

use super::desired::Desired;
use super::diff::Steps;
use super::snapshot::Snapshot;
use super::state::{Current, State};
use super::wait::{BringUp, BringUpError, Patience, until_unused};
use super::wire::LogLine;
use super::{Gateway, LogRange};
use crate::{DeployError, DeployEvent, DeployOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tranche_packager::openfaas::{FunctionDeployment, Provider};
use tranche_schema::Deployment;

/// Lines of a function's log shown when it does not start.
const LOG_TAIL: usize = 20;

/// One deploy on its way.
pub(super) struct Rollout<'a> {
    pub gateway: &'a Gateway,
    pub state: &'a State,
    pub desired: &'a Desired<'a>,
    pub current: Option<&'a Current>,
    pub snapshot: &'a Snapshot,
    pub options: &'a DeployOptions,
}

/// What a deploy has done so far, for undoing it.
#[derive(Default)]
struct Done {
    /// Names of functions that it made.
    made: Vec<String>,
    /// Functions that it deleted or changed, as they were.
    replaced: Vec<FunctionDeployment>,
}

impl Rollout<'_> {
    pub async fn run(&self, progress: &mut dyn FnMut(DeployEvent)) -> Result<Deployment, DeployError> {
        let steps = Steps::new(self.desired, self.current, self.snapshot);
        let mut done = Done::default();
        match self.forward(&steps, &mut done, progress).await {
            Ok(deployment) => {
                if !done.replaced.iter().any(|function| steps.old.contains(&function.service)) {
                    self.retire(&steps.old, progress).await;
                }
                Ok(deployment)
            }
            Err(cause) => Err(self.back(&done, cause, progress).await),
        }
    }

    /// Everything up to deployment.json.
    async fn forward(
        &self,
        steps: &Steps,
        done: &mut Done,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        for name in &steps.strays {
            self.gateway.delete(name).await?;
        }
        let limit = self.desired.settings.function_limit;
        let most = steps.most_functions(self.snapshot, self.desired);
        let in_place = self.desired.settings.in_place || limit.is_some_and(|limit| most > limit);
        if in_place && !steps.old.is_empty() {
            self.make_room(steps, most, limit, done, progress).await?;
        }
        if !steps.restored.is_empty() {
            self.prepare_restored(steps, done, progress).await;
        }
        done.made.extend(steps.made.iter().map(|function| function.service.clone()));
        let apply = steps.made.iter().chain(&steps.restored).map(|function| (function.clone(), true));
        let all: Vec<(FunctionDeployment, bool)> =
            apply.chain(steps.kept.iter().map(|function| (function.clone(), false))).collect();
        progress(DeployEvent::Starting { functions: all.len() });
        self.bring_up(all, progress).await?;
        let mut deployment = self.desired.document(self.gateway, self.snapshot, None);
        let front_door = self.front_door(&deployment, done, progress).await?;
        if front_door.is_some() {
            deployment = self.desired.document(self.gateway, self.snapshot, front_door.as_ref());
        }
        self.state.switch(&deployment, &self.desired.record(front_door))?;
        Ok(deployment)
    }

    /// Old and new do not fit together: the old ones go first.
    async fn make_room(
        &self,
        steps: &Steps,
        most: usize,
        limit: Option<usize>,
        done: &mut Done,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<(), DeployError> {
        let why = match limit.filter(|limit| most > *limit) {
            Some(limit) => format!("old and new functions together would be {most} of at most {limit}"),
            None => "asked for".to_owned(),
        };
        progress(DeployEvent::Notice {
            text: format!(
                "updating in place ({why}): the deployment does not answer until the new functions are ready"
            ),
        });
        progress(DeployEvent::Draining);
        self.wait_until_unused(&steps.old).await;
        for name in &steps.old {
            done.replaced.extend(self.as_it_was(name));
            self.gateway.delete(name).await?;
        }
        Ok(())
    }

    /// Functions changed by hand keep their names, so they are changed in place.
    async fn prepare_restored(&self, steps: &Steps, done: &mut Done, progress: &mut dyn FnMut(DeployEvent)) {
        let names: Vec<String> = steps.restored.iter().map(|function| function.service.clone()).collect();
        progress(DeployEvent::Notice {
            text: format!("changed by hand and put right in place: {}", names.join(", ")),
        });
        if self.snapshot.provider() == Provider::Faasd {
            self.wait_until_unused(&names).await;
        }
        let running = names.iter().filter_map(|name| self.snapshot.ours.get(name));
        done.replaced.extend(running.map(|running| running.description()));
    }

    async fn bring_up(
        &self,
        functions: Vec<(FunctionDeployment, bool)>,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<(), DeployError> {
        let settings = self.desired.settings;
        let slots = Arc::new(Semaphore::new(settings.concurrency.max(1)));
        let given_up = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + self.options.ready_timeout;
        let mut tasks = JoinSet::new();
        for (function, apply) in functions {
            let task = BringUp {
                gateway: self.gateway.clone(),
                provider: self.snapshot.provider(),
                function: function.clone(),
                apply,
                deadline,
                pause: settings.poll,
                given_up: given_up.clone(),
            };
            let slots = slots.clone();
            tasks.spawn(async move {
                // Nobody closes it.
                let _slot = slots.acquire_owned().await;
                let result = if task.given_up.load(Ordering::Relaxed) {
                    Err(BringUpError::GivenUp)
                } else {
                    task.run().await
                };
                (function, result)
            });
        }
        // Each ends before the deadline or soon after it; waiting for all leaves
        // no request behind that makes a function after a rollback.
        let mut failure = None;
        while let Some(joined) = tasks.join_next().await {
            let Ok((function, result)) = joined else { continue };
            match result {
                Ok(()) => progress(DeployEvent::Ready { function: label(&function).to_owned() }),
                Err(BringUpError::GivenUp) => {}
                Err(error) => {
                    given_up.store(true, Ordering::Relaxed);
                    failure.get_or_insert((function, error));
                }
            }
        }
        match failure {
            Some((function, error)) => Err(self.explain(&function, error).await),
            None => Ok(()),
        }
    }

    async fn explain(&self, function: &FunctionDeployment, error: BringUpError) -> DeployError {
        let slice = label(function).to_owned();
        let reason = match error {
            BringUpError::Gateway(source) => return DeployError::Slice { slice, source },
            BringUpError::Failed(reason) => reason,
            BringUpError::Late(reason) => {
                let functions = format!("{slice} ({reason})");
                let log_tail = self.log_tail(&function.service).await;
                return DeployError::NotReady { functions, waited: self.options.ready_timeout, log_tail };
            }
            BringUpError::GivenUp => "another function failed".to_owned(),
        };
        let log_tail = self.log_tail(&function.service).await;
        DeployError::Function { function: slice, reason, log_tail }
    }

    async fn log_tail(&self, name: &str) -> String {
        let range = LogRange { tail: Some(LOG_TAIL), since: None };
        let lines = self.gateway.logs(name, &range).await.unwrap_or_default();
        let texts = lines.iter().map(|LogLine { text, .. }| text.trim_end());
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Makes the function that answers whole requests, once its slices do.
    async fn front_door(
        &self,
        deployment: &Deployment,
        done: &mut Done,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Option<FunctionDeployment>, DeployError> {
        let Some(wanted) = &self.desired.settings.front_door else { return Ok(None) };
        let image = wanted.image.make(deployment)?;
        let Some(function) = self.desired.front_door(&image) else { return Ok(None) };
        let name = function.service.clone();
        let apply = match self.snapshot.ours.get(&name) {
            None => {
                done.made.push(name);
                true
            }
            Some(_) if self.snapshot.drift(&function).is_none() => false,
            Some(_) => {
                // faasd ends it before it starts the new one.
                if self.snapshot.provider() == Provider::Faasd {
                    self.wait_until_unused(std::slice::from_ref(&name)).await;
                }
                done.replaced.extend(self.as_it_was(&name));
                true
            }
        };
        self.bring_up(vec![(function.clone(), apply)], progress).await?;
        Ok(Some(function))
    }

    /// Undoes what was done; the error that says how it went.
    async fn back(
        &self,
        done: &Done,
        cause: DeployError,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> DeployError {
        for name in &done.made {
            if let Err(error) = self.gateway.delete(name).await {
                progress(DeployEvent::Notice {
                    text: format!("{name} is left over, the next deploy removes it: {error}"),
                });
            }
        }
        if done.replaced.is_empty() {
            return cause;
        }
        progress(DeployEvent::Notice { text: "putting back what ran before".to_owned() });
        let former = done.replaced.iter().map(|function| (function.clone(), true)).collect();
        match self.bring_up(former, &mut |_| {}).await {
            Ok(()) => cause,
            Err(error) => DeployError::NotRestored {
                name: self.desired.name.to_owned(),
                cause: Box::new(cause),
                reason: error.to_string(),
            },
        }
    }

    /// Removes what ran before. The deployment serves already, so what fails here
    /// is only told; the next deploy removes the rest.
    async fn retire(&self, old: &[String], progress: &mut dyn FnMut(DeployEvent)) {
        if old.is_empty() {
            return;
        }
        progress(DeployEvent::Draining);
        if !self.wait_until_unused(old).await {
            progress(DeployEvent::Notice {
                text: format!(
                    "old functions may have been in use when they were removed after {:?}",
                    self.options.drain_timeout
                ),
            });
        }
        for name in old {
            if let Err(error) = self.gateway.delete(name).await {
                progress(DeployEvent::Notice {
                    text: format!("{name} is left over, the next deploy removes it: {error}"),
                });
            }
        }
    }

    async fn wait_until_unused(&self, names: &[String]) -> bool {
        let settings = self.desired.settings;
        let patience =
            Patience { most: self.options.drain_timeout, quiet: settings.quiet, pause: settings.poll };
        until_unused(self.gateway, names, patience).await
    }

    /// How a function was described when it was made, else as the gateway tells.
    fn as_it_was(&self, name: &str) -> Option<FunctionDeployment> {
        let described = self.current.and_then(|current| current.described(name)).cloned();
        described.or_else(|| Some(self.snapshot.ours.get(name)?.description()))
    }
}

/// The slice, or the front door's own name.
fn label(function: &FunctionDeployment) -> &str {
    if function.slice().is_empty() { &function.service } else { function.slice() }
}
