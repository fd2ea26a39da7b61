use super::desired::Desired;
use super::diff::{Step, describe};
use super::function::Patience;
use super::rollout::Rollout;
use super::serve::Serving;
use super::state::{Record, State};
use super::{AwsConnection, AwsCredentials, AwsError, AwsSession, Check, EcrLogin, Identity, LambdaSettings};
use super::{ecr, logs, remove, status};
use crate::lock::DeploymentLock;
use crate::target::check_name;
use crate::{
    Bundle, BundleChecks, ChangeSet, DeployError, DeployEvent, DeployRequest, DeploymentStatus, Destroyed,
    FunctionLog, LogQuery, Target,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tranche_schema::Deployment;

/// As in deployment.json.
pub(super) const NAME: &str = "lambda";
/// How long changes besides a deploy may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs functions on AWS Lambda.
#[derive(Debug)]
pub struct LambdaTarget {
    state: State,
    session: AwsSession,
    settings: LambdaSettings,
    runtime: Runtime,
}

impl LambdaTarget {
    /// A target with its state below `state`, which other targets may share. Its calls block
    /// and must not be made from asynchronous code.
    ///
    /// # Errors
    /// When there is no region or there are no credentials.
    pub fn new(
        state: &Path,
        connection: &AwsConnection,
        settings: LambdaSettings,
    ) -> Result<Self, DeployError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(DeployError::file("start a runtime for", state))?;
        let session = runtime.block_on(AwsSession::connect(connection))?;
        Ok(Self { state: State::new(state), session, settings, runtime })
    }

    /// The way to AWS, for counting its calls.
    #[must_use]
    pub fn session(&self) -> &AwsSession {
        &self.session
    }

    /// What deploys are made of.
    pub fn settings_mut(&mut self) -> &mut LambdaSettings {
        &mut self.settings
    }

    /// Who asks, for the names of what will be made.
    ///
    /// # Errors
    /// When AWS does not take the credentials or cannot be asked.
    pub fn identity(&self) -> Result<Identity, AwsError> {
        self.runtime.block_on(self.session.identity())
    }

    /// The keys in use, for calling the functions.
    ///
    /// # Errors
    /// When they cannot be renewed.
    pub fn credentials(&self) -> Result<AwsCredentials, AwsError> {
        self.runtime.block_on(self.session.credentials())
    }

    /// deployment.json of a deployment that is complete.
    ///
    /// # Errors
    /// When there is none of that name, or its deploy never ended.
    pub fn deployment(&self, name: &str) -> Result<Deployment, DeployError> {
        let current = self.state.record(name)?.and_then(|record| record.current);
        current.map(|current| current.deployment).ok_or_else(|| not_found(name))
    }

    /// Path of that deployment.json.
    #[must_use]
    pub fn deployment_path(&self, name: &str) -> PathBuf {
        self.state.deployment_path(name)
    }

    /// Looks whether one can deploy here: who asks, what the account has left, and whether
    /// `policy` (`tranche_packager::lambda::policies::deployer`), which is what a deploy
    /// needs, is given. Changes nothing.
    #[must_use]
    pub fn doctor(&self, policy: &Value, bucket: Option<&str>) -> Vec<Check> {
        self.runtime.block_on(super::doctor::check(&self.session, policy, bucket))
    }

    /// A way into the account's own registry, for [`crate::registry::push_layout`].
    ///
    /// # Errors
    /// When it is not given.
    pub fn registry_login(&self) -> Result<EcrLogin, AwsError> {
        self.runtime.block_on(ecr::login(&self.session))
    }

    /// Makes a repository of that registry for a deployment's images, where there is none;
    /// whether it did. No destroy removes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn ensure_repository(&self, repository: &str, deployment: &str) -> Result<bool, AwsError> {
        self.runtime.block_on(ecr::ensure_repository(&self.session, repository, deployment))
    }

    /// Leads callers to the versions that served before the last deploy, all functions; once
    /// more, and they are led forward again. Nothing is sent or started.
    ///
    /// # Errors
    /// When nothing served before, a canary is under way, or an alias cannot be moved.
    pub fn rollback(&self, name: &str) -> Result<Deployment, DeployError> {
        self.serving(name, async |serving| serving.rollback().await)
    }

    /// Whether new versions of a deployment get a part of the requests.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn has_canary(&self, name: &str) -> Result<bool, DeployError> {
        check_name(name)?;
        self.state.record(name)?.map(|record| record.canary.is_some()).ok_or_else(|| not_found(name))
    }

    /// Gives the versions of a canary another share of the requests, between 0 and 1.
    ///
    /// # Errors
    /// When there is no canary, or an alias cannot be changed.
    pub fn set_canary(&self, name: &str, weight: f64) -> Result<(), DeployError> {
        self.serving(name, async |serving| serving.weigh(weight).await)
    }

    /// Gives the versions of a canary all requests.
    ///
    /// # Errors
    /// When there is no canary, or an alias cannot be changed.
    pub fn promote(
        &self,
        name: &str,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        self.serving(name, async |serving| serving.end_canary(true, progress).await)
    }

    /// Ends a canary: what served before it gets all requests, and its versions go.
    ///
    /// # Errors
    /// When there is no canary, or an alias cannot be changed.
    pub fn abort(
        &self,
        name: &str,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError> {
        self.serving(name, async |serving| serving.end_canary(false, progress).await)
    }

    /// Sets concurrency aside for a slice's function, or all of them, and keeps environments
    /// ready; `None` gives back. Waits until they are.
    ///
    /// # Errors
    /// When there is no such deployment or slice, or AWS refuses.
    pub fn set_concurrency(
        &self,
        name: &str,
        slice: Option<&str>,
        reserved: Option<u32>,
        provisioned: Option<u32>,
    ) -> Result<(), DeployError> {
        self.serving(name, async |serving| serving.set_concurrency(slice, reserved, provisioned).await)
    }

    fn serving<T>(
        &self,
        name: &str,
        change: impl AsyncFnOnce(Serving<'_>) -> Result<T, DeployError>,
    ) -> Result<T, DeployError> {
        check_name(name)?;
        let _lock = DeploymentLock::take(self.state.root(), name)?;
        let record = self.state.record(name)?.ok_or_else(|| not_found(name))?;
        self.runtime.block_on(async {
            let account = self.session.identity().await?.account;
            self.check_place(name, Some(&record), &account)?;
            let patience = self.patience();
            let (session, state) = (&self.session, &self.state);
            change(Serving { session, state, name, record, patience: &patience }).await
        })
    }

    fn patience(&self) -> Patience {
        Patience {
            deadline: Instant::now() + PATIENCE,
            pause: self.settings.poll,
            interrupted: None,
            given_up: Arc::new(AtomicBool::new(false)),
        }
    }

    /// That a deployment is in this account and region and nowhere else.
    fn check_place(&self, name: &str, record: Option<&Record>, account: &str) -> Result<(), DeployError> {
        let Some(record) = record else { return Ok(()) };
        let place = |account: &str, region: &str, endpoint: Option<&str>| match endpoint {
            Some(endpoint) => format!("account {account}, region {region} at {endpoint}"),
            None => format!("account {account}, region {region}"),
        };
        let there = place(&record.account, &record.region, record.endpoint.as_deref());
        let here = place(account, self.session.region(), self.session.endpoint());
        if there == here {
            return Ok(());
        }
        Err(DeployError::OtherPlace { name: name.to_owned(), there, here })
    }

    async fn changes(&self, rollout: &Rollout<'_>, record: &Record) -> Result<ChangeSet, DeployError> {
        let desired = rollout.desired;
        let mut set = ChangeSet {
            deployment: desired.name.to_owned(),
            target: NAME.to_owned(),
            ..ChangeSet::default()
        };
        let current = record.current.as_ref();
        let short = |digest: &tranche_schema::Digest| digest.short().to_owned();
        set.compare(
            "bundle",
            current.map(|current| short(&current.deployment.bundle_digest)),
            Some(short(&desired.bundle.digest)),
        );
        let plan = &desired.bundle.manifest.plan_digest;
        set.compare("plan", current.map(|current| short(&current.plan_digest)), Some(short(plan)));
        let wanted = desired.functions(&self.session, rollout.account, &record.made)?;
        let pairs = rollout.compare(wanted, record).await?;
        for pair in &pairs {
            let (from, to) = describe(&pair.found, &pair.wanted.configuration);
            set.compare(&pair.wanted.description.slice, from, to);
        }
        let wanted = |name: &str| pairs.iter().any(|pair| pair.wanted.name() == name);
        let lambda = current.and_then(|current| current.deployment.lambda.as_ref());
        for function in lambda.iter().flat_map(|lambda| &lambda.functions) {
            if !wanted(&function.function) {
                set.compare(&function.slice, Some(format!("version {}", function.version)), None);
            }
        }
        let kept = pairs.iter().all(|pair| pair.step == Step::Keep);
        if set.is_empty() && kept && rollout.unchanged(&pairs, record).await?.is_none() {
            // Tags, concurrency, a role, the entry, or an end that a deploy did not reach.
            set.compare("settings", Some("as they are".to_owned()), Some("as asked for".to_owned()));
        }
        Ok(set)
    }

    async fn record(&self, name: &str, account: &str) -> Result<Record, DeployError> {
        let record = self.state.record(name)?;
        self.check_place(name, record.as_ref(), account)?;
        let (region, endpoint) = (self.session.region(), self.session.endpoint());
        Ok(record.unwrap_or_else(|| Record::new(account, region, endpoint)))
    }
}

impl Target for LambdaTarget {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, request: &DeployRequest) -> Result<ChangeSet, DeployError> {
        check_name(&request.name)?;
        let bundle = Bundle::open(&request.bundle)?;
        let desired = Desired::new(&self.settings, &bundle, request)?;
        self.runtime.block_on(async {
            let account = self.session.identity().await?.account;
            let record = self.record(&request.name, &account).await?;
            let (session, state, options) = (&self.session, &self.state, &request.options);
            let rollout = Rollout { session, state, desired: &desired, account: &account, options };
            self.changes(&rollout, &record).await
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
        let desired = Desired::new(&self.settings, &bundle, request)?;
        self.runtime.block_on(async {
            let account = self.session.identity().await?.account;
            let record = self.record(&request.name, &account).await?;
            let (session, state, options) = (&self.session, &self.state, &request.options);
            let rollout = Rollout { session, state, desired: &desired, account: &account, options };
            rollout.run(record, progress).await
        })
    }

    fn status(&self, name: &str) -> Result<DeploymentStatus, DeployError> {
        check_name(name)?;
        let record = self.state.record(name)?;
        self.runtime.block_on(status::status(&self.session, name, record.as_ref()))
    }

    fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<FunctionLog>, DeployError> {
        let deployment = self.deployment(name)?;
        let wanted = |slice: &str| query.function.as_deref().is_none_or(|wanted| wanted == slice);
        let lambda = deployment.lambda.iter();
        let functions = lambda.flat_map(|lambda| lambda.functions.iter().chain(&lambda.entry));
        let mut found = Vec::new();
        for function in functions.filter(|function| wanted(&function.slice)) {
            let lines = self.runtime.block_on(logs::lines(&self.session, &function.function, query.tail))?;
            found.push(FunctionLog { function: function.slice.clone(), path: PathBuf::new(), lines });
        }
        match &query.function {
            Some(function) if found.is_empty() => Err(not_found(&format!("{name}/{function}"))),
            _ => Ok(found),
        }
    }

    fn destroy(&self, name: &str) -> Result<Destroyed, DeployError> {
        check_name(name)?;
        let _lock = DeploymentLock::take(self.state.root(), name)?;
        // With a damaged record, tags have to do.
        let record = match self.state.record(name) {
            Err(DeployError::Document(_)) => None,
            record => record?,
        };
        let functions = self.runtime.block_on(async {
            let account = self.session.identity().await?.account;
            self.check_place(name, record.as_ref(), &account)?;
            let patience = self.patience();
            remove::remove(&self.session, name, &account, record.as_ref(), &patience).await
        })?;
        if functions == 0 && record.is_none() && !self.state.folder(name).is_dir() {
            return Err(not_found(name));
        }
        self.state.remove(name)?;
        // Lambda lets invocations that run end.
        Ok(Destroyed { functions, drained: true })
    }

    fn list(&self) -> Result<Vec<String>, DeployError> {
        self.state.names()
    }
}

fn not_found(name: &str) -> DeployError {
    DeployError::NotFound { name: name.to_owned() }
}
