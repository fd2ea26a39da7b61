//! What the two providers answer: the facts' table as code, without doing anything.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::FunctionDescription;
use crate::quantity::quantity;

/// The Community Edition's most functions (`faas-netes/pkg/handlers/replica_reader.go`).
pub const MOST_FUNCTIONS: usize = 15;
/// The Community Edition's most replicas of a function; the gateway has the same bound
/// (`gateway/scaling/ranges.go`).
pub const MOST_REPLICAS: u64 = 5;
/// The longest body of an asynchronous call, bytes (`nats-queue-worker`).
pub const MOST_ASYNC_BYTES: usize = 256_000;

/// Whose behaviour the double has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// One host, containerd.
    Faasd,
    /// faas-netes, Community Edition.
    Kubernetes,
}

/// An answer other than success: status and text.
pub(crate) type Denied = (u16, String);

impl Provider {
    /// The status of a POST, PUT, DELETE or scaling that went well.
    pub(crate) fn accepted(self) -> u16 {
        match self {
            Self::Faasd => 200,
            Self::Kubernetes => 202,
        }
    }

    /// The only namespace.
    pub(crate) fn namespace(self) -> &'static str {
        "openfaas-fn"
    }

    /// `orchestration` and `name` of /system/info.
    pub(crate) fn identity(self) -> (&'static str, &'static str) {
        match self {
            Self::Faasd => ("containerd", "faasd"),
            Self::Kubernetes => ("kubernetes", "faas-netes-ce"),
        }
    }

    /// Checks of a POST that need neither the image nor what runs. The first argument is
    /// the number of functions there are.
    pub(crate) fn check_create(
        self,
        running: usize,
        exists: bool,
        description: &FunctionDescription,
        secrets: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Denied> {
        self.check_namespace(description)?;
        let missing = missing_secret(description, secrets);
        match self {
            Self::Faasd => {
                if let Some(secret) = missing {
                    return Err((400, format!("unable to find secret: {secret}")));
                }
                if exists {
                    return Err((400, format!("function {} already exists", description.service)));
                }
            }
            Self::Kubernetes => {
                check_request(description)?;
                if let Some(secret) = missing {
                    return Err((400, format!("unable to fetch secrets: secret {secret} was not found")));
                }
                check_quantities(description)?;
                if running + 1 > MOST_FUNCTIONS {
                    return Err((400, format!("unable to create function, maximum: {MOST_FUNCTIONS}")));
                }
                if exists {
                    let name = &description.service;
                    return Err((500, format!("unable create Deployment: {name} already exists")));
                }
            }
        }
        Ok(())
    }

    /// Checks of a PUT before the function is looked up.
    pub(crate) fn check_update(self, description: &FunctionDescription) -> Result<(), Denied> {
        if self == Self::Kubernetes {
            check_request(description)?;
        }
        self.check_namespace(description)
    }

    /// Checks of a PUT to a function that is there: what Kubernetes only logs and faasd
    /// answers after it went on.
    pub(crate) fn check_update_applies(
        self,
        description: &FunctionDescription,
        secrets: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Denied> {
        if let Some(secret) = missing_secret(description, secrets) {
            return Err((400, format!("unable to find secret: {secret}")));
        }
        match self {
            Self::Faasd => Ok(()),
            Self::Kubernetes => check_quantities(description),
        }
    }

    fn check_namespace(self, description: &FunctionDescription) -> Result<(), Denied> {
        if description.namespace.is_empty() || description.namespace == self.namespace() {
            return Ok(());
        }
        Err(match self {
            Self::Faasd => (400, "namespace not valid".to_owned()),
            Self::Kubernetes => (400, format!("namespace must be: {}", self.namespace())),
        })
    }

    /// The memory limit that is put in force, bytes. faasd takes text that is no quantity
    /// for no limit, and says nothing.
    pub(crate) fn memory_limit(self, description: &FunctionDescription) -> Option<u64> {
        let memory = description.limits.as_ref()?.memory.as_deref()?;
        quantity(memory).filter(|bytes| *bytes > 0)
    }

    /// The processor limit that is put in force, in thousandths.
    pub(crate) fn cpu_limit(self, description: &FunctionDescription) -> Option<u64> {
        match self {
            Self::Faasd => None,
            Self::Kubernetes => {
                let cpu = description.limits.as_ref()?.cpu.as_deref()?;
                // Thousandths of a quantity: the same text with three digits more.
                quantity(cpu.strip_suffix('m').unwrap_or(&format!("{cpu}e3"))).filter(|milli| *milli > 0)
            }
        }
    }

    /// How many replicas run when `wanted` are asked of the gateway.
    pub(crate) fn replicas(self, wanted: u64) -> u64 {
        match self {
            Self::Faasd => 1,
            Self::Kubernetes => wanted.clamp(1, MOST_REPLICAS),
        }
    }

    /// How many replicas a new description starts with; `None` keeps what is there.
    pub(crate) fn initial_replicas(self, description: &FunctionDescription) -> Option<u64> {
        let label = description.labels.get("com.openfaas.scale.min")?;
        (self == Self::Kubernetes).then(|| label.parse().ok().filter(|least| *least > 0))?
    }
}

fn missing_secret<'a>(
    description: &'a FunctionDescription,
    secrets: &BTreeMap<String, Vec<u8>>,
) -> Option<&'a String> {
    description.secrets.iter().find(|name| !secrets.contains_key(*name))
}

/// `faas-netes/pkg/handlers/validate.go`.
fn check_request(description: &FunctionDescription) -> Result<(), Denied> {
    let denied = |reason: String| Err((400, format!("validation failed: {reason}")));
    let name = &description.service;
    if name.is_empty() {
        return denied("service: is required".to_owned());
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(allowed) || name.starts_with('-') || name.ends_with('-') || name.len() > 63 {
        return denied(format!("service: ({name}) is invalid, must be a valid DNS entry"));
    }
    if description.image.is_empty() {
        return denied("image: is required".to_owned());
    }
    for (label, value) in &description.labels {
        let Some(key) = label.strip_prefix("com.openfaas.scale.") else { continue };
        let paid = match key {
            "zero" => value == "true",
            "zero-duration" | "target" | "type" => true,
            _ => false,
        };
        if paid {
            return denied(format!("{label} not available for Community Edition"));
        }
        let many = value.parse::<i64>().is_ok_and(|count| count > MOST_REPLICAS as i64);
        if matches!(key, "min" | "max") && many {
            return denied(format!("{label} is set too high for Community Edition"));
        }
    }
    Ok(())
}

fn check_quantities(description: &FunctionDescription) -> Result<(), Denied> {
    let resources = description.limits.iter().chain(&description.requests);
    for text in resources.flat_map(|one| one.memory.iter().chain(&one.cpu)) {
        if !text.is_empty() && quantity(text).is_none() {
            return Err((400, "failed create Deployment spec: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned()));
        }
    }
    Ok(())
}
