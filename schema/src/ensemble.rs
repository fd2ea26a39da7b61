//! NAME.ensemble.json: models that one function runs as one, in place of an ONNX file.

use crate::{Document, Header, TensorSpec};
use serde::{Deserialize, Serialize};

/// One model of an [`Ensemble`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsembleMember {
    /// Its ONNX file, beside the ensemble's.
    pub model: String,
    /// Tensors it reads, in the order sessions take them.
    pub inputs: Vec<TensorSpec>,
    /// Tensors it writes, in the order sessions give them.
    pub outputs: Vec<TensorSpec>,
    /// Most engine threads.
    pub threads: u32,
}

/// Models whose tensors go from one to the next in memory; those that wait for nothing of each other
/// run at once. (What Triton calls an ensemble: its models make one, no answers are averaged.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensemble {
    /// Format and version.
    pub header: Header,
    /// The models, in an order in which they can run.
    pub members: Vec<EnsembleMember>,
}

impl Document for Ensemble {
    const FORMAT: &'static str = "tranche-ensemble";
    const VERSION: u32 = 1;
}

impl Ensemble {
    /// How the file's name ends.
    pub const SUFFIX: &'static str = ".ensemble.json";
}
