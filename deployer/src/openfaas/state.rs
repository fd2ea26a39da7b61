//! What the target keeps on disk.

use crate::DeployError;
use crate::target::check_name;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tranche_packager::openfaas::FunctionDeployment;
use tranche_schema::{Deployment, Digest, Document, Header};

/// functions.json: how the functions of a deployment were described to the
/// gateway, for telling what was changed there since and for putting them back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub header: Header,
    pub plan_digest: Digest,
    pub functions: Vec<FunctionDeployment>,
    pub front_door: Option<FunctionDeployment>,
}

impl Document for Record {
    const FORMAT: &'static str = "tranche-openfaas-functions";
    const VERSION: u32 = 1;
}

impl Record {
    /// The function of that name.
    pub fn find(&self, name: &str) -> Option<&FunctionDeployment> {
        self.functions.iter().chain(&self.front_door).find(|function| function.service == name)
    }
}

/// What a deploy that ended well left.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub deployment: Deployment,
    /// `None` when the file is lost.
    pub record: Option<Record>,
}

impl Current {
    /// Names of its functions at the gateway, the front door's last.
    pub fn names(&self) -> Vec<&str> {
        let openfaas = self.deployment.openfaas.iter();
        openfaas
            .flat_map(|openfaas| openfaas.functions.iter().chain(&openfaas.front_door))
            .map(|function| function.function.as_str())
            .collect()
    }

    /// The name at the gateway of the function that runs `slice`.
    pub fn name_of(&self, slice: &str) -> Option<&str> {
        let functions = &self.deployment.openfaas.as_ref()?.functions;
        functions.iter().find(|function| function.slice == slice).map(|function| function.function.as_str())
    }

    pub fn front_door(&self) -> Option<&str> {
        Some(self.deployment.openfaas.as_ref()?.front_door.as_ref()?.function.as_str())
    }

    pub fn described(&self, name: &str) -> Option<&FunctionDeployment> {
        self.record.as_ref()?.find(name)
    }
}

/// The folder of all deployments.
#[derive(Clone, Debug)]
pub(super) struct State {
    root: PathBuf,
}

impl State {
    pub fn new(state: &Path) -> Self {
        Self { root: std::path::absolute(state).unwrap_or_else(|_| state.to_owned()).join("openfaas") }
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
        self.folder(name).join("functions.json")
    }

    pub fn current(&self, name: &str) -> Result<Option<Current>, DeployError> {
        check_name(name)?;
        let path = self.deployment_path(name);
        if !path.exists() {
            return Ok(None);
        }
        // Without it, what the gateway says has to do.
        let record = Record::read(&self.record_path(name)).ok();
        Ok(Some(Current { deployment: Deployment::read(&path)?, record }))
    }

    /// Makes a deployment the one that serves. Readers see the old or the new
    /// deployment.json, never a part.
    pub fn switch(&self, deployment: &Deployment, record: &Record) -> Result<(), DeployError> {
        record.write(&self.record_path(&deployment.name))?;
        Ok(deployment.write(&self.deployment_path(&deployment.name))?)
    }

    pub fn remove(&self, name: &str) -> Result<bool, DeployError> {
        let folder = self.folder(name);
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DeployError::file("remove", &folder)(error)),
        }
    }

    pub fn names(&self) -> Result<Vec<String>, DeployError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(DeployError::file("read", &self.root)(error)),
        };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        Ok(folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }
}
