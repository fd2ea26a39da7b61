use super::{
    AwsArguments, EngineArguments, GatewayArguments, LambdaArguments, LockedArguments, OpenFaasArguments,
    PlaceArguments, Via,
};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// When functions that a request needs later are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OverlapChoice {
    /// Where functions may have been stopped: on Lambda, and locally with --scale-to-zero
    #[default]
    Auto,
    /// With each request's arrival
    Always,
    /// Each when it is called
    Never,
}

impl From<OverlapChoice> for tranche_driver::Overlap {
    fn from(choice: OverlapChoice) -> Self {
        match choice {
            OverlapChoice::Auto => Self::Auto,
            OverlapChoice::Always => Self::Always,
            OverlapChoice::Never => Self::Never,
        }
    }
}

/// `deploy`
#[derive(Debug, Args)]
pub struct DeployArguments {
    /// The bundle
    #[arg(default_value = "bundle")]
    pub bundle: PathBuf,
    /// Name of the deployment [default: the model's]
    #[arg(short, long)]
    pub name: Option<String>,
    /// Where to
    #[arg(short, long, default_value = "local", value_parser = ["local", "openfaas", "lambda"])]
    pub target: String,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// The lock file.
    #[command(flatten)]
    pub locked: LockedArguments,
    /// Deploy although no verification says that the slices are right
    #[arg(long)]
    pub allow_unverified: bool,
    /// Set no memory and CPU limits
    #[arg(long)]
    pub no_limits: bool,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: exit with 10 when something would change
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
    /// Seconds for all functions to become ready
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub ready_deadline: u64,
    /// On the local target: start functions with their first request, stop them after so many seconds without one (0: never)
    #[arg(long, value_name = "SECONDS")]
    pub scale_to_zero: Option<u64>,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArguments,
    /// Images and functions.
    #[command(flatten)]
    pub openfaas: OpenFaasArguments,
    /// AWS.
    #[command(flatten)]
    pub aws: AwsArguments,
    /// Packages and functions.
    #[command(flatten)]
    pub lambda: LambdaArguments,
    /// Write what the target is told into this folder, and deploy nothing (OpenFaaS: stack.yaml, functions.json and a template; Lambda: a SAM template, a state machine, IAM policies)
    #[arg(long, value_name = "FOLDER", conflicts_with = "dry_run")]
    pub emit: Option<PathBuf>,
}

/// `invoke`
#[derive(Debug, Args)]
pub struct InvokeArguments {
    /// Name of the deployment
    pub name: String,
    /// Input values: `name=file.npy`, .npz, .safetensors or .json (may be repeated)
    #[arg(long, value_name = "FILE", required_unless_present = "random")]
    pub inputs: Vec<String>,
    /// Random values for inputs not given
    #[arg(long)]
    pub random: bool,
    /// Random integers of an input stay below this, as `input_ids=30522` (may be repeated)
    #[arg(long = "range", value_name = "INPUT=BOUND")]
    pub ranges: Vec<String>,
    /// Seed of random values
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Send the request this many times; the bill is the median
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: u32,
    /// Where to save the outputs: .npz, .npy, .safetensors or .json [default: print a summary]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Seconds that one request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub deadline: u64,
    /// Who walks the request through the slices
    #[arg(long, value_enum, default_value_t)]
    pub via: Via,
    /// When to start the functions that come later while the first runs
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub overlap: OverlapChoice,
    /// With --via hand-on on OpenFaaS: where to listen for the answer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub callback: std::net::SocketAddr,
    /// The listener's URL as functions reach it [default: its address]
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArguments,
}
