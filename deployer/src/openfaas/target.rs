use super::desired::{Desired, check_place};
use super::diff::changes;
use super::rollout::Rollout;
use super::snapshot::Snapshot;
use super::state::{Current, State};
use super::wait::{Patience, until_gone, until_unused};
use super::{Gateway, GatewayError, LogRange, Readiness, RunningFunction};
use crate::lock::DeploymentLock;
use crate::target::check_name;
use crate::{
    Bundle, BundleChecks, ChangeSet, DeployError, DeployEvent, DeployRequest, DeploymentPhase,
    DeploymentStatus, Destroyed, FunctionLog, FunctionState, FunctionStatus, LogQuery, Replicas, Target,
};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tranche_packager::openfaas::{DescribeOptions, FUNCTION_LIMIT, Provider, REPLICA_LIMIT};
use tranche_schema::{Deployment, FunctionSize, ImageIndex, LimitsEnforced};

/// How long functions may take to be gone once they are deleted, or to reach
/// the replicas asked for.
const SETTLE: Duration = Duration::from_secs(60);

/// Makes and pushes the image of a deployment's front door.
pub trait FrontDoorImage: Send + Sync {
    /// The pushed image, which serves `deployment`.
    ///
    /// # Errors
    /// When it cannot be made or pushed.
    fn make(&self, deployment: &Deployment) -> Result<String, DeployError>;
}

/// A function that answers whole requests.
#[derive(Clone)]
pub struct FrontDoor {
    /// Its image, made once the slices serve.
    pub image: Arc<dyn FrontDoorImage>,
    /// What it is given.
    pub size: FunctionSize,
    /// Its environment beside that of all functions.
    pub environment: BTreeMap<String, String>,
}

impl fmt::Debug for FrontDoor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FrontDoor").field("size", &self.size).finish_non_exhaustive()
    }
}

/// What a deploy to OpenFaaS needs beyond its request.
#[derive(Clone, Debug)]
pub struct OpenFaasSettings {
    /// Each slice's image, pushed.
    pub images: BTreeMap<String, String>,
    /// images.json they were pushed from, for checking that they are the bundle's.
    pub image_index: Option<ImageIndex>,
    /// How functions are described. Name, namespace, engine and sizes are the
    /// request's and the gateway's.
    pub describe: DescribeOptions,
    /// The function that answers whole requests, if one is wanted.
    pub front_door: Option<FrontDoor>,
    /// The most functions there can be; unbounded when `None`.
    pub function_limit: Option<usize>,
    /// The gateway's upstream timeout, where it is known.
    pub gateway_timeout: Option<Duration>,
    /// Whether slices are called through `/async-function/`.
    pub asynchronous: bool,
    /// Whether old functions go before new ones come, also where both fit.
    pub in_place: bool,
    /// Functions started at one time.
    pub concurrency: usize,
    /// For how long nobody must have used a function before it is removed.
    pub quiet: Duration,
    /// First pause between two looks at a function.
    pub poll: Duration,
}

impl Default for OpenFaasSettings {
    /// A Community Edition, four functions started at one time, no front door.
    fn default() -> Self {
        Self {
            images: BTreeMap::new(),
            image_index: None,
            describe: DescribeOptions::new(""),
            front_door: None,
            function_limit: Some(FUNCTION_LIMIT),
            gateway_timeout: None,
            asynchronous: false,
            in_place: false,
            concurrency: 4,
            quiet: Duration::from_secs(2),
            poll: Duration::from_millis(100),
        }
    }
}

impl OpenFaasSettings {
    pub(super) fn check_images(&self, bundle: &Bundle, engine: &str) -> Result<(), DeployError> {
        let Some(index) = &self.image_index else { return Ok(()) };
        let fail = |reason: String| DeployError::Images { bundle: bundle.folder.clone(), reason };
        if index.bundle_digest != bundle.digest {
            return Err(fail(format!("they were made of bundle {}", index.bundle_digest.short())));
        }
        if index.engine != engine {
            return Err(fail(format!("they hold engine {}, not {engine}", index.engine)));
        }
        Ok(())
    }
}

/// Runs functions behind an OpenFaaS gateway.
#[derive(Debug)]
pub struct OpenFaasTarget {
    state: State,
    gateway: Gateway,
    settings: OpenFaasSettings,
    runtime: Runtime,
}

impl OpenFaasTarget {
    /// A target with its state below `state`, which other targets may share.
    /// Its calls block and must not be made from asynchronous code.
    ///
    /// # Errors
    /// When there is no more room for a runtime's files.
    pub fn new(state: &Path, gateway: Gateway, settings: OpenFaasSettings) -> Result<Self, DeployError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            state: State::new(state),
            gateway,
            settings,
            runtime: runtime.map_err(DeployError::file("start a runtime for", state))?,
        })
    }

    /// deployment.json of a deployment that is complete.
    ///
    /// # Errors
    /// When there is none of that name, or its deploy never ended.
    pub fn deployment(&self, name: &str) -> Result<Deployment, DeployError> {
        let current = self.state.current(name)?;
        current.map(|current| current.deployment).ok_or_else(|| not_found(name))
    }

    /// Path of that deployment.json.
    #[must_use]
    pub fn deployment_path(&self, name: &str) -> PathBuf {
        self.state.deployment_path(name)
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn current(&self, name: &str) -> Result<Option<Current>, DeployError> {
        let current = self.state.current(name)?;
        check_place(current.as_ref(), &self.gateway)?;
        Ok(current)
    }

    async fn snapshot(&self, name: &str, current: Option<&Current>) -> Result<Snapshot, DeployError> {
        let named = current.map(Current::names).unwrap_or_default();
        Ok(Snapshot::take(&self.gateway, name, &named).await?)
    }

    /// Whether every function of a deployment that has not changed answers.
    async fn all_answer(&self, current: &Current) -> Result<bool, GatewayError> {
        for name in current.names() {
            if !matches!(self.gateway.readiness(name).await?, Readiness::Ready { .. }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn changes(
        &self,
        desired: &Desired<'_>,
        current: Option<&Current>,
        snapshot: &Snapshot,
    ) -> Result<ChangeSet, DeployError> {
        let mut set = changes(desired, current, snapshot);
        if let (true, Some(current)) = (set.is_empty(), current) {
            let text = |answers: bool| if answers { "ready" } else { "not ready" }.to_owned();
            let answers = self.all_answer(current).await?;
            set.compare("functions", Some(text(answers)), Some(text(true)));
        }
        Ok(set)
    }

    /// A deployment's functions at the gateway; an error when there is nothing
    /// of that name anywhere.
    async fn found(&self, name: &str) -> Result<(Option<Current>, Snapshot), DeployError> {
        check_name(name)?;
        let current = self.current(name)?;
        let snapshot = self.snapshot(name, current.as_ref()).await?;
        if current.is_none() && snapshot.ours.is_empty() && !self.state.folder(name).is_dir() {
            return Err(not_found(name));
        }
        Ok((current, snapshot))
    }

    async fn function_status(
        &self,
        slice: &str,
        name: &str,
        snapshot: &Snapshot,
        current: Option<&Current>,
    ) -> FunctionStatus {
        let running = snapshot.ours.get(name);
        let readiness = match running {
            Some(_) => Some(self.gateway.readiness(name).await),
            None => None,
        };
        let (state, mut notice) = match readiness {
            None => (FunctionState::Stopped, None),
            Some(Ok(Readiness::Ready { .. })) => (FunctionState::Ready, None),
            Some(Ok(Readiness::Failed { message })) => (FunctionState::Failed, Some(message)),
            Some(Ok(Readiness::Waiting { reason })) => (FunctionState::Starting, Some(reason)),
            Some(Err(error)) => (FunctionState::Starting, Some(error.to_string())),
        };
        let drift = current.and_then(|current| snapshot.drift(current.described(name)?));
        notice = drift.or(notice);
        let limited = |limit: fn(&RunningFunction) -> &str| {
            running.map(limit).is_some_and(|limit| !limit.is_empty() && limit != "0")
        };
        FunctionStatus {
            name: slice.to_owned(),
            state,
            process_id: None,
            restarts: 0,
            last_exit: None,
            memory_bytes: None,
            memory_peak_bytes: None,
            limits: LimitsEnforced {
                memory: limited(|running| &running.limits.memory),
                cpu: snapshot.provider() == Provider::Kubernetes && limited(|running| &running.limits.cpu),
            },
            notice,
            replicas: Some(Replicas {
                available: running.map_or(0, |running| running.available_replicas),
                wanted: running.map_or(0, |running| running.replicas),
            }),
            image: running.map(|running| running.image.clone()),
        }
    }

    async fn status_of(&self, name: &str) -> Result<DeploymentStatus, DeployError> {
        let (current, snapshot) = self.found(name).await?;
        let (shown, unnamed) = shown(current.as_ref(), &snapshot);
        let mut functions = Vec::new();
        for (slice, function) in &shown {
            functions.push(self.function_status(slice, function, &snapshot, current.as_ref()).await);
        }
        let phase = match &current {
            None => DeploymentPhase::Incomplete,
            Some(_) if snapshot.ours.is_empty() => DeploymentPhase::Stopped,
            Some(_) if functions.iter().all(|function| function.state == FunctionState::Ready) => {
                DeploymentPhase::Running
            }
            Some(_) => DeploymentPhase::Degraded,
        };
        let left = |function: &String| {
            format!("{function} is not in deployment.json; `deploy` or `destroy` removes it")
        };
        Ok(DeploymentStatus {
            name: name.to_owned(),
            target: self.name().to_owned(),
            phase,
            bundle_digest: current.map(|current| current.deployment.bundle_digest),
            functions,
            notices: unnamed.iter().map(left).collect(),
        })
    }

    async fn destroy_all(&self, name: &str) -> Result<Destroyed, DeployError> {
        // With a damaged deployment.json, labels have to do.
        let snapshot = match self.found(name).await {
            Err(DeployError::Document(_)) => self.snapshot(name, None).await?,
            found => found?.1,
        };
        let names: Vec<String> = snapshot.ours.keys().cloned().collect();
        // faasd takes the network away from requests that are still running.
        let patience = Patience {
            most: crate::DeployOptions::default().drain_timeout,
            quiet: Duration::ZERO,
            pause: self.settings.poll,
        };
        let drained = until_unused(&self.gateway, &names, patience).await;
        let mut failure = None;
        for function in &names {
            // The rest can go all the same.
            if let Err(error) = self.gateway.delete(function).await {
                failure.get_or_insert(error);
            }
        }
        if let Some(error) = failure {
            return Err(error.into());
        }
        let left = until_gone(&self.gateway, &names, SETTLE, self.settings.poll).await?;
        if !left.is_empty() {
            return Err(DeployError::Remains { name: name.to_owned(), remains: left.join(", ") });
        }
        self.state.remove(name)?;
        Ok(Destroyed { functions: names.len(), drained })
    }

    async fn scale_to(&self, name: &str, slice: Option<&str>, replicas: u32) -> Result<(), DeployError> {
        let current = self.current(name)?.ok_or_else(|| not_found(name))?;
        let provider = self.gateway.info().await?.provider;
        let limit = if provider == Provider::Faasd { 1 } else { REPLICA_LIMIT };
        if !(1..=limit).contains(&replicas) {
            return Err(DeployError::Gateway(GatewayError::Refused {
                action: format!("scale {name} to {replicas}"),
                status: 400,
                message: format!("{provider} runs 1 to {limit} replicas of a function"),
            }));
        }
        let functions: Vec<(String, String)> =
            shown(Some(&current), &self.snapshot(name, Some(&current)).await?)
                .0
                .into_iter()
                .filter(|(known, _)| slice.is_none_or(|slice| slice == known))
                .collect();
        if functions.is_empty() {
            return Err(not_found(&format!("{name}/{}", slice.unwrap_or_default())));
        }
        for (slice, function) in &functions {
            let wrap = |source| DeployError::Slice { slice: slice.clone(), source };
            self.gateway.scale(function, replicas).await.map_err(wrap)?;
        }
        let end = Instant::now() + SETTLE;
        for (slice, function) in &functions {
            loop {
                let running = self.gateway.get(function).await?;
                if running.is_some_and(|running| running.available_replicas >= u64::from(replicas)) {
                    break;
                }
                if Instant::now() >= end {
                    return Err(DeployError::NotReady {
                        functions: slice.clone(),
                        waited: SETTLE,
                        log_tail: String::new(),
                    });
                }
                tokio::time::sleep(self.settings.poll).await;
            }
        }
        Ok(())
    }
}

impl Target for OpenFaasTarget {
    fn name(&self) -> &'static str {
        "openfaas"
    }

    fn plan(&self, request: &DeployRequest) -> Result<ChangeSet, DeployError> {
        let current = self.current(&request.name)?;
        let bundle = Bundle::open(&request.bundle)?;
        let desired = Desired::new(&self.settings, &bundle, request, &self.gateway)?;
        desired.lint(None, 0)?;
        self.runtime.block_on(async {
            let snapshot = self.snapshot(&request.name, current.as_ref()).await?;
            desired.lint(Some(snapshot.provider()), snapshot.others)?;
            self.changes(&desired, current.as_ref(), &snapshot).await
        })
    }

    fn deploy(
        &self,
        request: &DeployRequest,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        check_name(&request.name)?;
        let bundle = Bundle::open(&request.bundle)?;
        let _lock = DeploymentLock::take(self.state.root(), &request.name)?;
        bundle.check(BundleChecks {
            digests: request.options.check_digests,
            verification: !request.options.allow_unverified,
        })?;
        progress(DeployEvent::BundleChecked);
        let current = self.current(&request.name)?;
        let desired = Desired::new(&self.settings, &bundle, request, &self.gateway)?;
        desired.lint(None, 0)?;
        self.runtime.block_on(async {
            let snapshot = self.snapshot(&request.name, current.as_ref()).await?;
            for warning in desired.lint(Some(snapshot.provider()), snapshot.others)? {
                progress(DeployEvent::Notice { text: format!("{}; {}", bare(&warning), warning.hint) });
            }
            if let Some(current) = &current
                && self.changes(&desired, Some(current), &snapshot).await?.is_empty()
            {
                progress(DeployEvent::Unchanged);
                return Ok(current.deployment.clone());
            }
            let rollout = Rollout {
                gateway: &self.gateway,
                state: &self.state,
                desired: &desired,
                current: current.as_ref(),
                snapshot: &snapshot,
                options: &request.options,
            };
            rollout.run(progress).await
        })
    }

    fn status(&self, name: &str) -> Result<DeploymentStatus, DeployError> {
        self.runtime.block_on(self.status_of(name))
    }

    fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<FunctionLog>, DeployError> {
        self.runtime.block_on(async {
            let (current, snapshot) = self.found(name).await?;
            let wanted = |slice: &str| query.function.as_deref().is_none_or(|wanted| wanted == slice);
            let mut logs = Vec::new();
            for (slice, function) in shown(current.as_ref(), &snapshot).0 {
                if wanted(&slice) {
                    let range = LogRange { tail: query.tail, since: None };
                    let lines = self.gateway.logs(&function, &range).await?;
                    let lines = lines.into_iter().map(|line| line.text.trim_end().to_owned()).collect();
                    logs.push(FunctionLog { function: slice, path: PathBuf::new(), lines });
                }
            }
            match &query.function {
                Some(function) if logs.is_empty() => Err(not_found(&format!("{name}/{function}"))),
                _ => Ok(logs),
            }
        })
    }

    fn destroy(&self, name: &str) -> Result<Destroyed, DeployError> {
        check_name(name)?;
        let _lock = DeploymentLock::take(self.state.root(), name)?;
        self.runtime.block_on(self.destroy_all(name))
    }

    fn scale(&self, name: &str, function: Option<&str>, replicas: u32) -> Result<(), DeployError> {
        check_name(name)?;
        let _lock = DeploymentLock::take(self.state.root(), name)?;
        self.runtime.block_on(self.scale_to(name, function, replicas))
    }

    fn list(&self) -> Result<Vec<String>, DeployError> {
        let mut names = self.state.names()?;
        let running = self.runtime.block_on(self.gateway.list())?;
        names.extend(running.iter().filter_map(RunningFunction::deployment).map(str::to_owned));
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn not_found(name: &str) -> DeployError {
    DeployError::NotFound { name: name.to_owned() }
}

/// Slices with the names of their functions, those of deployment.json where there
/// is one, and the names of the functions that are not in it.
fn shown(current: Option<&Current>, snapshot: &Snapshot) -> (Vec<(String, String)>, Vec<String>) {
    let Some(current) = current else {
        let all = snapshot.ours.iter();
        return (all.map(|(name, running)| (running.slice().to_owned(), name.clone())).collect(), Vec::new());
    };
    let openfaas = current.deployment.openfaas.iter();
    let slices = openfaas.flat_map(|openfaas| &openfaas.functions);
    let slices = slices.map(|function| (function.slice.clone(), function.function.clone()));
    let door = current.front_door().map(|name| ("front-door".to_owned(), name.to_owned()));
    let named: Vec<(String, String)> = slices.chain(door).collect();
    let is_named = |name: &String| named.iter().any(|(_, known)| known == name);
    let unnamed = snapshot.ours.keys().filter(|name| !is_named(name)).cloned().collect();
    (named, unnamed)
}

/// A warning without its word.
fn bare(finding: &tranche_packager::openfaas::Finding) -> String {
    match &finding.function {
        Some(function) => format!("{function}: {}", finding.message),
        None => finding.message.clone(),
    }
}
