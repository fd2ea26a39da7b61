//! What pipelines are run with: the lock file, and plans compared.

use clap::Args;
use std::path::PathBuf;
use tranche_schema::Lock;

/// Whether only what is locked is good enough.
#[derive(Clone, Debug, Default, Args)]
pub struct LockedArguments {
    /// Refuse (41) a model, profile, plan, bundle, engine or version other than the lock file's [default file: tranche.lock]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = Lock::FILE)]
    pub locked: Option<PathBuf>,
}

/// `lock`
#[derive(Debug, Args)]
pub struct LockArguments {
    /// ONNX file, or a name from `tranche models list`
    pub model: String,
    /// The profile
    #[arg(long, value_name = "FILE", default_value = "profile.json")]
    pub profile: PathBuf,
    /// The plan
    #[arg(long, value_name = "FILE", default_value = "plan.json")]
    pub plan: PathBuf,
    /// The bundle
    #[arg(short, long, value_name = "FOLDER", default_value = "bundle")]
    pub bundle: PathBuf,
    /// Where to write
    #[arg(short, long, value_name = "FILE", default_value = Lock::FILE)]
    pub output: PathBuf,
}

/// `diff`
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The plan before
    pub base: PathBuf,
    /// The plan after
    pub head: PathBuf,
    /// Print Markdown, for a job summary or a comment
    #[arg(long)]
    pub markdown: bool,
    /// Exit with 10 when the plans are of different functions
    #[arg(long)]
    pub detailed_exitcode: bool,
}
