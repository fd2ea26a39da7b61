//! manifest.json: what a bundle holds.

use crate::{
    ByteCount, Digest, Document, Edge, FunctionSize, Header, ModelIdentity, SlicePrediction, TensorSpec,
};
use serde::{Deserialize, Serialize};

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the bundle, with `/` between parts.
    pub path: String,
    /// Its size.
    pub bytes: ByteCount,
    /// Its digest.
    pub digest: Digest,
}

/// A slice as packaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceManifest {
    /// Name in the plan.
    pub name: String,
    /// Its ONNX file, below the bundle, or an [`Ensemble`](crate::Ensemble)'s.
    pub model: String,
    /// ONNX files of the ensemble's members, below the bundle; else none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// Its weight files, below the bundle; shared ones appear in each slice.
    pub weights: Vec<String>,
    /// Activations it reads, in the order sessions take them.
    pub inputs: Vec<TensorSpec>,
    /// Activations it writes, in the order sessions give them.
    pub outputs: Vec<TensorSpec>,
    /// What the function is given.
    pub size: FunctionSize,
    /// Engine threads.
    pub threads: u32,
    /// What the plan expects.
    pub prediction: SlicePrediction,
}

/// manifest.json
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format and version.
    pub header: Header,
    /// The model packaged.
    pub model: ModelIdentity,
    /// Digest of plan.json as packaged.
    pub plan_digest: Digest,
    /// Version of tranche that packaged it.
    pub tranche_version: String,
    /// Engine the slices are meant for.
    pub engine: String,
    /// Inputs of the model.
    pub inputs: Vec<TensorSpec>,
    /// Outputs of the model.
    pub outputs: Vec<TensorSpec>,
    /// Slices in an order in which they can run.
    pub slices: Vec<SliceManifest>,
    /// Tensors that cross a border.
    pub edges: Vec<Edge>,
    /// Every file of the bundle but this one, by path.
    pub files: Vec<FileEntry>,
}

impl Document for Manifest {
    const FORMAT: &'static str = "tranche-manifest";
    const VERSION: u32 = 1;
}

impl Manifest {
    /// File name in the bundle.
    pub const FILE: &'static str = "manifest.json";
    /// File name of the plan in the bundle.
    pub const PLAN_FILE: &'static str = "plan.json";
}
