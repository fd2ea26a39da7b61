//! plan.json: which layers run in which function, and what passes between them.

use crate::{ByteCount, Digest, Document, GibSeconds, Header, MilliCpu, Millis, ModelIdentity, TensorSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a function is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSize {
    /// Memory limit.
    pub memory_bytes: ByteCount,
    /// CPU share.
    pub cpu_milli: MilliCpu,
}

/// How a tensor's bytes are coded between functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// As they are.
    #[default]
    Raw,
    /// Zstandard.
    Zstd,
}

/// How a tensor's bytes travel between functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Inside the request and the response.
    #[default]
    Inline,
    /// A file that functions of one host map.
    MappedFile,
}

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Raw => "raw",
            Self::Zstd => "zstd",
        })
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Inline => "inline",
            Self::MappedFile => "mapped-file",
        })
    }
}

/// What the partitioner was asked to respect; `None` means no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Constraints {
    /// Largest memory limit of a function.
    pub max_memory_bytes: Option<ByteCount>,
    /// Largest number of slices.
    pub max_slices: Option<u32>,
    /// Smallest number of slices (`--min-slices`), for forcing a cut.
    pub min_slices: Option<u32>,
    /// Longest predicted latency of one warm request.
    pub latency_ms: Option<Millis>,
}

/// What the partitioner expects of a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlicePrediction {
    /// Time of one warm run at the slice's size.
    pub run_ms: Millis,
    /// Time to receive, decode, encode and send its tensors.
    pub handoff_ms: Millis,
    /// What the function is billed for: run and hand-off.
    pub billed_ms: Millis,
    /// Memory limit times billed time.
    pub memory_time: GibSeconds,
    /// Bytes of its initialisers.
    pub weights_bytes: ByteCount,
    /// Highest sum of its live activations.
    pub peak_activation_bytes: ByteCount,
}

/// One function: the layers it runs in one go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlicePlan {
    /// Unique name, as `slice-0`.
    pub name: String,
    /// Layer names, in order.
    pub layers: Vec<String>,
    /// Node names, in graph order.
    pub nodes: Vec<String>,
    /// Activations it reads.
    pub inputs: Vec<TensorSpec>,
    /// Activations it writes for later slices or the caller.
    pub outputs: Vec<TensorSpec>,
    /// What the function is given.
    pub size: FunctionSize,
    /// Engine threads.
    pub threads: u32,
    /// What is expected.
    pub prediction: SlicePrediction,
    /// Why the slice ends where it ends.
    pub reason: String,
}

/// One tensor on its way from where it is made to those who read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The tensor.
    pub tensor: TensorSpec,
    /// The slice that writes it; `None` for an input of the model.
    pub from: Option<String>,
    /// The slices that read it, in plan order.
    pub to: Vec<String>,
    /// Whether it is an output of the model.
    pub to_caller: bool,
    /// How its bytes are coded.
    pub codec: Codec,
    /// How they travel.
    pub channel: Channel,
}

/// What the partitioner expects of one request over the whole plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanPrediction {
    /// Latency of one warm request.
    pub latency_ms: Millis,
    /// Memory-time of one warm request.
    pub memory_time: GibSeconds,
    /// Largest memory limit among the functions.
    pub largest_memory_bytes: ByteCount,
    /// Memory-time that no vertical plan can go below: each layer alone at the
    /// least memory that holds it, no hand-off (docs: cost model).
    pub lower_bound: GibSeconds,
    /// Memory-time of the whole model in one function.
    pub unsplit_memory_time: GibSeconds,
    /// Latency of the whole model in one function.
    pub unsplit_latency_ms: Millis,
    /// Memory limit of the whole model in one function.
    pub unsplit_memory_bytes: ByteCount,
}

/// plan.json
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Format and version.
    pub header: Header,
    /// The model planned for.
    pub model: ModelIdentity,
    /// Digest of the profile's JSON.
    pub profile_digest: Digest,
    /// How symbolic dimensions are bound.
    pub dimensions: BTreeMap<String, u64>,
    /// `optimal`, `similarity`, `uniform=N`, `unsplit` or `manual`.
    pub strategy: String,
    /// Engine the profile measured and the slices run on.
    pub engine: String,
    /// What was asked for.
    pub constraints: Constraints,
    /// Inputs of the model.
    pub inputs: Vec<TensorSpec>,
    /// Outputs of the model.
    pub outputs: Vec<TensorSpec>,
    /// Functions, in an order in which they can run.
    pub slices: Vec<SlicePlan>,
    /// Every tensor that crosses a border, by producer then name.
    pub edges: Vec<Edge>,
    /// What is expected.
    pub prediction: PlanPrediction,
    /// What a reader should know: why not sliced, forced cuts, binding constraints.
    pub notes: Vec<String>,
}

impl Document for Plan {
    const FORMAT: &'static str = "tranche-plan";
    const VERSION: u32 = 1;
}
