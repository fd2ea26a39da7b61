use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tranche_schema::exit_code;
use tranche_transport::aws::AwsError;
use tranche_transport::{FrameError, SharedError};

/// A request that cannot be made or was not answered.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// deployment.json contradicts itself.
    #[error("deployment `{deployment}` cannot be walked: {reason}")]
    Deployment {
        /// The deployment.
        deployment: String,
        /// What is wrong, naming tensor and function.
        reason: String,
    },
    /// An input is not one of the model's.
    #[error("the model has no input `{name}`; its inputs are {valid}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// The names there are.
        valid: String,
    },
    /// An input was not given.
    #[error("input {expected} is missing")]
    MissingInput {
        /// Name, type and shape.
        expected: String,
    },
    /// An input was given twice.
    #[error("input `{name}` is given twice")]
    RepeatedInput {
        /// The name.
        name: String,
    },
    /// An input has another type or shape than the slices were made for.
    #[error("input {found} does not fit: the deployment takes {expected}")]
    WrongInput {
        /// Name, type and shape given.
        found: String,
        /// Name, type and shape expected.
        expected: String,
    },
    /// A client for a function cannot be made.
    #[error("cannot make an HTTP client for `{slice}`: {reason}")]
    Client {
        /// The function.
        slice: String,
        /// Why.
        reason: String,
    },
    /// Answers that functions post cannot be listened for.
    #[error("cannot listen for answers on {address}: {source}")]
    Callback {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A request cannot go on by itself to a function without a URL.
    #[error("function `{slice}` has no URL that other functions could hand tensors on to")]
    NoUrl {
        /// The function.
        slice: String,
    },
    /// The folder that functions share cannot be opened.
    #[error("cannot open the folder of shared tensors {}: {source}", path.display())]
    SharedFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: SharedError,
    },
    /// An input cannot be coded or put where the functions read it.
    #[error("cannot send input `{name}`: {source}")]
    Send {
        /// The input.
        name: String,
        /// Why.
        source: FrameError,
    },
    /// An output came, but cannot be read.
    #[error("cannot read output `{name}`: {source}")]
    Receive {
        /// The output.
        name: String,
        /// Why.
        source: FrameError,
    },
    /// A function failed for good, or too often.
    #[error("function `{slice}` failed {}: {reason}", tries(*.attempts))]
    Function {
        /// The function.
        slice: String,
        /// Tries made.
        attempts: u32,
        /// What the last one said.
        reason: String,
        /// What to do, where the failure tells.
        hint: Option<String>,
    },
    /// Not all functions answered in time.
    #[error("no answer within {:.1} s; waiting for {waiting}", deadline.as_secs_f64())]
    Deadline {
        /// The time the request had.
        deadline: Duration,
        /// The functions that had not answered, with their last failures.
        waiting: String,
    },
    /// A function did not become ready in time.
    #[error("function `{slice}` is not ready after {:.1} s: {reason}", after.as_secs_f64())]
    NotReady {
        /// The function.
        slice: String,
        /// The time it was waited for.
        after: Duration,
        /// What the last try said.
        reason: String,
        /// What to do, where the failure tells.
        hint: Option<String>,
    },
    /// The deployment is on AWS, and there is no client that reaches it.
    #[error("deployment `{deployment}` is on AWS Lambda: {reason}")]
    Aws {
        /// The deployment.
        deployment: String,
        /// What is missing or differs.
        reason: String,
    },
    /// A stored request has nowhere to be stored.
    #[error("deployment `{deployment}` has no object store that requests could go through")]
    NoStore {
        /// The deployment.
        deployment: String,
    },
    /// Who walks the slices in the driver's place failed.
    #[error("deployment `{deployment}` was not walked to its end: {reason}")]
    Walker {
        /// The deployment.
        deployment: String,
        /// Why.
        reason: String,
    },
    /// A tensor cannot be written to or read from the object store.
    #[error("tensor `{name}` in the object store: {source}")]
    Store {
        /// The tensor.
        name: String,
        /// Why.
        source: AwsError,
    },
    /// A bug in this crate: a task of a request ended without a result.
    #[error("a task of the request ended without a result: {reason}")]
    Task {
        /// What the runtime said.
        reason: String,
    },
}

fn tries(attempts: u32) -> String {
    if attempts == 1 { "at the first try".to_owned() } else { format!("{attempts} times") }
}

impl DriverError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Deployment { .. } => "deployment.json was edited or damaged; deploy the bundle again",
            Self::UnknownInput { .. }
            | Self::MissingInput { .. }
            | Self::RepeatedInput { .. }
            | Self::WrongInput { .. } => {
                "give each input once as `--input name=file.npy`, or all as .npz, .safetensors or .json"
            }
            Self::Client { .. } => "check the addresses in deployment.json, or deploy the bundle again",
            Self::Callback { .. } => "choose an address of this machine that is free",
            Self::NoUrl { .. } => "leave continuation passing out: local functions share mapped files",
            Self::SharedFolder { .. } => {
                "invoke a local deployment on the machine and as the user that deployed it; `tranche status` shows whether it runs"
            }
            Self::Send { source, .. } | Self::Receive { source, .. } => source.hint(),
            Self::Function { hint: Some(hint), .. } | Self::NotReady { hint: Some(hint), .. } => hint,
            Self::Function { .. } | Self::NotReady { .. } => {
                "`tranche status` shows whether the function runs, `tranche logs` what it said"
            }
            Self::Deadline { .. } => {
                "give more time with `--timeout`; `tranche logs` shows what the functions were doing"
            }
            Self::Aws { .. } => {
                "set AWS_REGION to the deployment's region and credentials that may invoke its functions"
            }
            Self::NoStore { .. } => "deploy to AWS Lambda with a bucket (`--store`)",
            Self::Walker { .. } => "`tranche logs` shows what the functions were doing",
            Self::Store { source, .. } => source.hint(),
            Self::Task { .. } => "this is a bug in tranche; please report it",
        }
    }

    /// The exit code of a command that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Deployment { .. }
            | Self::UnknownInput { .. }
            | Self::MissingInput { .. }
            | Self::RepeatedInput { .. }
            | Self::WrongInput { .. }
            | Self::Client { .. }
            | Self::NoUrl { .. }
            | Self::NoStore { .. }
            | Self::Aws { .. } => exit_code::USAGE,
            Self::SharedFolder { .. }
            | Self::Callback { .. }
            | Self::Send { .. }
            | Self::Receive { .. }
            | Self::Function { .. }
            | Self::Deadline { .. }
            | Self::Store { .. }
            | Self::Walker { .. }
            | Self::NotReady { .. } => exit_code::REMOTE,
            Self::Task { .. } => exit_code::BUG,
        }
    }
}
