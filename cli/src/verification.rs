//! Whole against sliced, on the same engine.

use crate::failure::Failure;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tranche_engine::{Engine, LoadOptions, OutputBuffer};
use tranche_schema::{
    Accuracy, AccuracyRecord, Digest, Document as _, Environment, Manifest, OutputComparison, Tensor,
    TensorSpec, Verification, exit_code,
};
use tranche_transport::{CodedTensor, FrameLimits, Placement};

/// The bound for engines that fuse across cuts: fusion and blocked layouts
/// change the order of sums.
pub const FUSED_TOLERANCE: f64 = 1e-5;

/// The bound that holds for vertical cuts: equal bits where the engine computes
/// each operator the same way whatever surrounds it, which ONNX Runtime does with
/// its optimiser off. tract moves axes across operators in any case, which
/// changes the order of sums, and so do parts of a layer whose outputs are added up. The
/// record says whether the bits are equal.
#[must_use]
pub fn default_tolerance(engine: &str, optimised: bool, is_split: bool) -> f64 {
    if engine == "onnxruntime" && !optimised && !is_split { 0.0 } else { FUSED_TOLERANCE }
}

/// Runs a model once and returns its outputs by name.
///
/// # Errors
/// When the engine refuses the model or the inputs.
pub fn run_once(
    engine: &dyn Engine,
    model: &Path,
    inputs: &[(TensorSpec, Tensor)],
    outputs: &[String],
    options: &LoadOptions,
) -> Result<Vec<(String, Tensor)>, Failure> {
    let specs: Vec<TensorSpec> = inputs.iter().map(|(spec, _)| spec.clone()).collect();
    let views: Vec<_> = inputs.iter().map(|(_, tensor)| tensor.view()).collect();
    let mut session = engine.load(model, &specs, outputs, options)?;
    let mut buffers: Vec<OutputBuffer<'_>> = outputs.iter().map(|_| OutputBuffer::Engine(None)).collect();
    session.run(&views, &mut buffers)?;
    outputs
        .iter()
        .zip(buffers)
        .map(|(name, buffer)| match buffer {
            OutputBuffer::Engine(Some(tensor)) => Ok((name.clone(), tensor)),
            _ => Err(Failure::bug(format!("the engine left output `{name}` empty"))),
        })
        .collect()
}

/// Runs the slices of a bundle one after the other and returns the model's outputs. Tensors go
/// through their codecs where those are lossy: what verifies is what runs.
///
/// # Errors
/// When a slice cannot be run, or a tensor that a slice reads was never made.
pub fn run_slices(
    engine: &dyn Engine,
    bundle: &Path,
    manifest: &Manifest,
    inputs: &[(TensorSpec, Tensor)],
    options: &LoadOptions,
) -> Result<Vec<(String, Tensor)>, Failure> {
    let mut tensors: HashMap<String, Tensor> = inputs
        .iter()
        .map(|(spec, tensor)| passed_on(manifest, (spec.name.clone(), tensor.clone())))
        .collect::<Result<_, _>>()?;
    for slice in &manifest.slices {
        let slice_inputs = slice
            .inputs
            .iter()
            .map(|spec| Ok((spec.clone(), take(&tensors, &spec.name, &slice.name)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let outputs: Vec<String> = slice.outputs.iter().map(|spec| spec.name.clone()).collect();
        for made in run_once(engine, &bundle.join(&slice.model), &slice_inputs, &outputs, options)? {
            tensors.extend([passed_on(manifest, made)?]);
        }
    }
    manifest
        .outputs
        .iter()
        .map(|spec| Ok((spec.name.clone(), take(&tensors, &spec.name, "the caller")?)))
        .collect()
}

/// A tensor as those that read it get it.
fn passed_on(manifest: &Manifest, (name, tensor): (String, Tensor)) -> Result<(String, Tensor), Failure> {
    let edge = manifest.edges.iter().find(|edge| edge.tensor.name == name);
    let Some(codec) = edge.map(|edge| edge.codec).filter(|codec| !codec.is_lossless()) else {
        return Ok((name, tensor));
    };
    let coded = CodedTensor::encode(&name, &tensor, codec, Placement::Inline);
    let limits = FrameLimits::default();
    let back = coded.and_then(|coded| coded.decode(&limits, None));
    let tensor = back.map_err(|error| {
        Failure::new("verify", exit_code::UNSUPPORTED_MODEL, error.to_string()).hint(error.hint())
    })?;
    Ok((name, tensor))
}

fn take(tensors: &HashMap<String, Tensor>, name: &str, reader: &str) -> Result<Tensor, Failure> {
    tensors.get(name).cloned().ok_or_else(|| {
        Failure::new(
            "verify",
            exit_code::UNSUPPORTED_MODEL,
            format!("{reader} reads tensor `{name}`, which no slice before it makes"),
        )
        .hint("the bundle's plan is broken; partition and package again")
    })
}

/// What a verification compares.
pub struct Comparison<'a> {
    /// The model file as the user gave it.
    pub model: &'a Path,
    /// The bundle made from it.
    pub bundle: &'a Path,
    /// The bundle's manifest.
    pub manifest: &'a Manifest,
    /// Sets of inputs, each with a name for the record.
    pub inputs: &'a [(String, Vec<(TensorSpec, Tensor)>)],
    /// How both are loaded.
    pub options: &'a LoadOptions,
    /// Where it runs.
    pub environment: Environment,
    /// The bound on the relative difference.
    pub tolerance: f64,
    /// The bound where tensors travel with a lossy codec, in place of that.
    pub accuracy: Option<Accuracy>,
}

/// Compares whole and sliced model over every set of inputs.
///
/// # Errors
/// When either cannot be run. A difference is no error here: see [`Verification::passed`].
pub fn compare(engine: &dyn Engine, comparison: &Comparison<'_>) -> Result<Verification, Failure> {
    let outputs: Vec<String> = comparison.manifest.outputs.iter().map(|spec| spec.name.clone()).collect();
    let mut worst: BTreeMap<String, OutputComparison> = BTreeMap::new();
    let lossy: Vec<String> = comparison
        .manifest
        .edges
        .iter()
        .filter(|edge| !edge.codec.is_lossless())
        .map(|edge| edge.tensor.name.clone())
        .collect();
    let asked = comparison.accuracy.filter(|_| !lossy.is_empty());
    let mut worst_accuracy = asked.map_or(0.0, best);
    for (_, inputs) in comparison.inputs {
        let whole = run_once(engine, comparison.model, inputs, &outputs, comparison.options)?;
        let sliced = run_slices(engine, comparison.bundle, comparison.manifest, inputs, comparison.options)?;
        if let Some(asked) = asked {
            worst_accuracy = asked.worse(worst_accuracy, accuracy_of(asked, &whole, &sliced)?);
        }
        for found in compare_outputs(&whole, &sliced)? {
            let entry = worst.entry(found.name.clone()).or_insert_with(|| found.clone());
            entry.max_absolute_difference = entry.max_absolute_difference.max(found.max_absolute_difference);
            entry.scale = entry.scale.max(found.scale);
            entry.max_relative_difference = entry.max_relative_difference.max(found.max_relative_difference);
            entry.bit_identical &= found.bit_identical;
        }
    }
    let within = |output: &OutputComparison| {
        output.bit_identical
            || (comparison.tolerance > 0.0 && output.max_relative_difference <= comparison.tolerance)
    };
    let outputs: Vec<OutputComparison> = outputs.iter().filter_map(|name| worst.remove(name)).collect();
    Ok(Verification {
        header: Verification::header(),
        bundle_digest: manifest_digest(comparison.bundle)?,
        environment: comparison.environment.clone(),
        engine_optimised: comparison.options.optimise,
        inputs: comparison.inputs.iter().map(|(name, _)| name.clone()).collect(),
        tolerance: comparison.tolerance,
        passed: !outputs.is_empty()
            && match asked {
                Some(asked) => asked.is_kept_by(worst_accuracy),
                None => outputs.iter().all(within),
            },
        accuracy: asked.map(|asked| AccuracyRecord { asked, found: worst_accuracy, tensors: lossy }),
        outputs,
    })
}

/// What a metric says of equal outputs.
fn best(metric: Accuracy) -> f64 {
    if matches!(metric, Accuracy::MaxRelative(_)) { 0.0 } else { 1.0 }
}

/// A metric's value for the worst output.
fn accuracy_of(
    metric: Accuracy,
    reference: &[(String, Tensor)],
    others: &[(String, Tensor)],
) -> Result<f64, Failure> {
    let mut worst = best(metric);
    for (name, whole) in reference {
        let Some((_, other)) = others.iter().find(|(other, _)| other == name) else { continue };
        let found = tranche_engine::accuracy(metric, whole, other).map_err(|error| {
            Failure::new("verify", exit_code::MISMATCH, format!("output `{name}`: {error}"))
        })?;
        worst = metric.worse(worst, found);
    }
    Ok(worst)
}

/// Compares outputs pairwise, in the order of `reference`.
///
/// # Errors
/// When an output is missing or has another type or shape.
pub fn compare_outputs(
    reference: &[(String, Tensor)],
    others: &[(String, Tensor)],
) -> Result<Vec<OutputComparison>, Failure> {
    let mismatch = |message: String| Failure::new("verify", exit_code::MISMATCH, message);
    reference
        .iter()
        .map(|(name, whole)| {
            let (_, other) = others
                .iter()
                .find(|(other, _)| other == name)
                .ok_or_else(|| mismatch(format!("the slices give no output `{name}`")))?;
            let found = tranche_engine::compare(whole, other)
                .map_err(|error| mismatch(format!("output `{name}`: {error}")))?;
            Ok(OutputComparison {
                name: name.clone(),
                max_absolute_difference: found.max_absolute,
                scale: found.scale,
                max_relative_difference: found.max_relative,
                bit_identical: found.bit_identical,
            })
        })
        .collect()
}

/// Digest of a bundle: that of its manifest.
///
/// # Errors
/// When the manifest cannot be read.
pub fn manifest_digest(bundle: &Path) -> Result<Digest, Failure> {
    let path = bundle.join(Manifest::FILE);
    Digest::of_file(&path).map_err(|error| {
        Failure::new(
            "bundle",
            exit_code::UNSUPPORTED_MODEL,
            format!("cannot read {}: {error}", path.display()),
        )
        .hint("pass the folder that `tranche package` made")
    })
}
