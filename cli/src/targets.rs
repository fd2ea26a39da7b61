//! Which target a deployment is on.

use crate::arguments::{GatewayArguments, PlaceArguments};
use crate::config::Settings;
use crate::deployments::local_target;
use crate::failure::Failure;
use std::path::PathBuf;
use std::str::FromStr;
use tranche_deployer::lambda::{AwsConnection, LambdaSettings, LambdaTarget, Role};
use tranche_deployer::openfaas::{
    Credentials, Gateway, GatewayTimeouts, GatewayUrl, OpenFaasSettings, OpenFaasTarget,
};
use tranche_deployer::{DeployError, Target};
use tranche_driver::Clouds;
use tranche_schema::{Deployment, Document as _, exit_code};
use tranche_transport::aws::{AwsClient, AwsConfig, Credentials as AwsCredentials};

/// The targets there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Processes of this machine.
    Local,
    /// Functions behind an OpenFaaS gateway.
    OpenFaas,
    /// Functions on AWS Lambda.
    Lambda,
}

impl FromStr for Kind {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        match name {
            "local" => Ok(Self::Local),
            "openfaas" => Ok(Self::OpenFaas),
            "lambda" => Ok(Self::Lambda),
            _ => Err(Failure::usage(format!("there is no target `{name}`"))
                .hint("the targets are local, openfaas and lambda")),
        }
    }
}

impl Kind {
    /// Every target, in the order in which deployments are looked for.
    const ALL: [Self; 3] = [Self::Local, Self::OpenFaas, Self::Lambda];

    /// Names of the deployments on it that this machine knows of, in order.
    fn names(self, settings: &Settings) -> Result<Vec<String>, Failure> {
        let Some(folder) = self.folder(settings) else { return Ok(local_target(settings)?.list()?) };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    /// What `deploy` wrote of a deployment, if it can be read.
    fn known(self, settings: &Settings, name: &str) -> Option<Deployment> {
        Deployment::read(&self.deployment_path(settings, name).ok()?).ok()
    }

    fn deployment_path(self, settings: &Settings, name: &str) -> Result<PathBuf, Failure> {
        match self.folder(settings) {
            Some(folder) => Ok(folder.join(name).join("deployment.json")),
            None => Ok(local_target(settings)?.deployment_path(name)),
        }
    }

    /// Folder of the deployments of a target that is not on this machine.
    fn folder(self, settings: &Settings) -> Option<PathBuf> {
        match self {
            Self::Local => None,
            Self::OpenFaas => Some(settings.state().join("openfaas")),
            Self::Lambda => Some(settings.state().join("lambda")),
        }
    }
}

/// A gateway on this machine, as faasd and a forwarded port of Kubernetes listen.
pub const DEFAULT_GATEWAY: &str = "http://127.0.0.1:8080";

/// The gateway that the settings name, else that of the deployment `name`, else the default one.
///
/// # Errors
/// When its URL or its credentials cannot be read.
pub fn gateway(
    settings: &Settings,
    arguments: &GatewayArguments,
    name: Option<&str>,
) -> Result<Gateway, Failure> {
    let known = name.and_then(|name| Kind::OpenFaas.known(settings, name));
    let known = known.and_then(|deployment| deployment.openfaas);
    let url = settings.gateway.clone().or_else(|| known.as_ref().map(|known| known.gateway.clone()));
    let url = GatewayUrl::parse(url.as_deref().unwrap_or(DEFAULT_GATEWAY))?;
    let credentials = Credentials::find(&url, arguments.password_file.as_deref())?;
    let gateway = Gateway::new(url, credentials, GatewayTimeouts::default(), arguments.allow_plain_http)?;
    let namespace = settings.namespace.clone().or_else(|| known.and_then(|known| known.namespace));
    Ok(gateway.in_namespace(namespace))
}

/// The OpenFaaS target for what needs no images: all but `deploy`.
///
/// # Errors
/// As [`gateway`].
pub fn openfaas_target(
    settings: &Settings,
    arguments: &GatewayArguments,
    name: Option<&str>,
) -> Result<OpenFaasTarget, Failure> {
    let gateway = gateway(settings, arguments, name)?;
    Ok(OpenFaasTarget::new(&settings.state(), gateway, OpenFaasSettings::default())?)
}

/// The AWS Lambda target for what needs no packages: all but `deploy`.
///
/// # Errors
/// When AWS's configuration or credentials cannot be read.
pub fn lambda_target(settings: &Settings, name: Option<&str>) -> Result<LambdaTarget, Failure> {
    let settings_of_none = LambdaSettings::new(Role::Given(String::new()));
    Ok(LambdaTarget::new(&settings.state(), &aws_connection(settings, name), settings_of_none)?)
}

/// Region, profile and endpoint that the settings name, else those of the deployment `name`; the
/// rest is the standard chain's.
#[must_use]
pub fn aws_connection(settings: &Settings, name: Option<&str>) -> AwsConnection {
    let known = name.and_then(|name| Kind::Lambda.known(settings, name));
    let known = known.and_then(|deployment| deployment.lambda);
    AwsConnection {
        region: settings.region.clone().or_else(|| known.as_ref().map(|known| known.region.clone())),
        profile: settings.aws_profile.clone(),
        endpoint: settings.endpoint_url.clone().or_else(|| known.and_then(|known| known.endpoint)),
        ..AwsConnection::default()
    }
}

/// What reaches a deployment's cloud, if it is in one.
///
/// # Errors
/// When AWS's configuration or credentials cannot be read.
pub fn clouds(settings: &Settings, deployment: &Deployment) -> Result<Clouds, Failure> {
    let Some(lambda) = &deployment.lambda else { return Ok(Clouds::default()) };
    let target = lambda_target(settings, Some(&deployment.name))?;
    let found = target.credentials().map_err(DeployError::from)?;
    let endpoint = target.session().endpoint();
    let url = endpoint
        .map(url::Url::parse)
        .transpose()
        .map_err(|error| Failure::usage(format!("`{}` is no URL: {error}", endpoint.unwrap_or_default())))?;
    let config = AwsConfig {
        region: lambda.region.clone(),
        credentials: AwsCredentials {
            access_key_id: found.access_key_id,
            secret_access_key: found.secret_access_key,
            session_token: found.session_token,
        },
        lambda_endpoint: url.clone(),
        s3_endpoint: url,
    };
    Ok(Clouds { aws: Some(AwsClient::new(config)?) })
}

/// The target that a deployment is on: the one asked for, else the one that
/// knows a deployment of that name, else the local one.
///
/// # Errors
/// When the gateway's URL or credentials cannot be read.
pub fn target_of(
    settings: &Settings,
    place: &PlaceArguments,
    name: &str,
) -> Result<Box<dyn Target>, Failure> {
    open(settings, place, kind_of(settings, place, name)?, name)
}

fn open(
    settings: &Settings,
    place: &PlaceArguments,
    kind: Kind,
    name: &str,
) -> Result<Box<dyn Target>, Failure> {
    Ok(match kind {
        Kind::Local => Box::new(local_target(settings)?),
        Kind::OpenFaas => Box::new(openfaas_target(settings, &place.gateway, Some(name))?),
        Kind::Lambda => Box::new(lambda_target(settings, Some(name))?),
    })
}

/// A deployment's name and the target that it is on.
pub type Placed = (String, Box<dyn Target>);

/// Every deployment that this machine knows of, with its target: of the one
/// target asked for, or of all.
///
/// # Errors
/// When the state cannot be read.
pub fn all(settings: &Settings, place: &PlaceArguments) -> Result<Vec<Placed>, Failure> {
    let asked = place.target.as_deref().map(str::parse::<Kind>).transpose()?;
    let mut found: Vec<Placed> = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| asked.is_none_or(|asked| asked == *kind)) {
        for name in kind.names(settings)? {
            let target = open(settings, place, kind, &name)?;
            found.push((name, target));
        }
    }
    Ok(found)
}

/// Names of all deployments that this machine knows of, for messages.
#[must_use]
pub fn names(settings: &Settings) -> Vec<String> {
    Kind::ALL.into_iter().flat_map(|kind| kind.names(settings).unwrap_or_default()).collect()
}

/// Reads what `deploy` wrote of a deployment.
///
/// # Errors
/// When there is none of that name.
pub fn read(settings: &Settings, place: &PlaceArguments, name: &str) -> Result<Deployment, Failure> {
    let path = deployment_path(settings, place, name)?;
    if path.is_file() {
        return Ok(Deployment::read(&path)?);
    }
    let known = names(settings);
    let hint = if known.is_empty() {
        "nothing is deployed; see `tranche deploy --help`".to_owned()
    } else {
        format!("deployed are: {}", known.join(", "))
    };
    let message = format!("there is no deployment `{name}`");
    Err(Failure::new("deployment", exit_code::USAGE, message).hint(hint))
}

/// Path of the deployment.json of a deployment, whether it is there or not.
///
/// # Errors
/// When this program's own path cannot be found.
pub fn deployment_path(settings: &Settings, place: &PlaceArguments, name: &str) -> Result<PathBuf, Failure> {
    kind_of(settings, place, name)?.deployment_path(settings, name)
}

fn kind_of(settings: &Settings, place: &PlaceArguments, name: &str) -> Result<Kind, Failure> {
    if let Some(target) = &place.target {
        return target.parse();
    }
    for kind in Kind::ALL {
        if kind.names(settings)?.iter().any(|known| known == name) {
            return Ok(kind);
        }
    }
    // A gateway is named: what is deployed there may be known only there.
    Ok(if place.gateway.gateway.is_some() { Kind::OpenFaas } else { Kind::Local })
}
