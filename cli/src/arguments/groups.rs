//! Groups of arguments that several verbs take.

use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Which model, and how its inputs are bound.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArguments {
    /// ONNX file, or a name from `tranche models list`
    pub model: String,
    /// Shape of an input, as `input=1x3x224x224` (may be repeated)
    #[arg(long = "shape", value_name = "INPUT=SHAPE")]
    pub shapes: Vec<String>,
    /// Extent of a symbolic dimension, as `batch=4` (may be repeated)
    #[arg(long = "dim", value_name = "NAME=EXTENT")]
    pub dimensions: Vec<String>,
    /// Random integers of an input stay below this, as `input_ids=30522` (may be repeated)
    #[arg(long = "range", value_name = "INPUT=BOUND")]
    pub ranges: Vec<String>,
    /// Input values instead of random ones: `name=file.npy`, .npz, .safetensors or .json (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub inputs: Vec<String>,
}

/// Which engine, and how it runs.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Engine")]
pub struct EngineArguments {
    /// Engine: tract (built in) or onnxruntime [default: tract]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// ONNX Runtime library to load
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<PathBuf>,
    /// Let the engine rewrite the graph for speed [default: true]
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimise: Option<bool>,
}

/// Which library to try.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Engine")]
pub struct LibraryArguments {
    /// ONNX Runtime library to try
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<PathBuf>,
}

/// How to measure.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Measuring")]
pub struct MeasureArguments {
    /// Unmeasured runs first [default: 1]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u32>,
    /// Measured runs [default: 5]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u32>,
    /// Seed of random inputs [default: 0]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Seconds that one measuring process or function may take [default: 300]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// CPU shares to measure at besides that of functions, as `0.5,1,2`, or `none` [default: 0.25, 0.5, 1, 2, … as this machine has]
    #[arg(long, value_name = "CPUS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<String>,
    /// Take the memory of functions from what they had resident, instead of looking for the least by running
    #[arg(long)]
    #[serde(rename = "memory_search", serialize_with = "negated", skip_serializing_if = "is_unset")]
    pub no_memory_search: bool,
    /// Measure again even when the cache has the profile
    #[arg(long)]
    #[serde(skip)]
    pub no_cache: bool,
}

/// A flag that turns a setting off leaves it alone when it is not given.
fn is_unset(flag: &bool) -> bool {
    !flag
}

fn negated<S: serde::Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(!flag)
}

/// What the plan must respect.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Planning")]
pub struct PlanArguments {
    /// optimal, similarity[=N], uniform=N, unsplit, gillis or manual=NAME,… [default: optimal]
    #[arg(long, value_name = "STRATEGY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Largest memory of a function, in MiB
    #[arg(long, value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<u64>,
    /// Largest number of slices
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_slices: Option<u32>,
    /// Smallest number of slices, for forcing a cut
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_slices: Option<u32>,
    /// Longest latency of one warm request, in ms
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<f64>,
    /// CPU share at which models are measured, and of functions where the prices leave it open [default: 1]
    #[arg(long, value_name = "CPUS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
}

/// What functions are charged, and for which requests.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Prices")]
pub struct PricingArguments {
    /// A price file, or a name from `tranche targets`; `local` counts memory-time [default: local]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<String>,
    /// How it is charged, and for which requests.
    #[command(flatten)]
    #[serde(flatten)]
    pub charge: ChargeArguments,
}

/// How functions are charged, and for which requests.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Prices")]
pub struct ChargeArguments {
    /// What is paid for: per-request or always-on [default: the price file's first]
    #[arg(long, value_name = "KIND")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<String>,
    /// Share of requests that meet no started function, 0 to 1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<f64>,
    /// Requests a second
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Seconds that an idle function is kept: with `--rate` the share of cold requests follows
    #[arg(long, value_name = "SECONDS", requires = "rate", conflicts_with = "cold")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<f64>,
    /// Longest latency of a request that meets no started function, in ms
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_slo: Option<f64>,
    /// Largest weights of a slice, in MiB
    #[arg(long, value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_weights: Option<u64>,
    /// Most parts that layers may be split into, to run at once: 1 for none, up to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parts: Option<u32>,
    /// Lossy codec that tensors may take where it saves time: f16, bf16 or int8
    #[arg(long, value_name = "CODEC")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lossy: Option<String>,
    /// How far that may move outputs: max-relative=, cosine= or top-1=BOUND [default: max-relative=0.01]
    #[arg(long, value_name = "METRIC=BOUND")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<String>,
}
