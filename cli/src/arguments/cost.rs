use super::groups::{EngineArguments, MeasureArguments, ModelArguments, PlanArguments};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// `cost`
#[derive(Debug, Args)]
pub struct CostArguments {
    /// ONNX file, or a name from `tranche models list`: measured now
    #[arg(required_unless_present = "bills")]
    pub model: Option<String>,
    /// What was measured before instead: a bill, or what `invoke --json` or `run --json` printed
    /// (may be repeated, at several CPU shares)
    #[arg(long = "bill", value_name = "FILE", conflicts_with_all = ["model", "bundle"])]
    pub bills: Vec<PathBuf>,
    /// Slices as in this bundle of the model instead of planned now
    #[arg(long, value_name = "FOLDER")]
    pub bundle: Option<PathBuf>,
    /// Write a report with charts, one file that needs no other
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where bundles go [default: .tranche/NAME-cost]
    #[arg(long, value_name = "FOLDER")]
    pub work: Option<PathBuf>,
    /// What a month asks for.
    #[command(flatten)]
    pub workload: WorkloadArguments,
    /// What it costs.
    #[command(flatten)]
    pub prices: PriceArguments,
    /// Memory sizes at whose CPU share to measure, in MiB
    #[arg(long, value_name = "MIB,…", value_delimiter = ',', default_value = "512,1024,1769,3538",
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Measuring")]
    pub sizes: Vec<u32>,
    /// Requests at each size
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Measuring")]
    pub requests: u32,
    /// Shape of an input, as `input=1x3x224x224` (may be repeated)
    #[arg(long = "shape", value_name = "INPUT=SHAPE", help_heading = "Model")]
    pub shapes: Vec<String>,
    /// Extent of a symbolic dimension, as `batch=4` (may be repeated)
    #[arg(long = "dim", value_name = "NAME=EXTENT", help_heading = "Model")]
    pub dimensions: Vec<String>,
    /// Random integers of an input stay below this, as `input_ids=30522` (may be repeated)
    #[arg(long = "range", value_name = "INPUT=BOUND", help_heading = "Model")]
    pub ranges: Vec<String>,
    /// Input values instead of random ones: `name=file.npy`, .npz, .safetensors or .json (may be repeated)
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub inputs: Vec<String>,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// How to measure.
    #[command(flatten)]
    pub measure: MeasureArguments,
    /// What to respect.
    #[command(flatten)]
    pub plan: PlanArguments,
}

impl CostArguments {
    /// The model, as other verbs are given it.
    #[must_use]
    pub fn model_arguments(&self, model: &str) -> ModelArguments {
        ModelArguments {
            model: model.to_owned(),
            shapes: self.shapes.clone(),
            dimensions: self.dimensions.clone(),
            ranges: self.ranges.clone(),
            inputs: self.inputs.clone(),
        }
    }
}

/// What a month asks for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Workload")]
pub struct WorkloadArguments {
    /// Requests a second, on average over a month of 730 hours
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "requests_per_month")]
    pub rate: Option<f64>,
    /// Requests a month [default: 1000000]
    #[arg(long, value_name = "N")]
    pub requests_per_month: Option<u64>,
    /// Share of the calls that start their function first, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.01)]
    pub cold: f64,
    /// Take off what is free every month: one free tier an account
    #[arg(long)]
    pub free_tier: bool,
    /// Who walks requests through the slices
    #[arg(long, value_enum, value_name = "WHO", default_value_t = Walker::Driver)]
    pub orchestration: Walker,
    /// Size of an entry function, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub entry_memory: u32,
}

/// Who walks requests through the slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Walker {
    /// A caller outside: nothing that waits is billed.
    Driver,
    /// Step Functions Express.
    Workflow,
    /// Each slice calls the next: asynchronous calls and S3.
    Continuation,
    /// A function that waits for the slices, billed twice.
    Entry,
}

/// Which prices.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Prices")]
pub struct PriceArguments {
    /// A price file, or a name from `tranche targets` [default: aws-lambda-x86]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<String>,
}
