use crate::{ChangeSet, DeployError};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tranche_schema::{ByteCount, Deployment, Digest, LimitsEnforced, MilliCpu};

/// A platform that runs functions.
///
/// Calls block, and every one of them ends: waiting has deadlines. A deployment
/// is known by its name; changing the same one twice at a time is an error of
/// the second.
pub trait Target {
    /// As in deployment.json: `local`.
    fn name(&self) -> &'static str;

    /// What [`Target::deploy`] would change. Changes nothing.
    ///
    /// # Errors
    /// When the bundle or the state of the deployment cannot be read.
    fn plan(&self, request: &DeployRequest) -> Result<ChangeSet, DeployError>;

    /// Makes the deployment what the bundle says and waits until it answers.
    /// What ran before under that name serves until then, and goes on serving
    /// when this fails. A deployment that is already so is left alone.
    ///
    /// # Errors
    /// When the bundle is damaged or unverified, or a function does not start.
    fn deploy(
        &self,
        request: &DeployRequest,
        progress: &mut dyn FnMut(DeployEvent),
    ) -> Result<Deployment, DeployError>;

    /// How a deployment is.
    ///
    /// # Errors
    /// When there is none of that name.
    fn status(&self, name: &str) -> Result<DeploymentStatus, DeployError>;

    /// What functions wrote.
    ///
    /// # Errors
    /// When there is no such deployment or function.
    fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<FunctionLog>, DeployError>;

    /// Ends a deployment and removes everything that was made for it, whatever
    /// state it is in.
    ///
    /// # Errors
    /// When there is none of that name, or something of it cannot be removed.
    fn destroy(&self, name: &str) -> Result<Destroyed, DeployError>;

    /// Sets how many replicas a function has, every function when `function` is
    /// `None`, and waits until they run.
    ///
    /// # Errors
    /// When the target has no replicas, or none of that name.
    fn scale(&self, name: &str, function: Option<&str>, replicas: u32) -> Result<(), DeployError> {
        let _ = (name, function, replicas);
        Err(DeployError::Unsupported { target: self.name(), action: "scale functions" })
    }

    /// The names of all deployments, finished or not, in order.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn list(&self) -> Result<Vec<String>, DeployError>;
}

/// What to deploy.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Name of the deployment.
    pub name: String,
    /// How.
    pub options: DeployOptions,
}

/// How to deploy.
#[derive(Clone, Debug)]
pub struct DeployOptions {
    /// Engine instead of the manifest's.
    pub engine: Option<String>,
    /// ONNX Runtime's library.
    pub onnxruntime: Option<PathBuf>,
    /// Whether the engine rewrites graphs for speed.
    pub optimise: bool,
    /// Whether a bundle without a passing verification is taken.
    pub allow_unverified: bool,
    /// Whether every file's digest is computed, and not only its size compared.
    pub check_digests: bool,
    /// Whether functions are held to their sizes.
    pub limits: bool,
    /// CPU share of every function instead of the manifest's.
    pub cpu: Option<MilliCpu>,
    /// On the local target: functions start with their first request and end after so long without
    /// one, zero for never; in whole seconds. `None` keeps them running.
    pub scale_to_zero: Option<Duration>,
    /// How long all functions together may take to become ready; of functions that scale to zero,
    /// each when it starts.
    pub ready_timeout: Duration,
    /// How long functions may take to finish their requests when they are stopped.
    pub drain_timeout: Duration,
    /// Set by whoever wants a deploy that is waiting for its functions to give up
    /// and undo what it did.
    pub interrupted: Option<&'static AtomicBool>,
}

impl Default for DeployOptions {
    /// The manifest's engine and sizes, limits on, everything checked, two
    /// minutes to start and ten seconds to drain.
    fn default() -> Self {
        Self {
            engine: None,
            onnxruntime: None,
            optimise: true,
            allow_unverified: false,
            check_digests: true,
            limits: true,
            cpu: None,
            scale_to_zero: None,
            ready_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(10),
            interrupted: None,
        }
    }
}

/// How far a deploy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeployEvent {
    /// The bundle is what its manifest says.
    BundleChecked,
    /// Nothing is to be done.
    Unchanged,
    /// Functions are starting.
    Starting {
        /// How many.
        functions: usize,
    },
    /// A function answers.
    Ready {
        /// Which.
        function: String,
    },
    /// Something the user should know: a limit that cannot be set.
    Notice {
        /// What.
        text: String,
    },
    /// What ran before is being stopped.
    Draining,
}

/// How a deployment is, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeploymentPhase {
    /// Every function answers.
    Running,
    /// Some function does not.
    Degraded,
    /// Nothing runs.
    Stopped,
    /// A deploy began and did not end well; `destroy` or `deploy` put it right.
    Incomplete,
}

/// How a deployment is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeploymentStatus {
    /// Its name.
    pub name: String,
    /// The target.
    pub target: String,
    /// As a whole.
    pub phase: DeploymentPhase,
    /// Digest of its bundle's manifest.
    pub bundle_digest: Option<Digest>,
    /// Functions in plan order.
    pub functions: Vec<FunctionStatus>,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// What a function is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionState {
    /// Not running; the next request starts it.
    Idle,
    /// Loading; requests wait.
    Starting,
    /// Answering.
    Ready,
    /// Ended, and waiting to be started again.
    Restarting,
    /// Ended so often without ever answering that it is left alone.
    Failed,
    /// Ended because it was asked to.
    Stopped,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Exit code.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed it at its memory limit.
    pub out_of_memory: bool,
}

impl std::fmt::Display for LastExit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.out_of_memory, self.code, self.signal) {
            (true, _, _) => formatter.write_str("out of memory: killed at its memory limit"),
            (_, Some(code), _) => write!(formatter, "ended with exit code {code}"),
            (_, _, Some(signal)) => write!(formatter, "killed by signal {signal}"),
            _ => formatter.write_str("ended"),
        }
    }
}

/// How a function is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionStatus {
    /// The slice.
    pub name: String,
    /// What it is doing.
    pub state: FunctionState,
    /// Its process.
    pub process_id: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it last ended, if it has.
    pub last_exit: Option<LastExit>,
    /// Memory charged to it now, else resident.
    pub memory_bytes: Option<ByteCount>,
    /// The most memory charged to it since its first start, else resident since
    /// its last.
    pub memory_peak_bytes: Option<ByteCount>,
    /// Which limits hold.
    pub limits: LimitsEnforced,
    /// Why others do not.
    pub notice: Option<String>,
    /// Replicas, where the target has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// Its image, where the target has images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Copies of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// That run.
    pub available: u64,
    /// That are asked for.
    pub wanted: u64,
}

/// Which logs.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// One function's; all when `None`.
    pub function: Option<String>,
    /// Only the last lines of each; everything kept when `None`.
    pub tail: Option<usize>,
}

/// What a function wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionLog {
    /// The slice.
    pub function: String,
    /// The file, for following it; empty where the platform keeps the log.
    pub path: PathBuf,
    /// Lines, oldest first.
    pub lines: Vec<String>,
}

/// What a destroy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Destroyed {
    /// How many functions were stopped or had stopped before.
    pub functions: usize,
    /// Whether the supervisor ended by itself after draining; else it was
    /// killed, or dead already.
    pub drained: bool,
}

/// A DNS label: what every target takes.
pub(crate) fn check_name(name: &str) -> Result<(), DeployError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.chars().all(allowed) {
        return Err(DeployError::Name { name: name.to_owned() });
    }
    Ok(())
}
