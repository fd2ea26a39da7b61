//! What the target keeps on disk.

use crate::DeployError;
use crate::target::check_name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tranche_packager::lambda::FunctionDescription;
use tranche_schema::{Deployment, Digest, Document, Header};

/// A deployment as it once served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Generation {
    pub deployment: Deployment,
    pub plan_digest: Digest,
    /// Digest of the model.
    pub model: Digest,
    pub functions: Vec<FunctionDescription>,
    /// The state machine's document.
    pub definition: Option<String>,
}

impl Generation {
    /// Names and versions of its functions.
    pub fn versions(&self) -> BTreeMap<&str, &str> {
        let lambda = self.deployment.lambda.iter();
        lambda
            .flat_map(|lambda| lambda.functions.iter().chain(&lambda.entry))
            .map(|function| (function.function.as_str(), function.version.as_str()))
            .collect()
    }
}

/// New versions that get a part of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Canary {
    pub generation: Generation,
    pub weight: f64,
    /// Functions that it made.
    pub made: BTreeSet<String>,
}

/// What was made besides functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Digests of the documents of roles, by the roles' names.
    pub roles: BTreeMap<String, Digest>,
    /// The bucket in use.
    pub bucket: Option<MadeBucket>,
    /// ARNs of layer versions by their names.
    pub layers: BTreeMap<String, String>,
    /// ARN of the state machine.
    pub state_machine: Option<String>,
    /// The entry's URL.
    pub entry_url: Option<String>,
}

/// A bucket that is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MadeBucket {
    pub name: String,
    /// Whether it is tranche's own.
    pub own: bool,
    /// Whether it has a lifecycle rule for the deployment.
    pub expires: bool,
}

/// What a deploy that is under way has made. What is here after it has died is used or
/// removed by the next deploy, and removed by a destroy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Functions.
    pub functions: BTreeSet<String>,
    /// Versions by their functions.
    pub versions: BTreeMap<String, String>,
}

/// record.json: what belongs to a deployment, served or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub header: Header,
    pub account: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub made: Made,
    /// What serves; as in deployment.json, with more.
    pub current: Option<Generation>,
    /// What served before.
    pub previous: Option<Generation>,
    pub canary: Option<Canary>,
    pub pending: Option<Pending>,
}

impl Document for Record {
    const FORMAT: &'static str = "tranche-lambda-record";
    const VERSION: u32 = 1;
}

impl Record {
    pub fn new(account: &str, region: &str, endpoint: Option<&str>) -> Self {
        Self {
            header: Self::header(),
            account: account.to_owned(),
            region: region.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            made: Made::default(),
            current: None,
            previous: None,
            canary: None,
            pending: None,
        }
    }

    /// Every function that is in it.
    pub fn functions(&self) -> BTreeSet<String> {
        let canary = self.canary.as_ref().map(|canary| &canary.generation);
        let generations = self.current.iter().chain(&self.previous).chain(canary);
        let mut names: BTreeSet<String> =
            generations.flat_map(|generation| generation.versions().into_keys()).map(str::to_owned).collect();
        names.extend(self.pending.iter().flat_map(|pending| pending.functions.clone()));
        names
    }

    /// Whether a version serves, served before, or is about to.
    pub fn needs(&self, function: &str, version: &str) -> bool {
        let canary = self.canary.as_ref().map(|canary| &canary.generation);
        let mut generations = self.current.iter().chain(&self.previous).chain(canary);
        generations.any(|generation| generation.versions().get(function) == Some(&version))
    }
}

/// The folder of all deployments.
#[derive(Clone, Debug)]
pub(super) struct State {
    root: PathBuf,
}

impl State {
    pub fn new(state: &Path) -> Self {
        Self { root: std::path::absolute(state).unwrap_or_else(|_| state.to_owned()).join("lambda") }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn deployment_path(&self, name: &str) -> PathBuf {
        self.folder(name).join("deployment.json")
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.folder(name).join("record.json")
    }

    pub fn record(&self, name: &str) -> Result<Option<Record>, DeployError> {
        check_name(name)?;
        let path = self.record_path(name);
        if path.exists() { Ok(Some(Record::read(&path)?)) } else { Ok(None) }
    }

    /// Writes the record, and deployment.json as it says. Readers see the old or the new
    /// one, never a part.
    pub fn write(&self, name: &str, record: &Record) -> Result<(), DeployError> {
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder).map_err(DeployError::file("make", &folder))?;
        record.write(&self.record_path(name))?;
        let path = self.deployment_path(name);
        let Some(current) = &record.current else { return Ok(()) };
        if !Deployment::read(&path).is_ok_and(|written| written == current.deployment) {
            current.deployment.write(&path)?;
        }
        Ok(())
    }

    pub fn remove(&self, name: &str) -> Result<(), DeployError> {
        let folder = self.folder(name);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DeployError::file("remove", &folder)(error))
            }
            _ => Ok(()),
        }
    }

    pub fn names(&self) -> Result<Vec<String>, DeployError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(DeployError::file("read", &self.root)(error)),
        };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> =
            folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }
}
