//! The profile of a model, and of chosen slices.

use crate::measure::{MeasureRequest, Measurement, TensorFile, in_process_of_its_own};
use crate::{ProfilerError, RULE, cache, mark_dominant, time_layers};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tranche_engine::{Engine, LoadOptions};
use tranche_graph::coarsen::Layer;
use tranche_graph::liveness::peak_live_bytes;
use tranche_graph::{ExternalPolicy, Graph, TensorId};
use tranche_schema::{
    ByteCount, DeviceCost, Digest, Document as _, Environment, LayerProfile, Manifest, MilliCpu,
    ModelIdentity, Plan, Profile, ProfileSettings, SliceMeasurement, Tensor, TensorSpec,
};

/// What a measuring process is started as.
#[derive(Clone, Debug)]
pub struct ChildProgram {
    /// The program.
    pub program: PathBuf,
    /// Arguments that make it run [`crate::measure::answer`].
    pub arguments: Vec<String>,
}

/// What to profile, and how.
pub struct ProfileRequest<'a> {
    /// The graph, constants folded.
    pub graph: &'a Graph,
    /// Its layers.
    pub layers: &'a [Layer],
    /// Name and digest of the model's file.
    pub identity: &'a ModelIdentity,
    /// Symbolic dimensions as bound.
    pub dimensions: &'a BTreeMap<String, u64>,
    /// Values of the inputs.
    pub inputs: &'a [(TensorSpec, Tensor)],
    /// The engine.
    pub engine: &'a dyn Engine,
    /// Library of the engine, where it was loaded at run time.
    pub library: Option<&'a Path>,
    /// Whether the engine optimises the graph.
    pub optimise: bool,
    /// Threads, runs, seed.
    pub settings: &'a ProfileSettings,
    /// CPU share that the functions will have.
    pub cpu: MilliCpu,
    /// How measuring processes are started.
    pub child: &'a ChildProgram,
    /// Time that one measuring process may take.
    pub deadline: Duration,
    /// Folder of kept profiles; `None` measures anew and keeps nothing.
    pub cache: Option<&'a Path>,
}

/// How far a profile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The whole model is being measured.
    Whole,
    /// So many profiled runs are done.
    Layers {
        /// Runs done.
        done: u32,
        /// Runs in all.
        total: u32,
    },
    /// So many slices are measured.
    Slices {
        /// Slices done.
        done: u32,
        /// Slices in all.
        total: u32,
    },
}

/// The machine and the engine as a profile records them.
#[must_use]
pub fn environment(engine: &dyn Engine) -> Environment {
    Environment {
        cpu_model: tranche_host::cpu_model(),
        cpu_count: tranche_host::usable_cpus() as u32,
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        engine: engine.name().to_owned(),
        engine_version: engine.version(),
        tranche_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Profiles a model: whole in a process of its own, then layer by layer.
///
/// # Errors
/// When the engine refuses the model, a process fails or outlives its deadline,
/// or no shape can be found for a tensor that layers pass on.
pub fn profile(
    request: &ProfileRequest<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Profile, ProfilerError> {
    let environment = environment(request.engine);
    let kept = match request.cache {
        Some(folder) => {
            let specs: Vec<TensorSpec> = request.inputs.iter().map(|(spec, _)| spec.clone()).collect();
            let values: Vec<u8> =
                request.inputs.iter().flat_map(|(_, tensor)| tensor.data().to_vec()).collect();
            let names: Vec<&str> = request.layers.iter().map(|layer| layer.name.as_str()).collect();
            let key = cache::CacheKey {
                model: request.identity,
                dimensions: request.dimensions,
                inputs: &specs,
                environment: &environment,
                settings: request.settings,
                layers: &Digest::of(names.join("\n").as_bytes()),
                values: &Digest::of(&values),
                optimise: request.optimise,
            };
            Some(key.file(folder)?)
        }
        None => None,
    };
    if let Some(found) = kept.as_deref().and_then(cache::load) {
        return Ok(found);
    }
    let found = profile_anew(request, environment, progress)?;
    if let Some(file) = &kept {
        cache::store(file, &found)?;
    }
    Ok(found)
}

fn profile_anew(
    request: &ProfileRequest<'_>,
    environment: Environment,
    progress: &mut dyn FnMut(Progress),
) -> Result<Profile, ProfilerError> {
    let folder = temporary_folder()?;
    let model = folder.path().join("model.onnx");
    let graph = request.graph;
    graph.model().save_external(&model, &ExternalPolicy::default())?;
    let outputs: Vec<String> = graph.outputs().iter().map(|&id| graph.tensor(id).name.clone()).collect();

    progress(Progress::Whole);
    let measurement =
        measure_model(request, folder.path(), &model, request.inputs, &outputs, request.settings.repeats)?;

    let options =
        LoadOptions { threads: request.settings.threads as usize, profile: true, ..LoadOptions::default() };
    let specs: Vec<TensorSpec> = request.inputs.iter().map(|(spec, _)| spec.clone()).collect();
    let views: Vec<_> = request.inputs.iter().map(|(_, tensor)| tensor.view()).collect();
    let mut session = request.engine.load(&model, &specs, &outputs, &options)?;
    let names: Vec<Vec<&str>> = request
        .layers
        .iter()
        .map(|layer| layer.nodes.iter().map(|&node| graph.node(node).name.as_str()).collect())
        .collect();
    let total = request.settings.warmup + request.settings.repeats;
    let times = time_layers(
        &mut *session,
        &views,
        &names,
        request.settings.warmup,
        request.settings.repeats,
        &mut |done| progress(Progress::Layers { done, total }),
    )?;
    drop(session);

    let mut known = times.tensors;
    known.extend(specs.iter().map(|spec| (spec.name.clone(), spec.clone())));
    known.extend(measurement.outputs.iter().map(|file| (file.spec.name.clone(), file.spec.clone())));
    let activations: Vec<String> = graph
        .tensors()
        .iter()
        .enumerate()
        .filter(|(index, tensor)| {
            !graph.is_initializer(TensorId(*index as u32)) && !known.contains_key(&tensor.name)
        })
        .map(|(_, tensor)| tensor.name.clone())
        .collect();
    if !activations.is_empty() {
        let found = request.engine.tensor_specs(&model, &specs, &views, &activations)?;
        known.extend(found.into_iter().flatten().map(|spec| (spec.name.clone(), spec)));
    }
    assemble(request, environment, &measurement, &times.layers, &known, &outputs)
}

fn assemble(
    request: &ProfileRequest<'_>,
    environment: Environment,
    measurement: &Measurement,
    times: &[tranche_schema::Timing],
    known: &BTreeMap<String, TensorSpec>,
    outputs: &[String],
) -> Result<Profile, ProfilerError> {
    let graph = request.graph;
    let size = |id: TensorId| known.get(&graph.tensor(id).name).map_or(0, |spec| spec.bytes().0);
    let order: Vec<_> = request.layers.iter().flat_map(|layer| layer.nodes.iter().copied()).collect();
    let liveness = peak_live_bytes(graph, &order, &size);
    let total_ms: f64 = times.iter().map(|time| time.median_ms.0).sum();
    let mut all_weights = BTreeSet::new();
    let mut layers = Vec::with_capacity(request.layers.len());
    let mut position = 0;
    for (layer, &time) in request.layers.iter().zip(times) {
        all_weights.extend(layer.weights.iter().copied());
        let peak = liveness.per_node[position..position + layer.nodes.len()].iter().copied().max();
        position += layer.nodes.len();
        let written: u64 = layer.nodes.iter().flat_map(|&node| graph.node(node).writes()).map(size).sum();
        let share = if total_ms > 0.0 { time.median_ms.0 / total_ms } else { 0.0 };
        layers.push(LayerProfile {
            name: layer.name.clone(),
            kind: layer.kind.clone(),
            nodes: layer.nodes.iter().map(|&node| graph.node(node).name.clone()).collect(),
            weights_bytes: ByteCount(layer.weights.iter().map(|&id| weight_bytes(graph, id)).sum()),
            activation_bytes: ByteCount(written),
            peak_live_bytes: ByteCount(peak.unwrap_or(0)),
            output_bytes: ByteCount(layer.outputs.iter().map(|&id| size(id)).sum()),
            cpu: Some(DeviceCost { time, time_share: share }),
            gpu: None,
            scaling: None,
            resource_dominant: None,
        });
    }
    mark_dominant(&mut layers);
    let mut crossing = BTreeMap::new();
    for layer in request.layers {
        for &id in layer.inputs.iter().chain(&layer.outputs) {
            let name = &graph.tensor(id).name;
            crossing.insert(name.clone(), spec_of(known, name)?);
        }
    }
    let weights = all_weights.iter().map(|&id| weight_bytes(graph, id)).sum();
    Ok(Profile {
        header: Profile::header(),
        model: request.identity.clone(),
        dimensions: request.dimensions.clone(),
        settings: request.settings.clone(),
        environment,
        resource_dominance_rule: RULE.to_owned(),
        inputs: request.inputs.iter().map(|(spec, _)| spec.clone()).collect(),
        outputs: outputs.iter().map(|name| spec_of(known, name)).collect::<Result<_, _>>()?,
        whole: measurement.whole(ByteCount(weights), ByteCount(liveness.peak)),
        layers,
        tensors: crossing.into_values().collect(),
        slices: Vec::new(),
        link: None,
    })
}

fn spec_of(known: &BTreeMap<String, TensorSpec>, name: &str) -> Result<TensorSpec, ProfilerError> {
    known.get(name).cloned().ok_or_else(|| ProfilerError::UnknownShape { tensor: name.to_owned() })
}

/// Bytes of an initialiser when packed.
fn weight_bytes(graph: &Graph, id: TensorId) -> u64 {
    let Some(tensor) = graph.initializer(id) else { return 0 };
    let shape: Vec<u64> = tensor.dims.iter().map(|&extent| extent.max(0) as u64).collect();
    tranche_schema::ElementType::from_onnx(tensor.data_type())
        .and_then(|element_type| element_type.byte_size(&shape))
        .unwrap_or(0)
}

fn measure_model(
    request: &ProfileRequest<'_>,
    folder: &Path,
    model: &Path,
    inputs: &[(TensorSpec, Tensor)],
    outputs: &[String],
    repeats: u32,
) -> Result<Measurement, ProfilerError> {
    let input_folder = folder.join("inputs");
    let output_folder = folder.join("outputs");
    for path in [&input_folder, &output_folder] {
        std::fs::create_dir_all(path).map_err(|source| ProfilerError::File { path: path.clone(), source })?;
    }
    let inputs = inputs
        .iter()
        .enumerate()
        .map(|(index, (spec, tensor))| TensorFile::write(&input_folder, index, &spec.name, tensor))
        .collect::<Result<Vec<_>, _>>()?;
    let measurement = MeasureRequest {
        model: model.to_owned(),
        inputs,
        outputs: outputs.to_vec(),
        output_folder: Some(output_folder),
        engine: request.engine.name().to_owned(),
        library: request.library.map(Path::to_owned),
        threads: request.settings.threads as usize,
        optimise: request.optimise,
        warmup: request.settings.warmup,
        repeats,
    };
    let child = request.child;
    let run = |what: &MeasureRequest| {
        in_process_of_its_own(&child.program, &child.arguments, what, request.deadline)
    };
    let mut found = run(&measurement)?;
    // Engines that read weights in no fixed order peak higher when the largest comes last.
    let again = MeasureRequest { output_folder: None, warmup: 0, repeats: 1, ..measurement };
    for _ in 0..further_loads(request.engine.name()) {
        found.peak_memory_bytes = found.peak_memory_bytes.max(run(&again)?.peak_memory_bytes);
    }
    Ok(found)
}

/// How many more loads the peak of memory is the highest of. tract holds a copy of
/// the weight at hand while it converts it, and takes weights in an order that
/// differs from load to load.
fn further_loads(engine: &str) -> usize {
    if engine == "tract" { 2 } else { 0 }
}

/// Activations by name, kept between calls of [`measure_slices`]: whatever the
/// cuts, a tensor of one name has one value.
#[derive(Clone, Debug, Default)]
pub struct KnownTensors(BTreeMap<String, Tensor>);

/// Measures each slice of a bundle as it will run: in a process of its own, on
/// the activations that the slices before it make. Slices of which `measured`
/// tells already are left out.
///
/// # Errors
/// As [`profile`].
pub fn measure_slices(
    request: &ProfileRequest<'_>,
    bundle: &Path,
    manifest: &Manifest,
    plan: &Plan,
    measured: &[SliceMeasurement],
    tensors: &mut KnownTensors,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<SliceMeasurement>, ProfilerError> {
    let folder = temporary_folder()?;
    let tensors = &mut tensors.0;
    tensors.extend(request.inputs.iter().map(|(spec, tensor)| (spec.name.clone(), tensor.clone())));
    let mut found = Vec::new();
    let total = plan.slices.len() as u32;
    for (index, (slice, packaged)) in plan.slices.iter().zip(&manifest.slices).enumerate() {
        progress(Progress::Slices { done: index as u32, total });
        let is_measured =
            measured.iter().any(|known| known.layers == slice.layers && known.cpu == request.cpu);
        if is_measured && packaged.outputs.iter().all(|spec| tensors.contains_key(&spec.name)) {
            continue;
        }
        let inputs = packaged
            .inputs
            .iter()
            .map(|spec| {
                let tensor = tensors
                    .get(&spec.name)
                    .ok_or_else(|| ProfilerError::UnknownShape { tensor: spec.name.clone() })?;
                Ok((spec.clone(), tensor.clone()))
            })
            .collect::<Result<Vec<_>, ProfilerError>>()?;
        let outputs: Vec<String> = packaged.outputs.iter().map(|spec| spec.name.clone()).collect();
        let place = folder.path().join(index.to_string());
        let model = bundle.join(&packaged.model);
        let measurement =
            measure_model(request, &place, &model, &inputs, &outputs, request.settings.repeats)?;
        for file in &measurement.outputs {
            tensors.insert(file.spec.name.clone(), file.read()?);
        }
        std::fs::remove_dir_all(&place)
            .map_err(|source| ProfilerError::File { path: place.clone(), source })?;
        found.push(SliceMeasurement {
            layers: slice.layers.clone(),
            cpu: request.cpu,
            whole: measurement.whole(slice.prediction.weights_bytes, slice.prediction.peak_activation_bytes),
            billed: None,
        });
    }
    Ok(found)
}

fn temporary_folder() -> Result<tempfile::TempDir, ProfilerError> {
    tempfile::tempdir().map_err(|source| ProfilerError::File { path: std::env::temp_dir(), source })
}
