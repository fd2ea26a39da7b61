//! From what runs to what is wanted, and back when that fails.

use super::alias::Route;
use super::desired::{Desired, Wanted, check_files};
use super::diff::{Found, Presence, Step, changed_tags, step};
use super::function::{Function, FunctionError, Patience};
use super::state::{Canary, Generation, Pending, Record, State};
use super::things::Things;
use super::{AwsError, AwsSession, serve, undo};
use crate::{DeployError, DeployEvent, DeployOptions};
use futures_util::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tranche_packager::lambda::tags;
use tranche_schema::Deployment;

/// How long undoing may take.
const UNDOING: Duration = Duration::from_secs(120);

/// One deploy on its way.
pub(super) struct Rollout<'a> {
    pub session: &'a AwsSession,
    pub state: &'a State,
    pub desired: &'a Desired<'a>,
    pub account: &'a str,
    pub options: &'a DeployOptions,
}

/// A wanted function beside what there is.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub wanted: Wanted,
    pub found: Found,
    pub step: Step,
}

/// What a deploy has done so far, for undoing it.
#[derive(Default)]
pub(super) struct Done {
    /// Functions that it made.
    pub functions: BTreeSet<String>,
    /// Versions that it published, by their functions.
    pub versions: BTreeMap<String, String>,
    /// Aliases that it moved, with where they led.
    pub routes: BTreeMap<String, Option<String>>,
    /// Concurrency that it changed, as it was.
    pub reserved: BTreeMap<String, Option<u32>>,
    pub things: Things,
}

impl Rollout<'_> {
    pub fn patience(&self, time: Duration, can_be_ended: bool) -> Patience {
        Patience {
            deadline: Instant::now() + time,
            pause: self.desired.settings.poll,
            interrupted: self.options.interrupted.filter(|_| can_be_ended),
            given_up: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Makes the deployment what is wanted; what the record says is written down before and
    /// after.
    pub async fn run(
        &self,
        mut record: Record,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        let wanted = self.desired.functions(self.session, self.account, &record.made)?;
        check_files(&wanted)?;
        let pairs = self.compare(wanted, &record).await?;
        if let Some(deployment) = self.unchanged(&pairs, &record).await? {
            progress(DeployEvent::Unchanged);
            return Ok(deployment);
        }
        self.check_canary(&record, progress)?;
        let mut done = Done::default();
        let former = record.clone();
        match self.forward(pairs, &mut record, &mut done, progress).await {
            Ok(deployment) => {
                super::retire::retire(self, &former, &mut record, progress).await?;
                Ok(deployment)
            }
            Err(cause) => Err(self.back(&former, done, cause, progress).await),
        }
    }

    /// What there is of each function. One that is not the deployment's own ends it all
    /// before anything is changed.
    pub async fn compare(&self, wanted: Vec<Wanted>, record: &Record) -> Result<Vec<Pair>, DeployError> {
        let known = record.functions();
        let looks = wanted.into_iter().map(|wanted| async {
            let name = wanted.name();
            let found =
                Function::find(self.session, name, &self.desired.settings.alias, known.contains(name));
            let found = found.await.map_err(|source| slice_error(&wanted, source))?;
            let step = step(&found, &wanted.configuration);
            Ok::<_, DeployError>(Pair { found, step, wanted })
        });
        let pairs = futures_util::stream::iter(looks).buffered(self.desired.settings.concurrency.max(1));
        let pairs: Vec<Result<Pair, DeployError>> = pairs.collect().await;
        let pairs = pairs.into_iter().collect::<Result<Vec<Pair>, DeployError>>()?;
        for pair in &pairs {
            check_owner(pair, self.desired.name)?;
        }
        Ok(pairs)
    }

    /// deployment.json, when nothing is to be done.
    pub async fn unchanged(
        &self,
        pairs: &[Pair],
        record: &Record,
    ) -> Result<Option<Deployment>, DeployError> {
        let Some(current) = &record.current else { return Ok(None) };
        if record.pending.is_some() || record.canary.is_some() || !pairs.iter().all(is_kept) {
            return Ok(None);
        }
        let versions = pairs
            .iter()
            .filter_map(|pair| Some((pair.wanted.name().to_owned(), pair.found.version()?.to_owned())));
        let wanted: Vec<Wanted> = pairs.iter().map(|pair| pair.wanted.clone()).collect();
        let mut deployment = self.desired.document(self.session, self.account, &wanted, &versions.collect());
        if !super::things::are_made(self, record) {
            return Ok(None);
        }
        let definition = self.desired.definition(&deployment)?;
        let entry = self.desired.entry(&deployment, self.session, self.account, &record.made)?;
        if let Some(entry) = entry {
            let pair = self.compare(vec![entry], record).await?.into_iter().next();
            let Some((pair, version)) = pair.and_then(|pair| {
                let version = pair.found.version()?.to_owned();
                is_kept(&pair).then_some((pair, version))
            }) else {
                return Ok(None);
            };
            if let Some(lambda) = &mut deployment.lambda {
                lambda.entry = Some(pair.wanted.function(&version));
                let url = self.desired.settings.entry.as_ref().is_some_and(|entry| entry.url);
                lambda.entry_url = record.made.entry_url.clone().filter(|_| url);
            }
        }
        if let Some(lambda) = &mut deployment.lambda {
            lambda.state_machine = record.made.state_machine.clone().filter(|_| definition.is_some());
        }
        let same = deployment == current.deployment
            && definition == current.definition
            && self.desired.bundle.manifest.plan_digest == current.plan_digest
            // Provisioned concurrency is nowhere but here.
            && wanted.iter().all(|wanted| current.functions.contains(&wanted.description));
        Ok(same.then_some(deployment))
    }

    /// Whether this deploy may begin beside a canary, or as one.
    fn check_canary(
        &self,
        record: &Record,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<(), DeployError> {
        let name = || self.desired.name.to_owned();
        if let Some(canary) = &record.canary {
            let reason = format!("new versions get {} % of the requests already", canary.weight * 100.0);
            return Err(DeployError::Canary { name: name(), reason });
        }
        let Some(weight) = self.desired.settings.canary else { return Ok(()) };
        serve::check_weight(self.desired.name, weight)?;
        let Some(current) = &record.current else {
            let text = "nothing serves yet: the first versions get all requests".to_owned();
            progress(DeployEvent::Notice { text });
            return Ok(());
        };
        let manifest = &self.desired.bundle.manifest;
        let same = current.deployment.functions.len() == manifest.slices.len()
            && current.deployment.functions.iter().zip(&manifest.slices).all(|(function, slice)| {
                (&function.slice, &function.inputs, &function.outputs)
                    == (&slice.name, &slice.inputs, &slice.outputs)
            });
        let reason = if !same {
            "its slices are cut elsewhere than those that serve"
        } else if current.model != manifest.model.digest && manifest.slices.len() > 1 {
            "its model is another than the one that serves"
        } else {
            return Ok(());
        };
        // Each function's alias draws for itself.
        Err(DeployError::Canary { name: name(), reason: format!("{reason}, and requests would mix both") })
    }

    /// Everything up to deployment.json.
    async fn forward(
        &self,
        mut pairs: Vec<Pair>,
        record: &mut Record,
        done: &mut Done,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        let served: BTreeSet<String> = served(record);
        let made = |pair: &Pair| !served.contains(pair.wanted.name()) && pair.step != Step::Keep;
        let pending = record.pending.get_or_insert_with(Pending::default);
        pending
            .functions
            .extend(pairs.iter().filter(|pair| made(pair)).map(|pair| pair.wanted.name().to_owned()));
        self.state.write(self.desired.name, record)?;
        done.things.make(self, &pairs, record, progress).await?;
        self.state.write(self.desired.name, record)?;
        // Layers have their numbers now.
        let wanted = self.desired.functions(self.session, self.account, &record.made)?;
        for (pair, wanted) in pairs.iter_mut().zip(wanted) {
            pair.step = step(&pair.found, &wanted.configuration);
            pair.wanted = wanted;
        }
        let changing = pairs.iter().filter(|pair| pair.step != Step::Keep).count();
        progress(DeployEvent::Starting { functions: changing });
        let mut versions = self.bring_up(&pairs, record, done, progress).await?;
        let wanted: Vec<Wanted> = pairs.iter().map(|pair| pair.wanted.clone()).collect();
        let mut deployment = self.desired.document(self.session, self.account, &wanted, &versions);
        if let Some(entry) = self.desired.entry(&deployment, self.session, self.account, &record.made)? {
            let entry = self.bring_up_entry(entry, record, done, progress).await?;
            versions.extend(entry.1);
            if let Some(lambda) = &mut deployment.lambda {
                let version = versions.get(entry.0.wanted.name()).cloned().unwrap_or_default();
                lambda.entry = Some(entry.0.wanted.function(&version));
            }
            pairs.push(entry.0);
        }
        let definition = self.desired.definition(&deployment)?;
        if let Some(definition) = &definition {
            let arn = done.things.machine(self, record, definition).await?;
            if let Some(lambda) = &mut deployment.lambda {
                lambda.state_machine = Some(arn);
            }
        }
        self.switch(&pairs, &versions, done).await?;
        if let Some(url) = self.entry_url(&pairs, record).await?
            && let Some(lambda) = &mut deployment.lambda
        {
            lambda.entry_url = Some(url);
        }
        self.provision(&pairs, record, progress).await;
        self.tag(&pairs, progress).await;
        let generation = Generation {
            deployment: deployment.clone(),
            plan_digest: self.desired.bundle.manifest.plan_digest.clone(),
            model: self.desired.bundle.manifest.model.digest.clone(),
            functions: pairs.iter().map(|pair| pair.wanted.description.clone()).collect(),
            definition,
        };
        self.write(record, generation, done)?;
        Ok(deployment)
    }

    /// Makes what is new the deployment's own, as what serves or as a canary.
    fn write(&self, record: &mut Record, generation: Generation, done: &Done) -> Result<(), DeployError> {
        record.pending = None;
        match self.desired.settings.canary.filter(|_| record.current.is_some()) {
            Some(weight) => {
                record.canary = Some(Canary { generation, weight, made: done.functions.clone() });
            }
            None => {
                let former = record.current.replace(generation);
                // The same versions again are no step back.
                let changed = former.filter(|former| {
                    record.current.as_ref().is_none_or(|current| former.versions() != current.versions())
                });
                if changed.is_some() {
                    record.previous = changed;
                }
            }
        }
        self.state.write(self.desired.name, record)
    }

    async fn bring_up_entry(
        &self,
        entry: Wanted,
        record: &mut Record,
        done: &mut Done,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<(Pair, BTreeMap<String, String>), DeployError> {
        let mut pairs = self.compare(vec![entry], record).await?;
        if let Some(pair) = pairs.first()
            && !served(record).contains(pair.wanted.name())
        {
            let pending = record.pending.get_or_insert_with(Pending::default);
            pending.functions.insert(pair.wanted.name().to_owned());
            self.state.write(self.desired.name, record)?;
        }
        let versions = self.bring_up(&pairs, record, done, progress).await?;
        let missing = || DeployError::Packages {
            folder: self.desired.settings.packages.clone(),
            reason: "the entry has no function".to_owned(),
        };
        Ok((pairs.pop().ok_or_else(missing)?, versions))
    }

    /// A version of each function that is as wanted and answers.
    async fn bring_up(
        &self,
        pairs: &[Pair],
        record: &mut Record,
        done: &mut Done,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<BTreeMap<String, String>, DeployError> {
        let patience = self.patience(self.options.ready_timeout, true);
        let served = served(record);
        let new = |pair: &Pair| pair.step != Step::Keep && !served.contains(pair.wanted.name());
        done.functions
            .extend(pairs.iter().filter(|pair| new(pair)).map(|pair| pair.wanted.name().to_owned()));
        let waits = &patience;
        let tasks = pairs.iter().map(|pair| async move {
            let (version, result) = self.version(pair, waits).await;
            (pair, version, result)
        });
        let mut tasks = std::pin::pin!(
            futures_util::stream::iter(tasks).buffer_unordered(self.desired.settings.concurrency.max(1))
        );
        let mut versions = BTreeMap::new();
        let mut failure = None;
        // Waiting for all leaves no call behind that changes a function after the rollback.
        while let Some((pair, version, result)) = tasks.next().await {
            let name = pair.wanted.name().to_owned();
            if let Some(version) = version {
                if pair.step != Step::Keep && !record.needs(&name, &version) {
                    done.versions.insert(name.clone(), version.clone());
                    let pending = record.pending.get_or_insert_with(Pending::default);
                    pending.versions.insert(name.clone(), version.clone());
                    self.state.write(self.desired.name, record)?;
                }
                versions.insert(name, version);
            }
            match result {
                Ok(()) if pair.step == Step::Keep => {}
                Ok(()) => progress(DeployEvent::Ready { function: pair.wanted.description.slice.clone() }),
                Err(FunctionError::GivenUp) => {
                    failure.get_or_insert((pair, FunctionError::GivenUp));
                }
                Err(error) => {
                    patience.given_up.store(true, Ordering::Relaxed);
                    if failure.as_ref().is_none_or(|(_, first)| matches!(first, FunctionError::GivenUp)) {
                        failure = Some((pair, error));
                    }
                }
            }
        }
        match failure {
            Some((pair, error)) => Err(self.explain(&pair.wanted, error)),
            None => Ok(versions),
        }
    }

    /// The version to use, as far as it got.
    async fn version(&self, pair: &Pair, patience: &Patience) -> (Option<String>, Result<(), FunctionError>) {
        let Pair { wanted, found, step } = pair;
        if *step == Step::Keep {
            return (found.version().map(str::to_owned), Ok(()));
        }
        if patience.is_over() {
            return (None, Err(FunctionError::GivenUp));
        }
        let function = Function { session: self.session, name: wanted.name(), patience };
        let changed = match step {
            Step::Create => {
                function.create(&wanted.configuration, &wanted.code, &wanted.description.tags).await
            }
            _ => function.update(&wanted.configuration, &wanted.code).await.map(|_| ()),
        };
        if let Err(error) = changed {
            return (None, Err(error));
        }
        let version = match function.publish().await {
            Ok(version) => version,
            Err(error) => return (None, Err(error)),
        };
        let result = if wanted.ping { function.verify(&version).await } else { Ok(()) };
        (Some(version), result)
    }

    /// Leads callers to the new versions, all at the end; those of a canary to a part.
    async fn switch(
        &self,
        pairs: &[Pair],
        versions: &BTreeMap<String, String>,
        done: &mut Done,
    ) -> Result<(), DeployError> {
        let patience = self.patience(self.options.ready_timeout, true);
        let canary = self.desired.settings.canary;
        for pair in pairs {
            let function = Function { session: self.session, name: pair.wanted.name(), patience: &patience };
            let (was, wanted) =
                (pair.found.reserved_concurrency, pair.wanted.description.reserved_concurrency);
            if was != wanted {
                done.reserved.insert(pair.wanted.name().to_owned(), was);
                function.reserve(wanted).await.map_err(|error| self.explain(&pair.wanted, error))?;
            }
        }
        if patience.is_over() {
            return Err(DeployError::Interrupted { name: self.desired.name.to_owned() });
        }
        for pair in pairs.iter().filter(|pair| pair.step != Step::Keep) {
            let former = pair.found.version().map(str::to_owned);
            done.routes.insert(pair.wanted.name().to_owned(), former);
        }
        let moves = pairs.iter().filter(|pair| pair.step != Step::Keep).filter_map(|pair| {
            let version = versions.get(pair.wanted.name())?;
            let route = match (canary, pair.found.version()) {
                (Some(weight), Some(former)) if former != version => {
                    Route { version: former.to_owned(), canary: Some((version.clone(), weight)) }
                }
                _ => Route::to(version),
            };
            Some((pair, route))
        });
        let patience = &patience;
        let moves = moves.map(|(pair, route)| async move {
            let function = Function { session: self.session, name: pair.wanted.name(), patience };
            let result =
                function.route(&self.desired.settings.alias, &route, pair.found.version().is_none()).await;
            result.map_err(|error| self.explain(&pair.wanted, error))
        });
        let moves =
            futures_util::stream::iter(moves).buffer_unordered(self.desired.settings.concurrency.max(1));
        let results: Vec<Result<(), DeployError>> = moves.collect().await;
        results.into_iter().collect()
    }

    async fn entry_url(&self, pairs: &[Pair], record: &mut Record) -> Result<Option<String>, DeployError> {
        let Some(entry) = self.desired.settings.entry.as_ref().filter(|entry| entry.url) else {
            return Ok(None);
        };
        let (Some(pair), _) = (pairs.last(), entry) else { return Ok(None) };
        if let Some(url) = &record.made.entry_url {
            return Ok(Some(url.clone()));
        }
        let patience = self.patience(self.options.ready_timeout, true);
        let function = Function { session: self.session, name: pair.wanted.name(), patience: &patience };
        let url = function.url(&self.desired.settings.alias, self.account).await;
        let url = url.map_err(|error| self.explain(&pair.wanted, error))?;
        record.made.entry_url = Some(url.clone());
        Ok(Some(url))
    }

    /// Environments that are kept ready follow the alias. The deployment serves already, so
    /// what fails here is only told.
    async fn provision(&self, pairs: &[Pair], record: &Record, progress: &mut dyn FnMut(DeployEvent)) {
        let before = |name: &str| {
            let functions = record.current.iter().flat_map(|current| &current.functions);
            let mut functions = functions.filter(|function| function.name == name);
            functions.find_map(|function| function.provisioned_concurrency)
        };
        let patience = self.patience(self.options.ready_timeout, false);
        for pair in pairs {
            let (wanted, name) = (pair.wanted.description.provisioned_concurrency, pair.wanted.name());
            if wanted == before(name) {
                continue;
            }
            let function = Function { session: self.session, name, patience: &patience };
            if let Err(error) = function.provision(&self.desired.settings.alias, wanted).await {
                let error = self.explain(&pair.wanted, error);
                progress(DeployEvent::Notice { text: format!("provisioned concurrency: {error}") });
            }
        }
    }

    async fn tag(&self, pairs: &[Pair], progress: &mut dyn FnMut(DeployEvent)) {
        let patience = self.patience(UNDOING, false);
        for pair in pairs.iter().filter(|pair| pair.found.presence != Presence::Absent) {
            let tags = changed_tags(&pair.found.tags, &pair.wanted.description.tags);
            let function = Function { session: self.session, name: pair.wanted.name(), patience: &patience };
            if let Err(error) = function.tag(self.account, &tags).await {
                progress(DeployEvent::Notice { text: self.explain(&pair.wanted, error).to_string() });
            }
        }
    }

    /// Undoes what was done; the error that says how it went.
    async fn back(
        &self,
        former: &Record,
        done: Done,
        cause: DeployError,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> DeployError {
        let patience = self.patience(UNDOING, false);
        match undo::undo(self, former, done, &patience, progress).await {
            Ok(()) => cause,
            Err(error) => DeployError::NotRestored {
                name: self.desired.name.to_owned(),
                cause: Box::new(cause),
                reason: error.to_string(),
            },
        }
    }

    pub fn explain(&self, wanted: &Wanted, error: FunctionError) -> DeployError {
        let function = wanted.description.slice.clone();
        match error {
            FunctionError::Aws(source) => slice_error(wanted, source),
            FunctionError::Failed { reason, log_tail } => {
                DeployError::Function { function, reason, log_tail }
            }
            FunctionError::Late(seen) => DeployError::NotReady {
                functions: format!("{function} ({seen})"),
                waited: self.options.ready_timeout,
                log_tail: String::new(),
            },
            FunctionError::GivenUp => DeployError::Interrupted { name: self.desired.name.to_owned() },
        }
    }
}

/// Functions of what serves, served before, or is a canary.
pub(super) fn served(record: &Record) -> BTreeSet<String> {
    let mut whole = record.clone();
    whole.pending = None;
    whole.functions()
}

/// Whether nothing of a function changes.
fn is_kept(pair: &Pair) -> bool {
    pair.step == Step::Keep
        && changed_tags(&pair.found.tags, &pair.wanted.description.tags).is_empty()
        && pair.found.reserved_concurrency == pair.wanted.description.reserved_concurrency
}

/// A function of that name that is somebody else's is left alone.
fn check_owner(pair: &Pair, deployment: &str) -> Result<(), DeployError> {
    let owner = pair.found.tags.get(tags::DEPLOYMENT);
    if pair.found.presence == Presence::Absent || owner.is_some_and(|owner| owner == deployment) {
        return Ok(());
    }
    let owner = owner.map_or_else(
        || format!("it has no tag {}", tags::DEPLOYMENT),
        |owner| format!("it is of deployment `{owner}`"),
    );
    Err(DeployError::Foreign { thing: format!("function {}", pair.wanted.name()), reason: owner })
}

fn slice_error(wanted: &Wanted, source: AwsError) -> DeployError {
    DeployError::LambdaSlice { slice: wanted.description.slice.clone(), source }
}
