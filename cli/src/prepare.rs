//! From what the user names to a graph that is ready to be profiled and cut.

use crate::arguments::ModelArguments;
use crate::config::Settings;
use crate::failure::Failure;
use crate::inputs;
use crate::printer::Printer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tranche_engine::{Engine, LoadOptions, OutputBuffer};
use tranche_graph::coarsen::{Layer, coarsen};
use tranche_graph::fold::{
    ConstantEvaluator, FoldLimit, FoldReport, fold_constants, fold_shapes, shape_sources,
};
use tranche_graph::{Graph, Model};
use tranche_models::InputHint;
use tranche_schema::{ModelIdentity, Tensor, TensorSpec, exit_code};

/// A model, its folded graph, its layers and its bound inputs.
pub struct Prepared {
    /// The file.
    pub path: PathBuf,
    /// Name and digest of the file.
    pub identity: ModelIdentity,
    /// The graph with constants folded.
    pub graph: Graph,
    /// What folding did.
    pub folded: FoldReport,
    /// Its layers, in the order the planner cuts.
    pub layers: Vec<Layer>,
    /// Values of its inputs, with their types and shapes.
    pub inputs: Vec<(TensorSpec, Tensor)>,
    /// Symbolic dimensions as bound.
    pub dimensions: BTreeMap<String, u64>,
}

/// Finds the file behind a model argument: the file itself, or a catalogue name
/// built or fetched into the cache.
///
/// # Errors
/// When there is neither a file nor a model of that name, or fetching fails.
pub fn locate(model: &str, settings: &Settings, printer: &Printer) -> Result<PathBuf, Failure> {
    let path = Path::new(model);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let named = crate::catalogue::is_known(model);
    if !named && (path.extension().is_some() || model.contains(std::path::MAIN_SEPARATOR)) {
        return Err(Failure::new("model", exit_code::USAGE, format!("there is no file {model}"))
            .hint("pass an ONNX file, or a name from `tranche models list`"));
    }
    crate::catalogue::obtain(model, &settings.cache(), printer)
}

/// Whether a file of an earlier stage is there.
///
/// # Errors
/// When it is not; the hint is the verb that makes it.
pub fn require(path: &Path, verb: &str) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no {}", path.display())).hint(format!("`tranche {verb}` makes it")))
}

/// Loads, checks, folds, binds and coarsens a model.
///
/// # Errors
/// When the model cannot be read or is invalid, or a binding is missing or wrong.
pub fn prepare(
    arguments: &ModelArguments,
    settings: &Settings,
    engine: &dyn Engine,
    printer: &Printer,
) -> Result<Prepared, Failure> {
    let path = locate(&arguments.model, settings, printer)?;
    let loaded = Graph::load(&path)?;
    let stem = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
    let identity = ModelIdentity { name: stem, digest: loaded.model().digest()? };
    let graph_name = loaded.proto().graph.as_ref().map_or("", |graph| graph.name());
    let known = tranche_models::input_hints(&arguments.model)
        .or_else(|_| tranche_models::input_hints(graph_name))
        .ok()
        .filter(|hints| hints.iter().all(|hint| loaded.find_tensor(&hint.name).is_some()));
    let (shapes, dimensions) = bindings(arguments, known)?;
    let bound = loaded.bind(&shapes, &dimensions)?;
    let evaluator = EngineEvaluator { engine };
    let ranges = numbers(&arguments.ranges, "--range", "input_ids=30522")?;
    let source = inputs::Source {
        files: &arguments.inputs,
        ranges: &ranges,
        seed: settings.seed,
        known,
        graph: Some(&loaded),
        random: true,
    };
    let inputs = inputs::values(&bound.inputs, &source)?;
    let specialised = specialise(&loaded, &path, engine, &inputs)?;
    let (graph, folded) = fold_constants(&specialised, Some(&evaluator), FoldLimit::default())?;
    let layers = coarsen(&graph);
    Ok(Prepared { path, identity, graph, folded, layers, inputs, dimensions: bound.dimensions })
}

/// Shapes that the model computes from its inputs, as constants: a plan is made
/// for bound inputs, and no cut should pass a shape on.
fn specialise(
    graph: &Graph,
    path: &Path,
    engine: &dyn Engine,
    inputs: &[(TensorSpec, Tensor)],
) -> Result<Graph, Failure> {
    let wanted = shape_sources(graph);
    if wanted.is_empty() {
        return Ok(graph.clone());
    }
    let specs: Vec<TensorSpec> = inputs.iter().map(|(spec, _)| spec.clone()).collect();
    let views: Vec<_> = inputs.iter().map(|(_, tensor)| tensor.view()).collect();
    let mut known: BTreeMap<String, TensorSpec> =
        specs.iter().map(|spec| (spec.name.clone(), spec.clone())).collect();
    let missing: Vec<String> = wanted.into_iter().filter(|name| !known.contains_key(name)).collect();
    if !missing.is_empty() {
        let found = engine.tensor_specs(path, &specs, &views, &missing)?;
        known.extend(found.into_iter().flatten().map(|spec| (spec.name.clone(), spec)));
    }
    Ok(fold_shapes(graph, &known)?.0)
}

type Shapes = BTreeMap<String, Vec<u64>>;

/// `--shape` and `--dim`; a known model's default shapes where neither is given.
fn bindings(
    arguments: &ModelArguments,
    known: Option<&[InputHint]>,
) -> Result<(Shapes, BTreeMap<String, u64>), Failure> {
    let mut shapes = Shapes::new();
    for text in &arguments.shapes {
        let (name, shape) = split_assignment(text, "--shape", "input=1x3x224x224")?;
        let extents = shape
            .split('x')
            .map(|extent| extent.parse().map_err(|_| wrong(text, "--shape", "input=1x3x224x224")))
            .collect::<Result<_, _>>()?;
        shapes.insert(name.to_owned(), extents);
    }
    let dimensions = numbers(&arguments.dimensions, "--dim", "batch=4")?;
    if let Some(known) = known.filter(|_| dimensions.is_empty()) {
        for hint in known {
            shapes.entry(hint.name.clone()).or_insert_with(|| hint.shape.clone());
        }
    }
    Ok((shapes, dimensions))
}

/// Parses flags of the form `name=number`.
///
/// # Errors
/// When one has another form.
pub fn numbers(texts: &[String], flag: &str, example: &str) -> Result<BTreeMap<String, u64>, Failure> {
    texts
        .iter()
        .map(|text| {
            let (name, number) = split_assignment(text, flag, example)?;
            Ok((name.to_owned(), number.parse().map_err(|_| wrong(text, flag, example))?))
        })
        .collect()
}

fn split_assignment<'a>(text: &'a str, flag: &str, example: &str) -> Result<(&'a str, &'a str), Failure> {
    text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| wrong(text, flag, example))
}

fn wrong(text: &str, flag: &str, example: &str) -> Failure {
    Failure::usage(format!("`{flag} {text}` is not of the form `{flag} {example}`"))
}

/// Folds constants by running them.
struct EngineEvaluator<'a> {
    engine: &'a dyn Engine,
}

impl ConstantEvaluator for EngineEvaluator<'_> {
    fn evaluate(&self, model: &Model, outputs: &[String]) -> Result<Vec<Tensor>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("constants.onnx");
        model.save(&path).map_err(|error| error.to_string())?;
        let options = LoadOptions { optimise: false, ..LoadOptions::default() };
        let mut session =
            self.engine.load(&path, &[], outputs, &options).map_err(|error| error.to_string())?;
        let mut buffers: Vec<OutputBuffer<'_>> = outputs.iter().map(|_| OutputBuffer::Engine(None)).collect();
        session.run(&[], &mut buffers).map_err(|error| error.to_string())?;
        buffers
            .into_iter()
            .map(|buffer| match buffer {
                OutputBuffer::Engine(Some(tensor)) => Ok(tensor),
                _ => Err("the engine left an output empty".to_owned()),
            })
            .collect()
    }
}
