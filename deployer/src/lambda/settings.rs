use crate::DeployError;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tranche_packager::lambda::FunctionDescription;
use tranche_schema::{Deployment, LambdaIndex};

/// Documents of a role that the deployment gets for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDocuments {
    /// Who may take the role, as JSON.
    pub trust: String,
    /// What it may do, as JSON.
    pub policy: String,
}

/// The role that functions, or a state machine, run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// An existing one, by its ARN.
    Given(String),
    /// One of the deployment's own, removed with it.
    Created(RoleDocuments),
}

/// The bucket that packages go through and tensors may go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// An existing one of the functions' region, by name.
    Given(String),
    /// `tranche-ACCOUNT-REGION`, made where it is not there, and removed by the destroy that
    /// leaves it empty.
    Own,
}

/// A function that walks whole requests, made once its slices are there.
pub trait EntryPackage: Send + Sync {
    /// The function that serves `deployment`, and its zip file. Equal deployments give
    /// equal bytes.
    ///
    /// # Errors
    /// When it cannot be packed.
    fn make(&self, deployment: &Deployment) -> Result<(FunctionDescription, PathBuf), DeployError>;
}

/// A state machine that walks whole requests.
pub trait StateMachineDefinition: Send + Sync {
    /// The Amazon States Language document that calls the functions of `deployment`. Equal
    /// deployments give equal text.
    ///
    /// # Errors
    /// When there is none.
    fn make(&self, deployment: &Deployment) -> Result<String, DeployError>;
}

/// The entry that is wanted.
#[derive(Clone)]
pub struct Entry {
    /// What it is made of.
    pub package: Arc<dyn EntryPackage>,
    /// Whether it gets a URL, with IAM authentication.
    pub url: bool,
    /// Whether it answers a ping.
    pub ping: bool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Entry").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The state machine that is wanted.
#[derive(Clone)]
pub struct StateMachine {
    /// What it does.
    pub definition: Arc<dyn StateMachineDefinition>,
    /// What it runs as.
    pub role: Role,
}

impl fmt::Debug for StateMachine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StateMachine").field("role", &self.role).finish_non_exhaustive()
    }
}

/// What a deploy to Lambda needs beyond its request.
#[derive(Clone, Debug)]
pub struct LambdaSettings {
    /// The folder of packages.
    pub packages: PathBuf,
    /// Its lambda.json.
    pub index: Option<LambdaIndex>,
    /// The functions, one a slice in the manifest's order.
    pub functions: Vec<FunctionDescription>,
    /// Pushed images of the slices that go as one, `REPOSITORY@sha256:DIGEST`.
    pub images: BTreeMap<String, String>,
    /// What functions run as.
    pub role: Role,
    /// Where packages go that no call takes, and tensors that no payload takes.
    pub bucket: Option<Bucket>,
    /// Whether tensors go through that bucket.
    pub store: bool,
    /// The function that walks whole requests, if one is wanted.
    pub entry: Option<Entry>,
    /// The state machine that walks whole requests, if one is wanted.
    pub state_machine: Option<StateMachine>,
    /// The share of requests that new versions get at first; all when `None`.
    pub canary: Option<f64>,
    /// The alias that callers use.
    pub alias: String,
    /// Functions worked on at one time.
    pub concurrency: usize,
    /// First pause between two looks at a function.
    pub poll: Duration,
}

impl LambdaSettings {
    /// No functions yet, a role, the alias `live`, four functions at one time.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            packages: PathBuf::new(),
            index: None,
            functions: Vec::new(),
            images: BTreeMap::new(),
            role,
            bucket: None,
            store: false,
            entry: None,
            state_machine: None,
            canary: None,
            alias: "live".to_owned(),
            concurrency: 4,
            poll: Duration::from_millis(250),
        }
    }
}
