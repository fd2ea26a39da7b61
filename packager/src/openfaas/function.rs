use super::name::GENERATION_DIGITS;
use super::{function_name, keys};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tranche_schema::Digest;

/// A function as `POST /system/functions` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionDeployment {
    /// Its name.
    pub service: String,
    /// Its image.
    pub image: String,
    /// Namespace; the provider's default when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What a watchdog in the image runs; the image's own when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_process: Option<String>,
    /// Environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env_vars: BTreeMap<String, String>,
    /// Placement; both Community Editions ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Names of secrets mounted below `/var/openfaas/secrets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it is held to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// What is set aside for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Resources>,
    /// Whether only `/tmp` can be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root_filesystem: bool,
}

/// Memory and processor share as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// As [`super::memory_quantity`] writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub memory: String,
    /// As [`super::cpu_quantity`] writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cpu: String,
}

impl FunctionDeployment {
    /// The slice it runs.
    #[must_use]
    pub fn slice(&self) -> &str {
        self.annotations.get(keys::SLICE).map_or("", String::as_str)
    }

    /// Names it after what it is: its generation is the start of a digest of
    /// image, sizes, environment and all else but its annotations, so that a
    /// function which does not change keeps its name under another plan.
    #[must_use]
    pub(super) fn named(mut self, deployment: &str) -> Self {
        let slice = self.slice().to_owned();
        let subject = Self { service: String::new(), annotations: BTreeMap::new(), ..self.clone() };
        // Strings and maps of strings have a JSON form.
        let text = serde_json::to_string(&(deployment, &slice, subject)).unwrap_or_default();
        let digest = Digest::of(text.as_bytes());
        let generation = digest.hex().get(..GENERATION_DIGITS).unwrap_or_default().to_owned();
        self.service = function_name(deployment, &slice, &generation);
        self.labels.insert(keys::GENERATION.to_owned(), generation);
        self
    }
}
