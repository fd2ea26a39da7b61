//! profile.json: what each layer of a model costs, measured.

use crate::{ByteCount, Codec, Digest, Document, ElementType, Header, MilliCpu, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which model a file speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Name for people: the graph's name or the file's stem.
    pub name: String,
    /// Digest of the model file and of its external data files in name order.
    pub digest: Digest,
}

/// A tensor by name, with its type and concrete shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Name in the ONNX graph.
    pub name: String,
    /// Type of each element.
    pub element_type: ElementType,
    /// Extent of each dimension; empty for a scalar.
    pub shape: Vec<u64>,
}

impl TensorSpec {
    /// Bytes when packed; 0 for strings, whose size only the values tell.
    #[must_use]
    pub fn bytes(&self) -> ByteCount {
        ByteCount(self.element_type.byte_size(&self.shape).unwrap_or(0))
    }
}

/// Where and how a measurement was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Processor name as the system gives it.
    pub cpu_model: String,
    /// Processors usable by this process.
    pub cpu_count: u32,
    /// Operating system and architecture, as `linux-x86_64`.
    pub platform: String,
    /// Engine name: `tract` or `onnxruntime`.
    pub engine: String,
    /// Engine version.
    pub engine_version: String,
    /// Version of tranche.
    pub tranche_version: String,
}

/// Settings of a profiling run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileSettings {
    /// Engine threads.
    pub threads: u32,
    /// Unmeasured runs first.
    pub warmup: u32,
    /// Measured runs.
    pub repeats: u32,
    /// Seed of the random inputs.
    pub seed: u64,
}

/// Times over repeats, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median.
    pub median_ms: Millis,
    /// Interquartile range.
    pub spread_ms: Millis,
    /// Fastest.
    pub minimum_ms: Millis,
    /// Slowest.
    pub maximum_ms: Millis,
}

/// One layer on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceCost {
    /// Time of the layer.
    pub time: Timing,
    /// Share of the sum of all layers' medians, 0 to 1.
    pub time_share: f64,
}

/// Which of a layer's shares stand out from its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDominance {
    /// Time stands out.
    pub time: bool,
    /// Weights plus activations stand out.
    pub memory: bool,
}

/// One layer: the planner's unit, never cut inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerProfile {
    /// Name: that of its first node that is not constant-only.
    pub name: String,
    /// The pattern it was coarsened by, as `conv-activation`, or the operator.
    pub kind: String,
    /// Node names, in graph order.
    pub nodes: Vec<String>,
    /// Bytes of the initialisers it reads; shared ones count in each reader.
    pub weights_bytes: ByteCount,
    /// Bytes of the activations it writes, inner ones included.
    pub activation_bytes: ByteCount,
    /// Bytes of all activations alive while it runs, its inputs included.
    pub peak_live_bytes: ByteCount,
    /// Bytes of the activations that later layers or the caller read.
    pub output_bytes: ByteCount,
    /// Measured on the CPU.
    pub cpu: Option<DeviceCost>,
    /// Measured on a GPU.
    pub gpu: Option<DeviceCost>,
    /// How its time follows the number of threads, where more than one was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<LayerScaling>,
    /// Set when the layer stands out from its neighbours.
    pub resource_dominant: Option<ResourceDominance>,
}

/// Times at one CPU share, held to it by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareSample {
    /// The share; the engine has [`MilliCpu::threads`] threads.
    pub cpu: MilliCpu,
    /// Times of a warm run.
    pub run: Timing,
}

/// How a layer's time follows the number of threads: `serial + parallel / threads`
/// (Amdahl, "Validity of the single processor approach", AFIPS 1967), fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerScaling {
    /// Done by one thread.
    pub serial_ms: Millis,
    /// Divided among threads; its time on one.
    pub parallel_ms: Millis,
    /// Root mean square of the fit's relative errors, 0 where there are no more samples than parts.
    pub error: f64,
    /// Largest number of threads that was measured; beyond it the fit extrapolates.
    pub most_threads: u32,
}

/// What coding a tensor takes and saves, measured on one thread with the values of the profiled request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorCoding {
    /// Name of the tensor.
    pub tensor: String,
    /// The codec.
    pub codec: Codec,
    /// Coded bytes per raw byte.
    pub ratio: f64,
    /// Largest difference between a value and what comes back over the largest value; 0 where
    /// every bit does.
    #[serde(default)]
    pub loss: f64,
    /// Per raw mebibyte.
    pub encode_ms_per_mib: Millis,
    /// Per raw mebibyte.
    pub decode_ms_per_mib: Millis,
}

/// What passing tensors between functions takes on this machine, measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkProfile {
    /// Billed for each request besides its tensors.
    pub per_request_ms: Millis,
    /// The driver's own time for each slice.
    pub driver_ms: Millis,
    /// Sending a mebibyte in the frame.
    pub inline_send_ms_per_mib: Millis,
    /// Receiving a mebibyte in the frame.
    pub inline_receive_ms_per_mib: Millis,
    /// Each tensor in a mapped file.
    pub mapped_fixed_ms: Millis,
    /// Writing a mebibyte to a mapped file.
    pub mapped_send_ms_per_mib: Millis,
    /// Reading a mebibyte from a mapped file.
    pub mapped_receive_ms_per_mib: Millis,
}

/// The whole model run in a process of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WholeProfile {
    /// From file to session.
    pub load_ms: Millis,
    /// First run after loading.
    pub first_run_ms: Millis,
    /// Later runs.
    pub run: Timing,
    /// Resident memory of a process with the engine and no model.
    pub base_memory_bytes: ByteCount,
    /// Highest resident memory while loading and running.
    pub peak_memory_bytes: ByteCount,
    /// Bytes of all initialisers, shared ones once.
    pub weights_bytes: ByteCount,
    /// Highest sum of live activations.
    pub peak_activation_bytes: ByteCount,
    /// From the start of its function's process until it takes requests, page cache cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_up_ms: Option<Millis>,
    /// The smallest memory limit at which the median stays within 5 % of the unlimited
    /// one, page cache evicted beforehand; found by running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<ByteCount>,
    /// Runs at other CPU shares, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ShareSample>,
}

/// A slice measured as it will run: in a process of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceMeasurement {
    /// Layer names, in order: the slice's identity.
    pub layers: Vec<String>,
    /// CPU share it ran with.
    pub cpu: MilliCpu,
    /// What was measured.
    pub whole: WholeProfile,
    /// What its function was billed for each request when deployed: run and hand-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed: Option<Timing>,
}

/// profile.json
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Format and version.
    pub header: Header,
    /// The model measured.
    pub model: ModelIdentity,
    /// How symbolic dimensions were bound: dimension name to extent.
    pub dimensions: BTreeMap<String, u64>,
    /// Settings of the run.
    pub settings: ProfileSettings,
    /// Machine and engine.
    pub environment: Environment,
    /// The rule by which layers are marked resource-dominant.
    pub resource_dominance_rule: String,
    /// Model inputs as bound.
    pub inputs: Vec<TensorSpec>,
    /// Model outputs as measured.
    pub outputs: Vec<TensorSpec>,
    /// The whole model.
    pub whole: WholeProfile,
    /// Layers in the order the planner cuts.
    pub layers: Vec<LayerProfile>,
    /// Every activation that crosses a border between layers, by name order.
    pub tensors: Vec<TensorSpec>,
    /// Every other activation, by name order: what splits of layers are found with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inner_tensors: Vec<TensorSpec>,
    /// Slices measured whole, when any were.
    pub slices: Vec<SliceMeasurement>,
    /// What codecs do to tensors that slices passed on, where they save something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codings: Vec<TensorCoding>,
    /// What hand-off takes, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkProfile>,
}

impl Document for Profile {
    const FORMAT: &'static str = "tranche-profile";
    const VERSION: u32 = 1;
}
