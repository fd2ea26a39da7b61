//! verify.json: the proof that slices compute what the whole model computes.

use crate::{Accuracy, Digest, Document, Environment, Header};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One output, whole against sliced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputComparison {
    /// The output.
    pub name: String,
    /// Largest absolute difference over all inputs tried.
    pub max_absolute_difference: f64,
    /// Largest absolute value of the whole model's output: the scale.
    pub scale: f64,
    /// The difference over the scale.
    pub max_relative_difference: f64,
    /// Whether every bit is equal.
    pub bit_identical: bool,
}

/// What lossy codecs did to the outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccuracyRecord {
    /// What was asked for.
    pub asked: Accuracy,
    /// The worst output's value of the same metric.
    pub found: f64,
    /// Tensors that travel with a lossy codec.
    pub tensors: Vec<String>,
}

/// verify.json, beside the bundle and outside its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Format and version.
    pub header: Header,
    /// Digest of the bundle's manifest.json.
    pub bundle_digest: Digest,
    /// Where it ran.
    pub environment: Environment,
    /// Whether the engine's graph optimisation was on.
    pub engine_optimised: bool,
    /// Where inputs came from: `random seed=N` or a file's digest.
    pub inputs: Vec<String>,
    /// The bound on the relative difference; 0 asks for equal bits.
    pub tolerance: f64,
    /// What lossy codecs did, where there are any: then this decides, not the tolerance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<AccuracyRecord>,
    /// One entry an output.
    pub outputs: Vec<OutputComparison>,
    /// Whether every output is within the tolerance.
    pub passed: bool,
}

impl Document for Verification {
    const FORMAT: &'static str = "tranche-verification";
    const VERSION: u32 = 1;
}

impl Verification {
    /// Where the record of a bundle lies: beside it, named after its folder
    /// (`out/bundle` has `out/bundle.verify.json`).
    #[must_use]
    pub fn path_beside(bundle: &Path) -> PathBuf {
        let mut name = bundle.file_name().unwrap_or_default().to_owned();
        name.push(".verify.json");
        bundle.with_file_name(name)
    }
}
