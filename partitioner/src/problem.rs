use crate::PlanError;
use crate::horizontal::{Horizontal, Source};
use std::collections::{BTreeMap, HashMap, HashSet};
use tranche_graph::coarsen::Layer;
use tranche_graph::shapes::TensorFacts;
use tranche_graph::{Dimension, Graph, TensorId, TensorKind};
use tranche_schema::{
    ByteCount, Digest, Document as _, LayerScaling, LinkProfile, MilliCpu, Millis, ModelIdentity, Profile,
    SliceMeasurement, TensorCoding, TensorSpec, WholeProfile,
};

/// Above this, sums of sizes could overflow.
const LARGEST_TOTAL_BYTES: u64 = 1 << 60;

/// A node of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemNode {
    /// Its name in the graph.
    pub name: String,
    /// Its place in graph order.
    pub index: u32,
}

/// A layer as the planner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProblemLayer {
    /// Unique name.
    pub name: String,
    /// Pattern or operator.
    pub kind: String,
    /// Its nodes.
    pub nodes: Vec<ProblemNode>,
    /// Median time at the profile's CPU share, not scaled to the fused total.
    pub time: Millis,
    /// Initialisers it reads, as places in [`Problem::weights`], each once.
    pub weights: Vec<usize>,
    /// Bytes of all activations alive while it runs within the whole model.
    pub peak_live: ByteCount,
    /// Part of its time on one thread that threads divide, 0 to 1; 0 where it was not measured.
    pub parallel_share: f64,
    /// Whether its time or memory stands out from its neighbours'.
    pub dominant: bool,
}

/// A tensor that crosses a border between layers, or between a layer and the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct BorderTensor {
    /// Name, type and shape.
    pub spec: TensorSpec,
    /// The layer that writes it; `None` for an input of the model.
    pub producer: Option<usize>,
    /// Layers that read it, ascending, each once.
    pub consumers: Vec<usize>,
    /// Whether it is an output of the model.
    pub to_caller: bool,
}

/// All that planning depends on: layers in a runnable order, what passes
/// between them, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The model planned for.
    pub model: ModelIdentity,
    /// Digest of the profile's JSON.
    pub profile_digest: Digest,
    /// How symbolic dimensions are bound.
    pub dimensions: BTreeMap<String, u64>,
    /// Engine that was measured.
    pub engine: String,
    /// Inputs of the model.
    pub inputs: Vec<TensorSpec>,
    /// Outputs of the model.
    pub outputs: Vec<TensorSpec>,
    /// Layers in the order that is cut.
    pub layers: Vec<ProblemLayer>,
    /// Tensors between them.
    pub tensors: Vec<BorderTensor>,
    /// Bytes of each initialiser.
    pub weights: Vec<ByteCount>,
    /// The whole model, measured.
    pub whole: WholeProfile,
    /// CPU share at which layers and the whole were measured.
    pub profiled_cpu: MilliCpu,
    /// Slices measured whole.
    pub measured: Vec<SliceMeasurement>,
    /// What codecs do to tensors, by name, where it was measured.
    pub codings: BTreeMap<String, Vec<TensorCoding>>,
    /// What hand-off takes on the profiled machine, where it was measured.
    pub link: Option<LinkProfile>,
    /// What is known of splits.
    pub horizontal: Horizontal,
}

impl Problem {
    /// What codecs do to a tensor; nothing where none was measured on it.
    pub(crate) fn codings_of(&self, tensor: &str) -> impl Iterator<Item = &TensorCoding> + Clone + use<'_> {
        self.codings.get(tensor).into_iter().flatten()
    }

    /// The problem of cutting `graph`, coarsened to `layers`, as `profile` measured it.
    ///
    /// # Errors
    /// When the profile is of another model or other layers, or lacks a time or
    /// a shape; when an output of the model is a stored weight.
    pub fn new(
        graph: &Graph,
        layers: &[Layer],
        model: &ModelIdentity,
        profile: &Profile,
    ) -> Result<Self, PlanError> {
        if profile.model.digest != model.digest {
            return Err(PlanError::StaleProfile {
                model: profile.model.name.clone(),
                expected: model.digest.clone(),
                found: profile.model.digest.clone(),
            });
        }
        check_layer_names(layers, profile)?;
        let mut weight_ids = HashMap::new();
        let mut weights = Vec::new();
        let mut problem_layers = Vec::with_capacity(layers.len());
        for (layer, measured) in layers.iter().zip(&profile.layers) {
            let time = measured
                .cpu
                .ok_or_else(|| PlanError::MissingTime { layer: layer.name.clone() })?
                .time
                .median_ms;
            let layer_weights = layer
                .weights
                .iter()
                .map(|&weight| {
                    *weight_ids.entry(weight).or_insert_with(|| {
                        weights.push(weight_bytes(graph, weight));
                        weights.len() - 1
                    })
                })
                .collect();
            problem_layers.push(ProblemLayer {
                name: layer.name.clone(),
                kind: layer.kind.clone(),
                nodes: layer
                    .nodes
                    .iter()
                    .map(|&node| ProblemNode { name: graph.node(node).name.clone(), index: node.0 })
                    .collect(),
                time,
                weights: layer_weights,
                peak_live: measured.peak_live_bytes,
                parallel_share: parallel_share(measured.scaling.as_ref()),
                dominant: measured.resource_dominant.is_some(),
            });
        }
        let profile_json = profile
            .to_json()
            .map_err(|error| PlanError::InvalidProblem(format!("the profile has no JSON form: {error}")))?;
        let problem = Self {
            model: model.clone(),
            profile_digest: Digest::of(profile_json.as_bytes()),
            dimensions: profile.dimensions.clone(),
            engine: profile.environment.engine.clone(),
            inputs: profile.inputs.clone(),
            outputs: profile.outputs.clone(),
            layers: problem_layers,
            tensors: border_tensors(graph, layers, profile)?,
            weights,
            whole: profile.whole.clone(),
            profiled_cpu: MilliCpu(profile.settings.threads.max(1).saturating_mul(1000)),
            measured: profile.slices.clone(),
            codings: by_tensor(&profile.codings),
            link: profile.link,
            horizontal: Horizontal::of(source(graph, layers, profile, weight_ids)),
        };
        problem.check()?;
        Ok(problem)
    }

    /// Checks that the order can be cut: at least one layer; names unique; each
    /// tensor written before it is read; weight ids valid; times finite and not
    /// negative.
    ///
    /// # Errors
    /// When a rule is broken, naming the layer or tensor.
    pub fn check(&self) -> Result<(), PlanError> {
        let fail = |message: String| Err(PlanError::InvalidProblem(message));
        if self.layers.is_empty() {
            return fail("the model has no layer".to_owned());
        }
        let mut layer_names = HashSet::new();
        let mut node_names = HashSet::new();
        for layer in &self.layers {
            if !layer_names.insert(&layer.name) {
                return fail(format!("two layers are named `{}`", layer.name));
            }
            if let Some(node) = layer.nodes.iter().find(|node| !node_names.insert(&node.name)) {
                return fail(format!("node `{}` is in two layers", node.name));
            }
            if !(0.0..=1.0).contains(&layer.parallel_share) {
                return fail(format!(
                    "layer `{}` has a parallel part of {}",
                    layer.name, layer.parallel_share
                ));
            }
            if !layer.time.0.is_finite() || layer.time.0 < 0.0 {
                return fail(format!("layer `{}` takes {} ms", layer.name, layer.time.0));
            }
            if layer.weights.iter().any(|&weight| weight >= self.weights.len()) {
                return fail(format!("layer `{}` reads a weight of unknown size", layer.name));
            }
        }
        let mut tensor_names = HashSet::new();
        for tensor in &self.tensors {
            let name = &tensor.spec.name;
            if !tensor_names.insert(name) {
                return fail(format!("two tensors are named `{name}`"));
            }
            if !tensor.consumers.is_sorted_by(|earlier, later| earlier < later) {
                return fail(format!("the readers of tensor `{name}` are not in order"));
            }
            let written = tensor.producer.map_or(0, |producer| producer + 1);
            let past_end = tensor.consumers.last().map_or(written, |last| last + 1) > self.layers.len();
            if past_end || tensor.consumers.first().is_some_and(|&first| first < written) {
                return fail(format!("tensor `{name}` is read before it is written"));
            }
        }
        let tensor_bytes = self.tensors.iter().map(|tensor| tensor.spec.bytes().0);
        let layer_bytes = self.layers.iter().map(|layer| layer.peak_live.0);
        let every = tensor_bytes.chain(layer_bytes).chain(self.weights.iter().map(|bytes| bytes.0));
        if every.fold(0_u64, u64::saturating_add) > LARGEST_TOTAL_BYTES {
            return fail("tensors and weights add up to more than an exbibyte".to_owned());
        }
        for output in &self.outputs {
            if !self.tensors.iter().any(|tensor| tensor.to_caller && tensor.spec == *output) {
                return fail(format!("nothing writes output `{}`", output.name));
            }
        }
        Ok(())
    }
}

/// The graph with what the profile knows of shapes: where it knows too little of a layer, no rule
/// divides that.
fn source(graph: &Graph, layers: &[Layer], profile: &Profile, weights: HashMap<TensorId, usize>) -> Source {
    let known = profile.inner_tensors.iter().chain(&profile.tensors).chain(&profile.outputs);
    let known = known.map(|spec| (spec.name.clone(), spec.clone())).collect();
    let mut facts = TensorFacts::declared(graph, &profile.inputs, &profile.dimensions);
    facts.measure(graph, &known);
    Source::new(graph, layers, facts, weights)
}

fn by_tensor(codings: &[TensorCoding]) -> BTreeMap<String, Vec<TensorCoding>> {
    let mut found: BTreeMap<String, Vec<TensorCoding>> = BTreeMap::new();
    for coding in codings {
        found.entry(coding.tensor.clone()).or_default().push(coding.clone());
    }
    found
}

fn parallel_share(scaling: Option<&LayerScaling>) -> f64 {
    let Some(scaling) = scaling else { return 0.0 };
    let whole = scaling.serial_ms.0 + scaling.parallel_ms.0;
    if whole > 0.0 { (scaling.parallel_ms.0 / whole).clamp(0.0, 1.0) } else { 0.0 }
}

fn check_layer_names(layers: &[Layer], profile: &Profile) -> Result<(), PlanError> {
    let nothing = || "nothing".to_owned();
    for position in 0..layers.len().max(profile.layers.len()) {
        let expected = layers.get(position).map(|layer| &layer.name);
        let found = profile.layers.get(position).map(|layer| &layer.name);
        if expected != found {
            return Err(PlanError::LayersDiffer {
                position,
                expected: expected.cloned().unwrap_or_else(nothing),
                found: found.cloned().unwrap_or_else(nothing),
            });
        }
    }
    Ok(())
}

/// Bytes of an initialiser by type and shape; 0 where only the values tell
/// (strings, sparse tensors).
fn weight_bytes(graph: &Graph, weight: TensorId) -> ByteCount {
    let tensor = graph.tensor(weight);
    let shape: Option<Vec<u64>> = tensor.shape.as_ref().and_then(|shape| {
        shape
            .iter()
            .map(|dimension| match dimension {
                Dimension::Fixed(extent) => Some(*extent),
                Dimension::Symbol(_) | Dimension::Unknown => None,
            })
            .collect()
    });
    let bytes = tensor.element_type.zip(shape).and_then(|(element, shape)| element.byte_size(&shape));
    ByteCount(bytes.unwrap_or(0))
}

fn border_tensors(
    graph: &Graph,
    layers: &[Layer],
    profile: &Profile,
) -> Result<Vec<BorderTensor>, PlanError> {
    let specs: HashMap<&str, &TensorSpec> = profile
        .tensors
        .iter()
        .chain(&profile.inputs)
        .chain(&profile.outputs)
        .map(|spec| (spec.name.as_str(), spec))
        .collect();
    let outputs: HashSet<TensorId> = graph.outputs().iter().copied().collect();
    let mut producer = HashMap::new();
    let mut consumers: HashMap<TensorId, Vec<usize>> = HashMap::new();
    for (position, layer) in layers.iter().enumerate() {
        producer.extend(layer.outputs.iter().map(|&tensor| (tensor, position)));
        for &tensor in &layer.inputs {
            let readers = consumers.entry(tensor).or_default();
            if readers.last() != Some(&position) {
                readers.push(position);
            }
        }
    }
    let mut seen = HashSet::new();
    let crossing = graph
        .inputs()
        .iter()
        .chain(layers.iter().flat_map(|layer| &layer.outputs))
        .chain(graph.outputs())
        .copied()
        .filter(|&tensor| seen.insert(tensor));
    let mut tensors = Vec::new();
    for tensor in crossing {
        let name = &graph.tensor(tensor).name;
        let to_caller = outputs.contains(&tensor);
        if to_caller && graph.is_initializer(tensor) {
            return Err(PlanError::WeightOutput { tensor: name.clone() });
        }
        let readers = consumers.remove(&tensor).unwrap_or_default();
        if readers.is_empty() && !to_caller {
            continue;
        }
        let spec =
            specs.get(name.as_str()).ok_or_else(|| PlanError::MissingTensor { tensor: name.clone() })?;
        let producer =
            match graph.tensor(tensor).kind {
                TensorKind::Input => None,
                _ => Some(*producer.get(&tensor).ok_or_else(|| {
                    PlanError::InvalidProblem(format!("no layer gives out tensor `{name}`"))
                })?),
            };
        tensors.push(BorderTensor { spec: (*spec).clone(), producer, consumers: readers, to_caller });
    }
    if let Some(&unwritten) = consumers.keys().filter(|&&tensor| !graph.is_initializer(tensor)).min() {
        let name = &graph.tensor(unwritten).name;
        return Err(PlanError::InvalidProblem(format!("no layer gives out tensor `{name}`")));
    }
    Ok(tensors)
}
