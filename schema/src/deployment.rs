//! deployment.json: what runs where.

use crate::{Digest, Document, Edge, FunctionSize, Header, LambdaDeployment, SlicePrediction, TensorSpec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a function answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Address {
    /// HTTP over a Unix socket.
    Unix {
        /// The socket.
        path: PathBuf,
    },
    /// HTTP at a URL.
    Http {
        /// Base URL without a final slash.
        url: String,
    },
    /// AWS Lambda, in the region and at the endpoint of the deployment's `lambda` part.
    Lambda {
        /// Name of the function.
        function: String,
        /// Its alias or version.
        qualifier: String,
    },
}

/// Whether the platform holds a function to its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsEnforced {
    /// The memory limit is set.
    pub memory: bool,
    /// The CPU quota is set.
    pub cpu: bool,
}

/// One function of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeployedFunction {
    /// Name of the slice it runs.
    pub slice: String,
    /// Where it answers.
    pub address: Address,
    /// What it is given.
    pub size: FunctionSize,
    /// Whether it is held to it.
    pub limits: LimitsEnforced,
    /// Activations it reads, in order.
    pub inputs: Vec<TensorSpec>,
    /// Activations it writes, in order.
    pub outputs: Vec<TensorSpec>,
    /// What the plan expects.
    pub prediction: SlicePrediction,
}

/// The process that keeps a local deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSupervisor {
    /// Its process id.
    pub process_id: u32,
    /// Start time of that process in clock ticks since boot, so that a reused
    /// id is not mistaken for it.
    pub process_start_ticks: u64,
    /// Its control socket.
    pub control_socket: PathBuf,
    /// The folder whose mapped files functions share.
    pub shared_folder: PathBuf,
    /// The folder of the functions' logs.
    pub log_folder: PathBuf,
    /// Functions start with their first request and end after so many seconds without one, 0: never;
    /// nothing where they always run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_to_zero_seconds: Option<u64>,
}

/// A slice's function on OpenFaaS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFaasFunction {
    /// The slice it runs.
    pub slice: String,
    /// Name of the function at the gateway.
    pub function: String,
    /// The image, pinned by digest.
    pub image: String,
}

/// Where an OpenFaaS deployment runs. Credentials are never in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFaasDeployment {
    /// Base URL of the gateway without a final slash.
    pub gateway: String,
    /// Namespace of the functions; the provider's default when `None`.
    pub namespace: Option<String>,
    /// `faasd` or `kubernetes`, as the gateway says.
    pub provider: String,
    /// The functions, in the order of [`Deployment::functions`].
    pub functions: Vec<OpenFaasFunction>,
    /// The function that answers whole requests, if one was deployed.
    pub front_door: Option<OpenFaasFunction>,
}

/// deployment.json
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Format and version.
    pub header: Header,
    /// Name of the deployment.
    pub name: String,
    /// `local`, `openfaas` or `lambda`.
    pub target: String,
    /// Digest of the bundle's manifest.json.
    pub bundle_digest: Digest,
    /// Where the bundle lies.
    pub bundle: PathBuf,
    /// Engine in use.
    pub engine: String,
    /// Inputs of the model.
    pub inputs: Vec<TensorSpec>,
    /// Outputs of the model.
    pub outputs: Vec<TensorSpec>,
    /// Functions in an order in which they can run.
    pub functions: Vec<DeployedFunction>,
    /// Tensors that cross a border.
    pub edges: Vec<Edge>,
    /// Set for the local target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSupervisor>,
    /// Set for the OpenFaaS target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openfaas: Option<OpenFaasDeployment>,
    /// Set for the AWS Lambda target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<LambdaDeployment>,
}

impl Document for Deployment {
    const FORMAT: &'static str = "tranche-deployment";
    const VERSION: u32 = 1;
}
