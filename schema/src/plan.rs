//! plan.json: which layers run in which function, and what passes between them.

use crate::{
    ByteCount, Digest, Document, GibSeconds, Header, MilliCpu, Millis, ModelIdentity, Patch, Split,
    TensorSpec,
};
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
///
/// All but the last three bring back every bit. Those three are only used on request: they
/// code `float32` alone, and everything else goes as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// As they are.
    #[default]
    Raw,
    /// Zstandard.
    Zstd,
    /// LZ4.
    Lz4,
    /// Zero elements left out, the bytes of the others transposed, each plane of bytes with
    /// Zstandard where that pays.
    ShuffleZstd,
    /// Zero elements left out: a bit an element says which.
    Sparse,
    /// IEEE 754 half precision. A value x comes back within max(2⁻¹¹·|x|, 2⁻²⁵); a tensor with a
    /// finite value that would become infinite (65,520 or more) goes as it is.
    F16,
    /// The upper half of a `float32`, rounded to nearest. A value x comes back within
    /// max(2⁻⁸·|x|, 2⁻¹³⁴); a tensor with a finite value that would become infinite goes as it is.
    Bf16,
    /// Eight bits, with a scale and a zero point a channel: axis 1 from rank 2 on, else the whole
    /// tensor. With the channel's range widened to hold 0, a value comes back within 0.501 times
    /// (largest − smallest) / 255, and 0 as 0; a tensor that holds NaN or infinities, or whose
    /// scale is no normal number, goes as it is.
    Int8,
}

impl Codec {
    /// Every codec.
    pub const ALL: &'static [Self] = &[
        Self::Raw,
        Self::Zstd,
        Self::Lz4,
        Self::ShuffleZstd,
        Self::Sparse,
        Self::F16,
        Self::Bf16,
        Self::Int8,
    ];

    /// The name as written in files and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::ShuffleZstd => "shuffle-zstd",
            Self::Sparse => "sparse",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Whether every bit comes back.
    #[must_use]
    pub const fn is_lossless(self) -> bool {
        !matches!(self, Self::F16 | Self::Bf16 | Self::Int8)
    }
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
        formatter.pad(self.name())
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

/// What a plan's costs are counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CostUnit {
    /// Memory-time, GiB·s: no price is put on it.
    #[default]
    GibSeconds,
    /// US dollars.
    Usd,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Billing {
    /// The time that requests take: functions scale to zero, or are always busy.
    #[default]
    PerRequest,
    /// Replicas, whether requests come or not.
    AlwaysOn,
}

impl Billing {
    /// As files and flags spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerRequest => "per-request",
            Self::AlwaysOn => "always-on",
        }
    }
}

impl fmt::Display for Billing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The prices a plan was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPricing {
    /// Name of the price file.
    pub name: String,
    /// Day on which its list was read.
    pub date: String,
    /// What costs are counted in.
    pub unit: CostUnit,
    /// What is paid for.
    pub billing: Billing,
}

/// The requests a plan was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanWorkload {
    /// Share of requests that meet functions that are not started, 0 to 1.
    pub cold_fraction: f64,
    /// Requests a second, where given.
    pub rate_per_second: Option<f64>,
    /// How long an idle function is kept, where given: the cold fraction follows from it and the rate.
    pub keep_alive_seconds: Option<f64>,
}

/// How far lossy codecs may move outputs, over the inputs tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accuracy {
    /// Largest difference of an element over the output's largest, at most.
    MaxRelative(f64),
    /// Cosine of the angle between the output and the exact one, at least.
    Cosine(f64),
    /// Share of rows along the last axis whose largest element is at the same place, at least.
    #[serde(rename = "top-1")]
    Top1(f64),
}

impl Accuracy {
    /// Name of the metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxRelative(_) => "max-relative",
            Self::Cosine(_) => "cosine",
            Self::Top1(_) => "top-1",
        }
    }

    /// The bound.
    #[must_use]
    pub const fn bound(self) -> f64 {
        match self {
            Self::MaxRelative(bound) | Self::Cosine(bound) | Self::Top1(bound) => bound,
        }
    }

    /// Whether what was found keeps the bound.
    #[must_use]
    pub fn is_kept_by(self, found: f64) -> bool {
        match self {
            Self::MaxRelative(most) => found <= most,
            Self::Cosine(least) | Self::Top1(least) => found >= least,
        }
    }

    /// Whichever of two outputs' values is worse.
    #[must_use]
    pub fn worse(self, left: f64, right: f64) -> f64 {
        match self {
            Self::MaxRelative(_) => left.max(right),
            Self::Cosine(_) | Self::Top1(_) => left.min(right),
        }
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if matches!(self, Self::MaxRelative(_)) { "at most" } else { "at least" };
        write!(formatter, "{} {sign} {}", self.name(), self.bound())
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
    /// Longest predicted latency of a request that meets no started function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_latency_ms: Option<Millis>,
    /// Largest bytes of weights of a slice: what its package may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_weights_bytes: Option<ByteCount>,
    /// Most parts that layers may be split into; `None` or 1 for no splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parts: Option<u32>,
    /// The lossy codec that tensors may take, where one is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lossy: Option<Codec>,
    /// How far that may move outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
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
    /// What one request is charged here, start-up included by the cold fraction; in the plan's unit.
    #[serde(default)]
    pub cost: f64,
    /// From the start of its process until it takes requests.
    #[serde(default)]
    pub start_up_ms: Millis,
    /// Bytes of its initialisers.
    pub weights_bytes: ByteCount,
    /// Highest sum of its live activations.
    pub peak_activation_bytes: ByteCount,
}

/// Nodes of a slice that are a model of their own in its function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPlan {
    /// Its layers, in order.
    pub layers: Vec<String>,
    /// Node names, in graph order.
    pub nodes: Vec<String>,
    /// Tensors it reads of other members or that the slice reads.
    pub inputs: Vec<TensorSpec>,
    /// Tensors it writes for other members, later slices or the caller.
    pub outputs: Vec<TensorSpec>,
    /// Engine threads.
    pub threads: u32,
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
    /// Models that make the slice, handing tensors on in memory: parts of layers that run at
    /// once in one function. Empty where it is one model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberPlan>,
    /// What is expected.
    pub prediction: SlicePrediction,
    /// Why the slice ends where it ends.
    pub reason: String,
    /// What the best plan without the cut at its end would cost more, as a share of the
    /// plan's cost; none for the last slice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_cut: Option<f64>,
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
    /// What one request is charged, in the plan's unit.
    #[serde(default)]
    pub cost: f64,
    /// Charge that no vertical plan can go below, in the plan's unit.
    #[serde(default)]
    pub cost_lower_bound: f64,
    /// What one request to the whole model in one function is charged, at its best size.
    #[serde(default)]
    pub unsplit_cost: f64,
    /// CPU share of the whole model in one function, at its best size.
    #[serde(default)]
    pub unsplit_cpu_milli: MilliCpu,
    /// Latency of a request that meets no started function; all start when it arrives.
    #[serde(default)]
    pub cold_latency_ms: Millis,
    /// The same of the whole model in one function.
    #[serde(default)]
    pub unsplit_cold_latency_ms: Millis,
    /// Latencies that half and all but a hundredth of requests keep, simulated at the workload's cold fraction.
    #[serde(default)]
    pub p50_ms: Millis,
    /// See `p50_ms`.
    #[serde(default)]
    pub p99_ms: Millis,
    /// p99 of the whole model in one function.
    #[serde(default)]
    pub unsplit_p99_ms: Millis,
}

/// A point that no other plan beats in both cost and latency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// What one request is charged, in the plan's unit.
    pub cost: f64,
    /// Latency of one warm request.
    pub latency_ms: Millis,
    /// Latency of a request that meets no started function.
    pub cold_latency_ms: Millis,
    /// Memory-time of one warm request.
    pub memory_time: GibSeconds,
    /// Largest memory limit among the functions.
    pub largest_memory_bytes: ByteCount,
    /// Number of functions.
    pub slices: u32,
    /// Whether the plan is this point.
    pub chosen: bool,
}

/// The plans that no other beats in both cost and latency, by rising latency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frontier {
    /// Whether all such plans over the orders tried are here; else only those on the convex hull
    /// and what lies between them as far as it was searched.
    pub complete: bool,
    /// The points.
    pub points: Vec<FrontierPoint>,
}

/// How far a measured deployment was from the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// Rounds of measuring and planning again.
    pub rounds: u32,
    /// Billed time predicted before the last measurement.
    pub predicted_ms: Millis,
    /// Billed time measured.
    pub measured_ms: Millis,
    /// Largest relative difference of one slice's billed time.
    pub largest_of_a_slice: f64,
}

impl Residual {
    /// Relative difference of the billed times: measured / predicted − 1.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.predicted_ms.0 > 0.0 { self.measured_ms.0 / self.predicted_ms.0 - 1.0 } else { 0.0 }
    }
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
    /// Layers that run as parts at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    /// What splits change in the graph that slices are cut out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
    /// What is expected.
    pub prediction: PlanPrediction,
    /// The prices it was made for.
    #[serde(default)]
    pub pricing: PlanPricing,
    /// The requests it was made for.
    #[serde(default)]
    pub workload: PlanWorkload,
    /// How the layers were ordered before they were cut: `graph`, `branches`, `small-cuts` or `light-first`.
    #[serde(default)]
    pub order: String,
    /// Plans that are not beaten; empty for strategies that do not search.
    #[serde(default)]
    pub frontier: Frontier,
    /// Prediction against measurement, after the slices were measured as deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
    /// What a reader should know: why not sliced, forced cuts, binding constraints.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether the whole model runs in one function as one model.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.slices.as_slice(), [slice] if slice.members.is_empty())
    }
}

impl Document for Plan {
    const FORMAT: &'static str = "tranche-plan";
    const VERSION: u32 = 1;
}
