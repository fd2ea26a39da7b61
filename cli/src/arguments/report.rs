//! Plans side by side, and a plan as a page.

use super::groups::{ChargeArguments, EngineArguments, ModelArguments, PlanArguments};
use clap::Args;
use std::path::PathBuf;

/// `compare`
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArguments,
    /// What to respect; a strategy that is not among the usual ones is compared too.
    #[command(flatten)]
    pub plan: PlanArguments,
    /// A price file, or a name from `tranche targets` (may be repeated) [default: local]
    #[arg(long, value_name = "FILE", help_heading = "Prices")]
    pub prices: Vec<String>,
    /// How it is charged, and for which requests.
    #[command(flatten)]
    pub charge: ChargeArguments,
    /// The profile to plan from
    #[arg(short, long, value_name = "FILE", default_value = "profile.json")]
    pub profile: PathBuf,
}

/// `report`
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The plan
    #[arg(default_value = "plan.json")]
    pub plan: PathBuf,
    /// The profile that it was made from
    #[arg(short, long, value_name = "FILE", default_value = "profile.json")]
    pub profile: PathBuf,
    /// What it was billed: a bill, or what `invoke --json` or `run --json` printed
    #[arg(long, value_name = "FILE")]
    pub bill: Option<PathBuf>,
    /// Other strategies beside it: what `compare --json` printed
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Where to write
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}
