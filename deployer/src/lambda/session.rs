//! Who asks AWS, where, and how patiently.

use super::AwsError;
use super::calls::Calls;
use super::error::words;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_smithy_http_client::tls;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::time::Duration;

/// An access key. Printing it shows no secret; it is never written anywhere.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// Says who asks; no secret.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: SecretString,
    /// Comes with keys that end.
    pub session_token: Option<SecretString>,
}

/// How long AWS is waited for.
#[derive(Clone, Copy, Debug)]
pub struct AwsTimeouts {
    /// To connect.
    pub connect: Duration,
    /// For one try of a call.
    pub attempt: Duration,
    /// For a call with all its tries.
    pub call: Duration,
    /// For one try of a call that carries a package.
    pub upload: Duration,
    /// How often a call is sent at most, when it fails in passing or is throttled.
    pub attempts: u32,
}

impl Default for AwsTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(5),
            attempt: seconds(30),
            call: seconds(120),
            upload: seconds(300),
            attempts: 8,
        }
    }
}

/// Where and as whom; what is `None` is looked for as all of AWS's tools do: in the
/// environment, in the profile of `~/.aws/config`, at SSO, at the machine's own role.
#[derive(Clone, Debug, Default)]
pub struct AwsConnection {
    /// Profile instead of `AWS_PROFILE`.
    pub profile: Option<String>,
    /// Region instead of `AWS_REGION`.
    pub region: Option<String>,
    /// Address of all services instead of `AWS_ENDPOINT_URL`, for an emulator.
    pub endpoint: Option<String>,
    /// Keys instead of those of the chain.
    pub credentials: Option<AwsCredentials>,
    /// How long AWS is waited for.
    pub timeouts: AwsTimeouts,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's id: twelve digits.
    pub account: String,
    /// The user or role.
    pub arn: String,
}

/// A way to AWS in one region. Cloning is cheap. Printing it shows no secret.
#[derive(Clone, Debug)]
pub struct AwsSession {
    pub(super) lambda: aws_sdk_lambda::Client,
    pub(super) s3: aws_sdk_s3::Client,
    pub(super) sfn: aws_sdk_sfn::Client,
    pub(super) iam: aws_sdk_iam::Client,
    pub(super) logs: aws_sdk_cloudwatchlogs::Client,
    pub(super) ecr: aws_sdk_ecr::Client,
    sts: aws_sdk_sts::Client,
    config: SdkConfig,
    region: String,
    endpoint: Option<String>,
    calls: Calls,
    pub(super) timeouts: AwsTimeouts,
}

impl AwsSession {
    /// Finds region and credentials; asks nothing of AWS itself, but a profile may make
    /// the chain ask SSO or STS for keys.
    ///
    /// # Errors
    /// When there is no region or there are no credentials.
    pub async fn connect(connection: &AwsConnection) -> Result<Self, AwsError> {
        let timeouts = connection.timeouts;
        let config = load(connection).await;
        let region = config.region().map(ToString::to_string).ok_or(AwsError::NoRegion)?;
        credentials_of(&config).await?;
        let endpoint = config.endpoint_url().map(str::to_owned);
        let calls = Calls::default();
        macro_rules! client {
            ($service:ident) => {
                $service::Client::from_conf(
                    $service::config::Builder::from(&config).interceptor(calls.clone()).build(),
                )
            };
        }
        // Emulators have no host for each bucket.
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            .interceptor(calls.clone())
            .force_path_style(endpoint.is_some())
            .build();
        Ok(Self {
            lambda: client!(aws_sdk_lambda),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sfn: client!(aws_sdk_sfn),
            iam: client!(aws_sdk_iam),
            logs: client!(aws_sdk_cloudwatchlogs),
            ecr: client!(aws_sdk_ecr),
            sts: client!(aws_sdk_sts),
            config,
            region,
            endpoint,
            calls,
            timeouts,
        })
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Address of the services, where it is not AWS's own.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Who asks.
    ///
    /// # Errors
    /// When AWS does not take the credentials or cannot be asked.
    pub async fn identity(&self) -> Result<Identity, AwsError> {
        let action = "ask who this is";
        let answer = self.sts.get_caller_identity().send().await.map_err(AwsError::of(action))?;
        let missing =
            || AwsError::Answer { action: action.to_owned(), reason: "it names no account".to_owned() };
        let account = answer.account().ok_or_else(missing)?.to_owned();
        Ok(Identity { account, arn: answer.arn().unwrap_or_default().to_owned() })
    }

    /// The keys in use, for calling the functions.
    ///
    /// # Errors
    /// When they cannot be renewed.
    pub async fn credentials(&self) -> Result<AwsCredentials, AwsError> {
        let found = credentials_of(&self.config).await?;
        Ok(AwsCredentials {
            access_key_id: found.access_key_id().to_owned(),
            secret_access_key: found.secret_access_key().into(),
            session_token: found.session_token().map(SecretString::from),
        })
    }

    /// How often each operation was sent so far, tries counted, as `lambda.CreateFunction`.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.counts()
    }
}

async fn load(connection: &AwsConnection) -> SdkConfig {
    let timeouts = connection.timeouts;
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.build_https())
        .retry_config(
            // Changes of functions are throttled at 15 a second for a whole account.
            RetryConfig::standard()
                .with_max_attempts(timeouts.attempts.max(1))
                .with_initial_backoff(Duration::from_millis(200))
                .with_max_backoff(Duration::from_secs(10)),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(timeouts.connect)
                .read_timeout(timeouts.attempt)
                .operation_attempt_timeout(timeouts.attempt)
                .operation_timeout(timeouts.call)
                .build(),
        );
    if let Ok(name) = AppName::new("tranche") {
        loader = loader.app_name(name);
    }
    if let Some(profile) = &connection.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &connection.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &connection.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(keys) = &connection.credentials {
        let token = keys.session_token.as_ref().map(|token| token.expose_secret().to_owned());
        let secret = keys.secret_access_key.expose_secret();
        loader = loader.credentials_provider(Credentials::new(
            &keys.access_key_id,
            secret,
            token,
            None,
            "tranche",
        ));
    }
    loader.load().await
}

async fn credentials_of(config: &SdkConfig) -> Result<Credentials, AwsError> {
    let missing = || AwsError::Credentials { reason: "nothing gives any".to_owned() };
    let provider = config.credentials_provider().ok_or_else(missing)?;
    provider.provide_credentials().await.map_err(|error| AwsError::Credentials { reason: words(&error) })
}
