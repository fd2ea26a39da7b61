//! Values for a model's inputs: the user's, or random ones that make sense.

use crate::failure::Failure;
use crate::tensor_files;
use std::collections::{BTreeMap, HashMap};
use tranche_engine::{RandomHints, random_tensor};
use tranche_graph::{Dimension, Graph, TensorId};
use tranche_models::{InputFill, InputHint};
use tranche_schema::{AlignedBuffer, ElementType, Tensor, TensorSpec};

/// Where input values come from.
pub struct Source<'a> {
    /// `--inputs` arguments.
    pub files: &'a [String],
    /// `--range` bounds, exclusive.
    pub ranges: &'a BTreeMap<String, u64>,
    /// Seed of random values.
    pub seed: u64,
    /// What the catalogue says of the model.
    pub known: Option<&'static [InputHint]>,
    /// The graph, for bounds that its own structure tells.
    pub graph: Option<&'a Graph>,
    /// Whether inputs that no file gives are filled with random values.
    pub random: bool,
}

/// Values for `specs`, in their order.
///
/// # Errors
/// When a file cannot be read or does not fit, a range names no input, or a
/// value is missing and random ones are not allowed.
pub fn values(specs: &[TensorSpec], source: &Source<'_>) -> Result<Vec<(TensorSpec, Tensor)>, Failure> {
    for name in source.ranges.keys() {
        if !specs.iter().any(|spec| &spec.name == name) {
            return Err(Failure::usage(format!("`--range {name}=…` names no input")).hint(names(specs)));
        }
    }
    let mut given: HashMap<String, Tensor> = HashMap::new();
    for file in source.files {
        given.extend(tensor_files::read_tensors(file, specs)?);
    }
    let hints = hints(specs, source);
    specs
        .iter()
        .map(|spec| {
            let tensor = match given.remove(&spec.name) {
                Some(tensor) => tensor,
                None if source.random => match constant(spec, source) {
                    Some(value) => filled(spec, value)?,
                    None => random_tensor(spec, source.seed, &hints)
                        .map_err(|error| Failure::usage(error.to_string()))?,
                },
                None => {
                    return Err(Failure::usage(format!("no value for input `{}`", spec.name))
                        .hint("give it with `--inputs`, or pass `--random`"));
                }
            };
            let spec = TensorSpec { shape: tensor.shape().to_vec(), ..spec.clone() };
            Ok((spec, tensor))
        })
        .collect()
}

fn names(specs: &[TensorSpec]) -> String {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    format!("the inputs are {}", names.join(", "))
}

/// What the catalogue says of the model's inputs, by name.
fn fills(source: &Source<'_>) -> HashMap<&'static str, InputFill> {
    source.known.unwrap_or_default().iter().map(|hint| (hint.name.as_str(), hint.fill)).collect()
}

/// The value that the catalogue wants everywhere in an input.
fn constant(spec: &TensorSpec, source: &Source<'_>) -> Option<u64> {
    match fills(source).get(spec.name.as_str())? {
        InputFill::Ones => Some(1),
        InputFill::Zeros => Some(0),
        InputFill::Whole(value) => Some(*value),
        InputFill::Uniform | InputFill::Below(_) => None,
    }
}

/// A tensor with the same value everywhere; types that are neither whole
/// numbers nor common floats get zeros.
fn filled(spec: &TensorSpec, value: u64) -> Result<Tensor, Failure> {
    let element: Vec<u8> = match spec.element_type {
        ElementType::Float32 => (value as f32).to_le_bytes().to_vec(),
        ElementType::Float64 => (value as f64).to_le_bytes().to_vec(),
        ElementType::Float16 => half::f16::from_f64(value as f64).to_le_bytes().to_vec(),
        ElementType::Int64 | ElementType::UInt64 => value.to_le_bytes().to_vec(),
        ElementType::Int32 | ElementType::UInt32 => (value as u32).to_le_bytes().to_vec(),
        ElementType::Int8 | ElementType::UInt8 | ElementType::Bool => vec![value as u8],
        _ => Vec::new(),
    };
    let mut buffer = AlignedBuffer::zeroed(spec.bytes().0 as usize);
    if !element.is_empty() {
        buffer.as_mut().chunks_exact_mut(element.len()).for_each(|chunk| chunk.copy_from_slice(&element));
    }
    Tensor::new(spec.element_type, spec.shape.clone(), buffer.freeze())
        .map_err(|error| Failure::usage(error.to_string()))
}

/// Bounds of integer inputs: by `--range`, by the catalogue, by the tables that
/// they index in the graph. Others are left to the engine's rule for their name.
fn hints(specs: &[TensorSpec], source: &Source<'_>) -> RandomHints {
    let fills = fills(source);
    let mut hints = RandomHints::default();
    for spec in specs {
        let known = match fills.get(spec.name.as_str()) {
            Some(InputFill::Below(bound)) => Some(*bound),
            _ => None,
        };
        let indexed = || {
            let integer = matches!(spec.element_type, ElementType::Int64 | ElementType::Int32);
            let graph = source.graph.filter(|_| integer && !fills.contains_key(spec.name.as_str()))?;
            indexed_extent(graph, graph.find_tensor(&spec.name)?)
        };
        let bound = source.ranges.get(&spec.name).copied().or(known).or_else(indexed);
        if let Some(bound) = bound {
            hints.integer_limits.insert(spec.name.clone(), bound);
        }
    }
    hints
}

/// The smallest table that the values of `input` index, as far as declared
/// shapes tell: through operators that only move or convert values.
fn indexed_extent(graph: &Graph, input: TensorId) -> Option<u64> {
    const MOVES: &[&str] =
        &["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Expand"];
    let mut smallest: Option<u64> = None;
    let mut pending = vec![input];
    let mut seen = std::collections::HashSet::new();
    while let Some(tensor) = pending.pop() {
        if !seen.insert(tensor) {
            continue;
        }
        for &consumer in &graph.tensor(tensor).consumers {
            let node = graph.node(consumer);
            let position = node.inputs.iter().position(|&read| read == Some(tensor));
            match (node.operator(), position) {
                ("Gather", Some(1)) => {
                    let axis = node.attribute("axis").map_or(0, |attribute| attribute.i());
                    let table = node.inputs.first().copied().flatten();
                    let extent = table.and_then(|table| extent_of(graph, table, axis));
                    smallest = [smallest, extent].into_iter().flatten().min();
                }
                (operator, Some(0)) if MOVES.contains(&operator) => pending.extend(node.writes()),
                ("Gather", Some(0)) => pending.extend(node.writes()),
                _ => {}
            }
        }
    }
    smallest
}

fn extent_of(graph: &Graph, tensor: TensorId, axis: i64) -> Option<u64> {
    let shape = graph.tensor(tensor).shape.as_ref()?;
    let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
    match shape.get(usize::try_from(axis).ok()?)? {
        Dimension::Fixed(extent) => Some(*extent),
        _ => None,
    }
}
