//! Which target a deployment is on.

use crate::arguments::{GatewayArguments, PlaceArguments};
use crate::config::Settings;
use crate::deployments::local_target;
use crate::failure::Failure;
use std::path::PathBuf;
use tranche_deployer::Target;
use tranche_deployer::openfaas::{
    Credentials, Gateway, GatewayTimeouts, GatewayUrl, OpenFaasSettings, OpenFaasTarget,
};
use tranche_schema::{Deployment, Document as _, exit_code};

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
    let known = name.and_then(|name| known_openfaas(settings, name));
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
    if is_on_openfaas(settings, place, name)? {
        Ok(Box::new(openfaas_target(settings, &place.gateway, Some(name))?))
    } else {
        Ok(Box::new(local_target(settings)?))
    }
}

/// A deployment's name and the target that it is on.
pub type Placed = (String, Box<dyn Target>);

/// Every deployment that this machine knows of, with its target: of the one
/// target asked for, or of both.
///
/// # Errors
/// When the state cannot be read.
pub fn all(settings: &Settings, place: &PlaceArguments) -> Result<Vec<Placed>, Failure> {
    let asked = place.target.as_deref();
    let mut found: Vec<Placed> = Vec::new();
    if asked != Some("openfaas") {
        for name in local_target(settings)?.list()? {
            found.push((name, Box::new(local_target(settings)?)));
        }
    }
    if asked != Some("local") {
        for name in openfaas_names(settings) {
            let target = openfaas_target(settings, &place.gateway, Some(&name))?;
            found.push((name, Box::new(target)));
        }
    }
    Ok(found)
}

/// Names of all deployments that this machine knows of, for messages.
#[must_use]
pub fn names(settings: &Settings) -> Vec<String> {
    let local = local_target(settings).ok().and_then(|target| target.list().ok()).unwrap_or_default();
    local.into_iter().chain(openfaas_names(settings)).collect()
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
    if is_on_openfaas(settings, place, name)? {
        Ok(openfaas_folder(settings).join(name).join("deployment.json"))
    } else {
        Ok(local_target(settings)?.deployment_path(name))
    }
}

fn is_on_openfaas(settings: &Settings, place: &PlaceArguments, name: &str) -> Result<bool, Failure> {
    match place.target.as_deref() {
        Some(target) => Ok(target == "openfaas"),
        None if local_target(settings)?.list()?.iter().any(|known| known == name) => Ok(false),
        // A gateway is named: what is deployed there may be known only there.
        None => {
            Ok(place.gateway.gateway.is_some() || openfaas_names(settings).iter().any(|known| known == name))
        }
    }
}

fn known_openfaas(settings: &Settings, name: &str) -> Option<Deployment> {
    Deployment::read(&openfaas_folder(settings).join(name).join("deployment.json")).ok()
}

fn openfaas_folder(settings: &Settings) -> PathBuf {
    settings.state().join("openfaas")
}

fn openfaas_names(settings: &Settings) -> Vec<String> {
    let entries = std::fs::read_dir(openfaas_folder(settings)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
