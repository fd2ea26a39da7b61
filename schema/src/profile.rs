//! profile.json: what each layer of a model costs, measured.

use crate::{ByteCount, Digest, Document, ElementType, Header, MilliCpu, Millis};
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
    /// Set when the layer stands out from its neighbours.
    pub resource_dominant: Option<ResourceDominance>,
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
    /// Slices measured whole, when any were.
    pub slices: Vec<SliceMeasurement>,
}

impl Document for Profile {
    const FORMAT: &'static str = "tranche-profile";
    const VERSION: u32 = 1;
}
