//! The profile of a model, and of chosen slices.

use crate::child::ChildProgram;
use crate::groups::Groups;
use crate::measure::{MeasureRequest, TensorFile};
use crate::subject::{Copies, Measured, Subject};
use crate::{LayerTimes, ProfilerError, RULE, cache, fit_scaling, mark_dominant, time_layers};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tranche_engine::{Engine, LoadOptions};
use tranche_graph::coarsen::Layer;
use tranche_graph::liveness::peak_live_bytes;
use tranche_graph::{ExternalPolicy, Graph, TensorId};
use tranche_schema::{
    ByteCount, DeviceCost, Digest, Document as _, Environment, LayerProfile, LayerScaling, LinkProfile,
    MilliCpu, ModelIdentity, Profile, ProfileSettings, Tensor, TensorSpec, Timing,
};

/// What to profile, and how.
#[derive(Clone, Copy)]
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
    /// Further CPU shares to run models at.
    pub shares: &'a [MilliCpu],
    /// Whether to look for the smallest memory limit that does not slow, by running.
    pub memory_search: bool,
    /// How measuring processes are started.
    pub child: &'a ChildProgram,
    /// Time that one measuring process may take.
    pub deadline: Duration,
    /// Folder of kept profiles; `None` measures anew and keeps nothing.
    pub cache: Option<&'a Path>,
    /// Measures what hand-off takes here: functions are not this crate's to start.
    pub link: &'a dyn Fn() -> Option<LinkProfile>,
}

/// How far a profile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// CPU or memory cannot be limited here, so less is measured.
    Unlimited {
        /// Why.
        notice: String,
    },
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
                shares: request.shares,
                memory_search: request.memory_search,
                limits: Groups::new().available(),
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
    let groups = groups(progress);
    let threads = request.settings.threads.max(1);
    let whole = whole_cpus(threads);
    let whole_model = ModelFile {
        path: model.clone(),
        files: files_beside(&model)?,
        inputs: request.inputs,
        outputs: &outputs,
        mapped_outputs: &[],
        folder: folder.path(),
    };
    let measured = measure_model(request, &groups, &Copies::default(), whole_model, whole)?;

    let specs: Vec<TensorSpec> = request.inputs.iter().map(|(spec, _)| spec.clone()).collect();
    let views: Vec<_> = request.inputs.iter().map(|(_, tensor)| tensor.view()).collect();
    let names: Vec<Vec<&str>> = request
        .layers
        .iter()
        .map(|layer| layer.nodes.iter().map(|&node| graph.node(node).name.as_str()).collect())
        .collect();
    let counts = thread_counts(request, threads);
    let runs = request.settings.warmup + request.settings.repeats;
    let total = runs * counts.len() as u32;
    let mut by_threads = Vec::new();
    for (index, &threads) in counts.iter().enumerate() {
        let options = LoadOptions { threads: threads as usize, profile: true, ..LoadOptions::default() };
        let mut session = request.engine.load(&model, &specs, &outputs, &options)?;
        let times = time_layers(
            &mut *session,
            &views,
            &names,
            request.settings.warmup,
            request.settings.repeats,
            &mut |done| progress(Progress::Layers { done: index as u32 * runs + done, total }),
        )?;
        by_threads.push((threads, times));
    }
    let scaling = layer_scaling(&by_threads, request.layers.len());
    // The first is of the threads that the whole was measured with.
    let times = by_threads.swap_remove(0).1;

    let mut known = times.tensors;
    known.extend(specs.iter().map(|spec| (spec.name.clone(), spec.clone())));
    known.extend(measured.measurement.outputs.iter().map(|file| (file.spec.name.clone(), file.spec.clone())));
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
    let layers: Vec<_> = times.layers.into_iter().zip(scaling).collect();
    assemble(request, environment, &measured, &layers, &known, &outputs)
}

/// The numbers of threads to time layers with: that of the whole first, then up to the
/// most that a share comes with.
fn thread_counts(request: &ProfileRequest<'_>, threads: u32) -> Vec<u32> {
    let most = request.shares.iter().map(|share| share.threads() as u32).max().unwrap_or(threads);
    let further = (1..=most).filter(|&count| count != threads && request.engine.uses_threads());
    std::iter::once(threads).chain(further).collect()
}

/// The fit of each layer.
fn layer_scaling(by_threads: &[(u32, LayerTimes)], layers: usize) -> Vec<Option<LayerScaling>> {
    (0..layers)
        .map(|layer| {
            let samples: Vec<_> =
                by_threads.iter().map(|(threads, times)| (*threads, times.layers[layer].median_ms)).collect();
            fit_scaling(&samples)
        })
        .collect()
}

/// Control groups; says where they cannot limit CPU or memory.
pub(crate) fn groups(progress: &mut dyn FnMut(Progress)) -> Groups {
    let groups = Groups::new();
    let available = groups.available();
    if !(available.cpu && available.memory) {
        progress(Progress::Unlimited { notice: groups.notice().unwrap_or_default() });
    }
    groups
}

/// Every file in a model's folder.
fn files_beside(model: &Path) -> Result<Vec<PathBuf>, ProfilerError> {
    let folder = model.parent().unwrap_or(Path::new("."));
    let broken = |source| ProfilerError::File { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(broken)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(broken)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn assemble(
    request: &ProfileRequest<'_>,
    environment: Environment,
    measured: &Measured,
    times: &[(Timing, Option<LayerScaling>)],
    known: &BTreeMap<String, TensorSpec>,
    outputs: &[String],
) -> Result<Profile, ProfilerError> {
    let graph = request.graph;
    let size = |id: TensorId| known.get(&graph.tensor(id).name).map_or(0, |spec| spec.bytes().0);
    let order: Vec<_> = request.layers.iter().flat_map(|layer| layer.nodes.iter().copied()).collect();
    let liveness = peak_live_bytes(graph, &order, &size);
    let total_ms: f64 = times.iter().map(|(time, _)| time.median_ms.0).sum();
    let mut all_weights = BTreeSet::new();
    let mut layers = Vec::with_capacity(request.layers.len());
    let mut position = 0;
    for (layer, &(time, scaling)) in request.layers.iter().zip(times) {
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
            scaling,
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
        whole: measured.whole(ByteCount(weights), ByteCount(liveness.peak)),
        layers,
        inner_tensors: inner(graph, known, &crossing),
        codings: Vec::new(),
        tensors: crossing.into_values().collect(),
        slices: Vec::new(),
        link: (request.link)(),
    })
}

/// Activations that cross no border between layers, as far as known.
fn inner(
    graph: &Graph,
    known: &BTreeMap<String, TensorSpec>,
    crossing: &BTreeMap<String, TensorSpec>,
) -> Vec<TensorSpec> {
    let is_inner = |(name, _): &(&String, &TensorSpec)| {
        !crossing.contains_key(*name)
            && graph.find_tensor(name).is_some_and(|id| graph.producer(id).is_some())
    };
    known.iter().filter(is_inner).map(|(_, spec)| spec.clone()).collect()
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

/// A share of as many CPUs.
pub(crate) fn whole_cpus(count: u32) -> MilliCpu {
    MilliCpu(count.saturating_mul(1000))
}

/// A model in a file, and where its measuring may write.
pub(crate) struct ModelFile<'a> {
    /// The ONNX file.
    pub path: PathBuf,
    /// It and what it refers to.
    pub files: Vec<PathBuf>,
    /// Values of its inputs.
    pub inputs: &'a [(TensorSpec, Tensor)],
    /// Outputs wanted.
    pub outputs: &'a [String],
    /// Those of them that go into shared memory.
    pub mapped_outputs: &'a [TensorSpec],
    /// Folder for inputs and outputs.
    pub folder: &'a Path,
}

/// Measures a model as a function of this CPU share.
pub(crate) fn measure_model(
    request: &ProfileRequest<'_>,
    groups: &Groups,
    copies: &Copies,
    model: ModelFile<'_>,
    cpu: MilliCpu,
) -> Result<Measured, ProfilerError> {
    let ModelFile { path: model, files, inputs, outputs, mapped_outputs, folder } = model;
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
    let subject = Subject {
        request: MeasureRequest {
            model,
            inputs,
            outputs: outputs.to_vec(),
            output_folder: Some(output_folder),
            engine: request.engine.name().to_owned(),
            library: request.library.map(Path::to_owned),
            threads: cpu.threads(),
            optimise: request.optimise,
            warmup: request.settings.warmup,
            repeats: request.settings.repeats,
            as_function: false,
            mapped_outputs: mapped_outputs.to_vec(),
        },
        files,
        cpu,
        shares: request.shares,
        uses_threads: request.engine.uses_threads(),
        memory_search: request.memory_search,
        child: request.child,
        groups,
        copies,
        deadline: request.deadline,
    };
    subject.measure()
}

pub(crate) fn temporary_folder() -> Result<tempfile::TempDir, ProfilerError> {
    tempfile::tempdir().map_err(|source| ProfilerError::File { path: std::env::temp_dir(), source })
}
