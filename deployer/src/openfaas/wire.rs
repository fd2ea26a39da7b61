//! What a gateway answers (`faas-provider/types`).

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use tranche_packager::openfaas::{FunctionDeployment, Provider, Resources, keys};

/// Go writes empty lists and maps as null.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(source: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

/// `GET /system/info`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct WireInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub provider: WireProvider,
    #[serde(default, deserialize_with = "or_default")]
    pub version: WireVersion,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct WireProvider {
    #[serde(default, rename = "provider")]
    pub name: String,
    #[serde(default)]
    pub orchestration: String,
    #[serde(default, deserialize_with = "or_default")]
    pub version: WireVersion,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct WireVersion {
    #[serde(default)]
    pub release: String,
}

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayInfo {
    /// What runs the functions.
    pub provider: Provider,
    /// As the provider calls itself: `faasd-ce`.
    pub provider_name: String,
    /// The provider's version; empty when it has none.
    pub provider_version: String,
    /// The gateway's version; empty when it has none.
    pub version: String,
}

impl WireInfo {
    /// `None` for a provider that is neither.
    pub fn info(self) -> Option<GatewayInfo> {
        let WireProvider { name, orchestration, version } = self.provider;
        let provider = match orchestration.as_str() {
            "containerd" => Provider::Faasd,
            "kubernetes" => Provider::Kubernetes,
            _ if name.starts_with("faasd") => Provider::Faasd,
            _ if name.starts_with("faas-netes") => Provider::Kubernetes,
            _ => return None,
        };
        Some(GatewayInfo {
            provider,
            provider_name: name,
            provider_version: version.release,
            version: self.version.release,
        })
    }
}

/// A function as the gateway describes it. Providers leave out what they do not
/// keep; faasd counts available replicas only when asked for one function.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningFunction {
    /// Its name.
    pub name: String,
    /// Its image.
    #[serde(default)]
    pub image: String,
    /// Environment, on faasd with that of the image.
    #[serde(default, deserialize_with = "or_default")]
    pub env_vars: BTreeMap<String, String>,
    /// What a watchdog runs.
    #[serde(default)]
    pub env_process: String,
    /// Secrets mounted.
    #[serde(default, deserialize_with = "or_default")]
    pub secrets: Vec<String>,
    /// Labels.
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What it is held to.
    #[serde(default, deserialize_with = "or_default")]
    pub limits: Resources,
    /// What is set aside for it.
    #[serde(default, deserialize_with = "or_default")]
    pub requests: Resources,
    /// Replicas asked for.
    #[serde(default)]
    pub replicas: u64,
    /// Replicas that run.
    #[serde(default)]
    pub available_replicas: u64,
}

impl RunningFunction {
    /// The deployment it belongs to, if tranche made it.
    #[must_use]
    pub fn deployment(&self) -> Option<&str> {
        self.labels.get(keys::DEPLOYMENT).map(String::as_str)
    }

    /// The slice it runs, or its own name.
    #[must_use]
    pub fn slice(&self) -> &str {
        let kept = self.annotations.get(keys::SLICE).or_else(|| self.labels.get(keys::SLICE));
        kept.unwrap_or(&self.name)
    }

    /// What to ask for to have it again, as far as the provider tells.
    pub(super) fn description(&self) -> FunctionDeployment {
        let own = |labels: &BTreeMap<String, String>| {
            let mut own = labels.clone();
            own.retain(|key, _| key.starts_with("tranche.") || key.starts_with("com.openfaas."));
            own
        };
        let given = |resources: &Resources| {
            let is_given = |text: &String| !text.is_empty() && text != "0";
            let kept = |text: &String| if is_given(text) { text.clone() } else { String::new() };
            let resources = Resources { memory: kept(&resources.memory), cpu: kept(&resources.cpu) };
            (resources != Resources::default()).then_some(resources)
        };
        FunctionDeployment {
            service: self.name.clone(),
            image: self.image.clone(),
            env_vars: self.env_vars.clone(),
            secrets: self.secrets.clone(),
            labels: own(&self.labels),
            annotations: own(&self.annotations),
            limits: given(&self.limits),
            requests: given(&self.requests),
            ..FunctionDeployment::default()
        }
    }
}

/// A line that a function wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The function.
    #[serde(default)]
    pub name: String,
    /// Its replica.
    #[serde(default)]
    pub instance: String,
    /// When, in RFC 3339.
    #[serde(default)]
    pub timestamp: String,
    /// What.
    #[serde(default)]
    pub text: String,
}

/// A secret's name; its value never comes back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct WireSecret {
    pub name: String,
}

/// What a function says at `/_/ready` (docs/formats/function-http.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ReadyBody {
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub message: String,
    pub in_flight: Option<u64>,
    pub answered: Option<u64>,
}

/// Whether a function can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready {
        /// Requests it is working on and has answered, if it says.
        load: Option<Load>,
    },
    /// It never will.
    Failed {
        /// In its words.
        message: String,
    },
    /// Not yet.
    Waiting {
        /// What was answered instead.
        reason: String,
    },
}

/// What a function is busy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests it holds now.
    pub in_flight: u64,
    /// Requests it has answered.
    pub answered: u64,
}
