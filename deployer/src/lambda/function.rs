//! Calls about one function, each patient with other changes of it that are under way.

use super::configuration::Configuration;
use super::diff::{Found, Presence, Version};
use super::{AwsError, AwsSession};
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{
    Architecture, Environment, EphemeralStorage, FunctionCode, LastUpdateStatus, Runtime, SnapStart,
    SnapStartApplyOn, State,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What a new version is invoked with (docs/formats/lambda.md).
const PING: &str = r#"{"tranche":1,"ask":{"ping":{}}}"#;

/// Where a function's code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A zip file of this machine, sent within the call.
    File(PathBuf),
    /// A zip file in a bucket of the region.
    Object { bucket: String, key: String },
    /// An image in a registry of the region.
    Image(String),
}

/// Why a function does not serve.
#[derive(Debug)]
pub(super) enum FunctionError {
    Aws(AwsError),
    /// It is there and says that it never will.
    Failed {
        reason: String,
        log_tail: String,
    },
    /// It was not ready in time.
    Late(String),
    /// Somebody wants the deploy to end.
    GivenUp,
}

impl From<AwsError> for FunctionError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

/// How long a function is waited for, and who may end that.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub deadline: Instant,
    /// First pause between two looks.
    pub pause: Duration,
    pub interrupted: Option<&'static AtomicBool>,
    /// Set when another function has failed.
    pub given_up: std::sync::Arc<AtomicBool>,
}

impl Patience {
    pub fn is_over(&self) -> bool {
        let set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        set(&self.given_up) || self.interrupted.is_some_and(set)
    }

    /// Sleeps, unless there is no time left.
    pub async fn pause(
        &self,
        pause: &mut Duration,
        seen: impl FnOnce() -> String,
    ) -> Result<(), FunctionError> {
        if self.is_over() {
            return Err(FunctionError::GivenUp);
        }
        if Instant::now() + *pause >= self.deadline {
            return Err(FunctionError::Late(seen()));
        }
        tokio::time::sleep(*pause).await;
        *pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// One function of the account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function<'a> {
    pub session: &'a AwsSession,
    pub name: &'a str,
    pub patience: &'a Patience,
}

impl Function<'_> {
    /// What there is; `alias` names the version of interest.
    pub async fn find(
        session: &AwsSession,
        name: &str,
        alias: &str,
        expected: bool,
    ) -> Result<Found, AwsError> {
        // One call says everything where the function is as a deploy left it.
        if expected && let Some(found) = Self::ask(session, name, Some(alias)).await? {
            return Ok(found);
        }
        let Some(whole) = Self::ask(session, name, None).await? else { return Ok(Found::ABSENT) };
        if !expected && let Some(found) = Self::ask(session, name, Some(alias)).await? {
            return Ok(found);
        }
        Ok(Found { presence: Presence::NoAlias, ..whole })
    }

    async fn ask(session: &AwsSession, name: &str, alias: Option<&str>) -> Result<Option<Found>, AwsError> {
        let call = session.lambda.get_function().function_name(name).set_qualifier(alias.map(str::to_owned));
        let answer = match call.send().await.map_err(AwsError::of(format!("look at function {name}"))) {
            Err(error) if error.is_not_found() => return Ok(None),
            answer => answer?,
        };
        let image = answer.code().and_then(|code| code.resolved_image_uri());
        let Some(version) = answer.configuration() else { return Ok(None) };
        let reserved = answer.concurrency().and_then(|found| found.reserved_concurrent_executions());
        Ok(Some(Found {
            presence: Presence::Live(Box::new(Version {
                number: version.version().unwrap_or_default().to_owned(),
                configuration: Configuration::found(version, image),
            })),
            tags: answer.tags().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
            reserved_concurrency: reserved.and_then(|count| u32::try_from(count).ok()),
        }))
    }

    fn action(&self, what: &str) -> String {
        format!("{what} function {}", self.name)
    }

    /// Makes it.
    pub async fn create(
        &self,
        wanted: &Configuration,
        code: &Code,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), FunctionError> {
        let body = match code {
            Code::File(path) => FunctionCode::builder().zip_file(read(path).await?),
            Code::Object { bucket, key } => FunctionCode::builder().s3_bucket(bucket).s3_key(key),
            Code::Image(image) => FunctionCode::builder().image_uri(image),
        };
        let is_image = matches!(code, Code::Image(_));
        let (package, zip) = if is_image { ("Image", None) } else { ("Zip", Some(())) };
        let call = self
            .session
            .lambda
            .create_function()
            .function_name(self.name)
            .package_type(package.into())
            .code(body.build())
            .role(&wanted.role)
            .architectures(Architecture::from(wanted.architecture.as_str()))
            .set_runtime(zip.map(|()| Runtime::from(wanted.runtime.as_str())))
            .set_handler(zip.map(|()| wanted.handler.clone()))
            .memory_size(signed(wanted.memory_mib))
            .timeout(signed(wanted.timeout_s))
            .set_ephemeral_storage(storage(wanted))
            .environment(environment(wanted))
            .set_layers(Some(wanted.layers.clone()).filter(|layers| !layers.is_empty()))
            .description(&wanted.description)
            .set_snap_start(wanted.snap_start.then(|| snap_start(wanted)))
            .set_tags(Some(tags.clone().into_iter().collect()));
        let action = self.action("create");
        self.patiently(&action, || {
            let call = call.clone();
            async move { call.customize().config_override(uploads(self.session)).send().await }
        })
        .await?;
        self.until_ready(None).await
    }

    /// Makes its unpublished version what is wanted; whether anything had to be done.
    pub async fn update(&self, wanted: &Configuration, code: &Code) -> Result<bool, FunctionError> {
        let latest = match Self::ask(self.session, self.name, None).await? {
            Some(Found { presence: Presence::Live(version), .. }) => version.configuration,
            _ => Configuration::default(),
        };
        let mut changed = false;
        if !latest.same_code(wanted) {
            self.update_code(wanted, code).await?;
            self.until_ready(None).await?;
            changed = true;
        }
        if !latest.differences(wanted).is_empty() {
            self.update_configuration(wanted).await?;
            self.until_ready(None).await?;
            changed = true;
        }
        Ok(changed)
    }

    async fn update_code(&self, wanted: &Configuration, code: &Code) -> Result<(), FunctionError> {
        let call = self
            .session
            .lambda
            .update_function_code()
            .function_name(self.name)
            .architectures(Architecture::from(wanted.architecture.as_str()));
        let call = match code {
            Code::File(path) => call.zip_file(read(path).await?),
            Code::Object { bucket, key } => call.s3_bucket(bucket).s3_key(key),
            Code::Image(image) => call.image_uri(image),
        };
        let action = self.action("update the code of");
        self.patiently(&action, || {
            let call = call.clone();
            async move { call.customize().config_override(uploads(self.session)).send().await }
        })
        .await?;
        Ok(())
    }

    async fn update_configuration(&self, wanted: &Configuration) -> Result<(), FunctionError> {
        let zip = (!wanted.is_image).then_some(());
        let call = self
            .session
            .lambda
            .update_function_configuration()
            .function_name(self.name)
            .role(&wanted.role)
            .set_runtime(zip.map(|()| Runtime::from(wanted.runtime.as_str())))
            .set_handler(zip.map(|()| wanted.handler.clone()))
            .memory_size(signed(wanted.memory_mib))
            .timeout(signed(wanted.timeout_s))
            .set_ephemeral_storage(storage(wanted))
            .environment(environment(wanted))
            .set_layers(zip.map(|()| wanted.layers.clone()))
            .description(&wanted.description)
            .snap_start(snap_start(wanted));
        let action = self.action("update the configuration of");
        self.patiently(&action, || call.clone().send()).await?;
        Ok(())
    }

    /// Publishes what is unpublished and waits until it can be invoked: the version's number.
    /// Where nothing has changed since the last version, that one's.
    pub async fn publish(&self) -> Result<String, FunctionError> {
        let call = self.session.lambda.publish_version().function_name(self.name);
        let action = self.action("publish a version of");
        let answer = self.patiently(&action, || call.clone().send()).await?;
        let number = answer.version().unwrap_or_default().to_owned();
        if number.parse::<u64>().is_err() {
            return Err(AwsError::Answer { action, reason: format!("version `{number}`") }.into());
        }
        if !matches!(answer.state(), Some(State::Active)) {
            self.until_ready(Some(&number)).await?;
        }
        Ok(number)
    }

    /// Invokes a version with a ping: it loads its slice and says so.
    pub async fn verify(&self, version: &str) -> Result<(), FunctionError> {
        let call = self
            .session
            .lambda
            .invoke()
            .function_name(self.name)
            .qualifier(version)
            .log_type("Tail".into())
            .payload(Blob::new(PING));
        let action = self.action("invoke");
        let left = self.patience.deadline.saturating_duration_since(Instant::now());
        let call = || call.clone().customize().config_override(waits(left));
        let answer = self.patiently(&action, || async { call().send().await }).await?;
        let payload = answer.payload().map(|payload| payload.as_ref().to_vec()).unwrap_or_default();
        let log_tail = answer.log_result().map(decode_log).unwrap_or_default();
        let failed = |reason: String| FunctionError::Failed { reason, log_tail: log_tail.clone() };
        let json: serde_json::Value = serde_json::from_slice(&payload).unwrap_or_default();
        if let Some(kind) = answer.function_error() {
            let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
            let reason = [text("errorType"), text("errorMessage")].join(": ");
            return Err(failed(if reason == ": " { kind.to_owned() } else { reason }));
        }
        if json.get("tranche").and_then(serde_json::Value::as_u64) != Some(1) {
            let excerpt: String = String::from_utf8_lossy(&payload).chars().take(200).collect();
            return Err(failed(format!("it answers a ping with: {excerpt}")));
        }
        Ok(())
    }

    /// Waits until a version, or what is unpublished, is no longer being made or changed.
    async fn until_ready(&self, version: Option<&str>) -> Result<(), FunctionError> {
        let mut pause = self.patience.pause;
        loop {
            let call = self.session.lambda.get_function_configuration().function_name(self.name);
            let call = call.set_qualifier(version.map(str::to_owned));
            let found = call.send().await.map_err(AwsError::of(self.action("look at")))?;
            let state = found.state().cloned().unwrap_or(State::Active);
            let update = found.last_update_status().cloned().unwrap_or(LastUpdateStatus::Successful);
            let because = |reason: Option<&str>| reason.unwrap_or("no reason is given").to_owned();
            match (state, update) {
                (State::Failed, _) => {
                    let reason = because(found.state_reason());
                    return Err(FunctionError::Failed { reason, log_tail: String::new() });
                }
                (_, LastUpdateStatus::Failed) => {
                    let reason = because(found.last_update_status_reason());
                    return Err(FunctionError::Failed { reason, log_tail: String::new() });
                }
                // An idle function is started by its next invocation.
                (State::Active | State::Inactive, LastUpdateStatus::Successful) => return Ok(()),
                (state, update) => {
                    let seen = || format!("state {}, last update {}", state.as_str(), update.as_str());
                    self.patience.pause(&mut pause, seen).await?;
                }
            }
        }
    }

    /// Calls until no other change is under way and a new role has got about.
    pub async fn patiently<T, E, F>(&self, action: &str, call: impl Fn() -> F) -> Result<T, FunctionError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: aws_sdk_lambda::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let mut pause = self.patience.pause;
        loop {
            if self.patience.is_over() {
                return Err(FunctionError::GivenUp);
            }
            match call().await.map_err(AwsError::of(action)) {
                Ok(answer) => return Ok(answer),
                Err(error) if is_passing(&error) => {
                    self.patience.pause(&mut pause, || error.to_string()).await.map_err(
                        |late| match late {
                            FunctionError::Late(_) => FunctionError::Aws(error.clone()),
                            other => other,
                        },
                    )?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `ResourceConflictException`, and a role that Lambda does not see yet.
fn is_passing(error: &AwsError) -> bool {
    let exists = error.message().contains("already exist");
    (error.is_conflict() && !exists) || error.message().contains("cannot be assumed by Lambda")
}

async fn read(path: &std::path::Path) -> Result<Blob, AwsError> {
    let bytes = tokio::fs::read(path).await;
    bytes.map(Blob::new).map_err(|error| AwsError::Answer {
        action: format!("read {}", path.display()),
        reason: error.to_string(),
    })
}

/// Time for a call that carries a package.
fn uploads(session: &AwsSession) -> aws_sdk_lambda::config::Builder {
    waits(session.timeouts.upload)
}

fn waits(time: Duration) -> aws_sdk_lambda::config::Builder {
    let time = time.max(Duration::from_secs(1));
    let timeouts = aws_config::timeout::TimeoutConfig::builder()
        .read_timeout(time)
        .operation_attempt_timeout(time)
        .operation_timeout(time.saturating_mul(3));
    aws_sdk_lambda::config::Builder::new().timeout_config(timeouts.build())
}

fn storage(wanted: &Configuration) -> Option<EphemeralStorage> {
    EphemeralStorage::builder().size(signed(wanted.ephemeral_storage_mib)).build().ok()
}

fn environment(wanted: &Configuration) -> Environment {
    Environment::builder().set_variables(Some(wanted.environment.clone().into_iter().collect())).build()
}

fn snap_start(wanted: &Configuration) -> SnapStart {
    let apply_on =
        if wanted.snap_start { SnapStartApplyOn::PublishedVersions } else { SnapStartApplyOn::None };
    SnapStart::builder().apply_on(apply_on).build()
}

pub(super) fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn decode_log(text: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}
