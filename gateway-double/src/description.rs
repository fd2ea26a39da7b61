//! The gateway's JSON (`faas-provider/types`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Memory and processors as quantities; other keys (GPUs) are read over, as providers do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Memory, `64Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Processors, `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}

/// Body of POST and PUT /system/functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionDescription {
    /// Name of the function.
    pub service: String,
    /// Its image.
    #[serde(default)]
    pub image: String,
    /// Its namespace; empty for the provider's only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The watchdog's program, environment variable `fprocess`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub env_process: String,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub env_vars: BTreeMap<String, String>,
    /// Where it may run; both providers ignore them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub constraints: Vec<String>,
    /// Secrets, mounted below /var/openfaas/secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub secrets: Vec<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The most it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// What it is scheduled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Resources>,
    /// Whether its root file system cannot be written.
    #[serde(default)]
    pub read_only_root_filesystem: bool,
}

/// Go writes an empty slice or map as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Answer of GET /system/function/NAME, and one of GET /system/functions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionStatus {
    /// Name of the function.
    pub name: String,
    /// Its image, as it was asked for.
    pub image: String,
    /// Its namespace.
    pub namespace: String,
    /// `fprocess`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub env_process: String,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env_vars: BTreeMap<String, String>,
    /// Secrets' names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Labels, with the provider's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations, with the provider's own.
    pub annotations: BTreeMap<String, String>,
    /// Limits that the provider keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// Requests that the provider keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Resources>,
    /// Whether the provider keeps the root file system from being written.
    #[serde(default)]
    pub read_only_root_filesystem: bool,
    /// Calls answered so far.
    pub invocation_count: f64,
    /// Replicas asked for.
    pub replicas: u64,
    /// Replicas that take calls.
    pub available_replicas: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
}
