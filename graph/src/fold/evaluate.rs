//! Constant parts, computed by an engine.

use super::{ConstantEvaluator, FoldLimit, FoldReport, has_subgraph, named, rebuild, without_graph};
use crate::coarsen::RANDOM;
use crate::onnx::{GraphProto, ModelProto, TensorProto, ValueInfoProto};
use crate::tensor_data::{Declared, is_external};
use crate::{Graph, GraphError, Model, Node, NodeId, TensorId, TensorKind};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tranche_schema::{ElementType, Tensor};

/// Never folded: engines fuse them with their neighbours, or they have no value to store.
const KEPT: &[&str] = &["QuantizeLinear", "DequantizeLinear", "Constant"];

/// Operators whose results may be far larger than their inputs. They fold when
/// their inputs are stored, so that the size is known beforehand.
const GENERATORS: &[&str] = &["ConstantOfShape", "Expand", "Tile", "Range"];

/// As [`GENERATORS`], but nothing computes their size here: they stay.
const OPAQUE_GENERATORS: &[&str] = &["EyeLike", "OneHot", "Pad", "Resize", "Upsample"];

pub(super) fn fold(
    mut graph: Graph,
    evaluator: &dyn ConstantEvaluator,
    limit: FoldLimit,
    report: &mut FoldReport,
) -> Result<Graph, GraphError> {
    // Names, since ids change from round to round.
    let mut refused: HashSet<String> = HashSet::new();
    loop {
        let parts = constant_parts(&graph, limit, &refused);
        if parts.is_empty() {
            return Ok(graph);
        }
        let mut folded: HashSet<NodeId> = HashSet::new();
        let mut weights = Vec::new();
        for (part, outcome) in parts.iter().zip(evaluate(&graph, evaluator, &parts)?) {
            match outcome.and_then(|tensors| part.check(&graph, tensors, limit)) {
                Ok(stored) => {
                    weights.extend(stored);
                    folded.extend(&part.nodes);
                }
                Err(reason) => {
                    let names: Vec<String> =
                        part.nodes.iter().map(|&id| graph.node(id).name.clone()).collect();
                    report.notes.push(format!("{}: left as it is, {reason}", names.join(", ")));
                    refused.extend(names);
                }
            }
        }
        report.evaluated += folded.len();
        let removed = graph.node_ids().filter(|id| folded.contains(id));
        report.removed_nodes.extend(removed.map(|id| graph.node(id).name.clone()));
        let kept = graph.node_ids().filter(|id| !folded.contains(id)).map(|id| named(&graph, id)).collect();
        graph = rebuild(&graph, kept, weights, graph.source().value_info.clone())?;
    }
}

/// Connected nodes that depend on initialisers only.
struct Part {
    nodes: Vec<NodeId>,
    /// What others read of them.
    outputs: Vec<TensorId>,
}

impl Part {
    /// The results as initialisers, when they are not too large.
    fn check(
        &self,
        graph: &Graph,
        tensors: Vec<Tensor>,
        limit: FoldLimit,
    ) -> Result<Vec<TensorProto>, String> {
        let made: u64 = tensors.iter().map(|tensor| tensor.data().len() as u64).sum();
        let weights: BTreeSet<TensorId> = self
            .nodes
            .iter()
            .flat_map(|&id| graph.node(id).reads())
            .filter(|&tensor| graph.is_initializer(tensor))
            .collect();
        let saved: u64 = weights
            .into_iter()
            .filter(|&weight| graph.tensor(weight).consumers.iter().all(|id| self.nodes.contains(id)))
            .filter_map(|weight| Declared::of(graph.initializer(weight)?).ok()?.bytes)
            .sum();
        if made.saturating_sub(saved) > limit.growth_bytes {
            return Err(format!("since {made} bytes would replace {saved}"));
        }
        let names = self.outputs.iter().map(|&id| graph.tensor(id).name.as_str());
        Ok(names.zip(&tensors).map(|(name, tensor)| stored(name, tensor)).collect())
    }
}

fn stored(name: &str, tensor: &Tensor) -> TensorProto {
    let mut stored = TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(tensor.element_type().to_onnx()),
        dims: tensor.shape().iter().map(|&extent| extent as i64).collect(),
        ..TensorProto::default()
    };
    match tensor.strings() {
        Some(strings) => {
            stored.string_data = strings.iter().map(|text| text.as_bytes().to_vec()).collect();
        }
        None => stored.raw_data = Some(tensor.data().clone()),
    }
    stored
}

fn constant_parts(graph: &Graph, limit: FoldLimit, refused: &HashSet<String>) -> Vec<Part> {
    let given: HashSet<TensorId> = graph.outputs().iter().copied().collect();
    // For each foldable node, its part: the smallest node id of what it is connected to.
    let mut part_of: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let constant = node.reads().all(|tensor| match graph.tensor(tensor).kind {
            TensorKind::Initializer(_) => true,
            TensorKind::Activation(producer) => part_of.contains_key(&producer),
            TensorKind::Input | TensorKind::SparseInitializer(_) => false,
        });
        let wanted = !refused.contains(&node.name) && node.writes().all(|tensor| !given.contains(&tensor));
        if !constant || !wanted || !may_fold(graph, node, limit) {
            continue;
        }
        let joined: BTreeSet<NodeId> = node
            .reads()
            .filter_map(|tensor| part_of.get(&graph.producer(tensor)?).copied())
            .chain([id])
            .collect();
        let first = joined.first().copied().unwrap_or(id);
        part_of.insert(id, first);
        for part in part_of.values_mut().filter(|part| joined.contains(part)) {
            *part = first;
        }
    }
    let mut parts: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (&id, &part) in &part_of {
        parts.entry(part).or_default().push(id);
    }
    parts
        .into_values()
        .map(|nodes| {
            let outside = |tensor: &TensorId| {
                graph.tensor(*tensor).consumers.iter().any(|consumer| !nodes.contains(consumer))
            };
            let outputs = nodes.iter().flat_map(|&id| graph.node(id).writes()).filter(outside).collect();
            Part { nodes, outputs }
        })
        .filter(|part| !part.outputs.is_empty())
        .collect()
}

fn may_fold(graph: &Graph, node: &Node, limit: FoldLimit) -> bool {
    let operator = node.operator();
    let kept = [RANDOM, KEPT, OPAQUE_GENERATORS].iter().any(|table| table.contains(&operator));
    if kept || has_subgraph(&node.proto) || node.writes().next().is_none() {
        return false;
    }
    if GENERATORS.contains(&operator) {
        return generated_elements(graph, node)
            .and_then(|elements| elements.checked_mul(LARGEST_ELEMENT))
            .is_some_and(|bytes| bytes <= limit.growth_bytes);
    }
    true
}

/// Bytes of the widest element of any generator's result (`complex128` aside, which none makes).
const LARGEST_ELEMENT: u64 = 8;

/// How many elements a generator makes, when what it reads is stored.
fn generated_elements(graph: &Graph, node: &Node) -> Option<u64> {
    let input = |index: usize| node.inputs.get(index).copied().flatten();
    let integers = |index: usize| stored_integers(graph, input(index)?);
    let extents = |index: usize| -> Option<Vec<u64>> {
        let dims = &graph.initializer(input(index)?)?.dims;
        dims.iter().map(|&extent| u64::try_from(extent).ok()).collect()
    };
    let product = |extents: &[u64]| extents.iter().try_fold(1_u64, |sum, &extent| sum.checked_mul(extent));
    match node.operator() {
        "ConstantOfShape" => {
            product(&integers(0)?.into_iter().map(|v| v.try_into().ok()).collect::<Option<Vec<_>>>()?)
        }
        // Broadcasting makes no more than the product of both shapes.
        "Expand" | "Tile" => {
            let asked: Vec<u64> =
                integers(1)?.into_iter().map(|value| u64::try_from(value).ok()).collect::<Option<_>>()?;
            product(&asked)?.checked_mul(product(&extents(0)?)?)
        }
        "Range" => match (integers(0)?.as_slice(), integers(1)?.as_slice(), integers(2)?.as_slice()) {
            (&[start], &[end], &[step]) if step != 0 => {
                Some((end.checked_sub(start)?.checked_div(step)?).unsigned_abs().saturating_add(1))
            }
            _ => None,
        },
        _ => None,
    }
}

fn stored_integers(graph: &Graph, tensor: TensorId) -> Option<Vec<i64>> {
    let stored = graph.initializer(tensor)?;
    let bytes = graph.model().tensor_bytes(stored).ok()?;
    match ElementType::from_onnx(stored.data_type())? {
        ElementType::Int64 => {
            Some(bytes.as_chunks::<8>().0.iter().map(|&value| i64::from_le_bytes(value)).collect())
        }
        ElementType::Int32 => {
            Some(bytes.as_chunks::<4>().0.iter().map(|&value| i32::from_le_bytes(value).into()).collect())
        }
        _ => None,
    }
}

/// The results of each part: all at once, or each by itself when that fails.
fn evaluate(
    graph: &Graph,
    evaluator: &dyn ConstantEvaluator,
    parts: &[Part],
) -> Result<Vec<Result<Vec<Tensor>, String>>, GraphError> {
    let all: Vec<&Part> = parts.iter().collect();
    if let Ok(tensors) = run(graph, evaluator, &all)? {
        let mut tensors = tensors.into_iter();
        return Ok(parts
            .iter()
            .map(|part| Ok(tensors.by_ref().take(part.outputs.len()).collect()))
            .collect());
    }
    parts.iter().map(|part| run(graph, evaluator, &[part])).collect()
}

fn run(
    graph: &Graph,
    evaluator: &dyn ConstantEvaluator,
    parts: &[&Part],
) -> Result<Result<Vec<Tensor>, String>, GraphError> {
    let outputs: Vec<String> = parts
        .iter()
        .flat_map(|part| &part.outputs)
        .map(|&tensor| graph.tensor(tensor).name.clone())
        .collect();
    let model = part_model(graph, parts, &outputs)?;
    Ok(evaluator.evaluate(&model, &outputs).and_then(|tensors| {
        if tensors.len() == outputs.len() {
            Ok(tensors)
        } else {
            Err(format!("{} results came for {}", tensors.len(), outputs.len()))
        }
    }))
}

/// A model of these parts alone, weights inline.
fn part_model(graph: &Graph, parts: &[&Part], outputs: &[String]) -> Result<Model, GraphError> {
    let nodes: BTreeSet<NodeId> = parts.iter().flat_map(|part| part.nodes.iter().copied()).collect();
    let weights: BTreeSet<TensorId> = nodes
        .iter()
        .flat_map(|&id| graph.node(id).reads())
        .filter(|&tensor| graph.is_initializer(tensor))
        .collect();
    let initializer = weights
        .into_iter()
        .filter_map(|weight| graph.initializer(weight))
        .map(|weight| inline(graph, weight))
        .collect::<Result<Vec<_>, _>>()?;
    let declared: HashMap<&str, &ValueInfoProto> =
        graph.source().value_info.iter().map(|info| (info.name(), info)).collect();
    let output = outputs
        .iter()
        .map(|name| match declared.get(name.as_str()) {
            Some(&info) => info.clone(),
            None => ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() },
        })
        .collect();
    let source = GraphProto {
        name: Some("constants".to_owned()),
        node: nodes.into_iter().map(|id| named(graph, id)).collect(),
        initializer,
        output,
        ..GraphProto::default()
    };
    let whole = without_graph(graph);
    let proto = ModelProto { graph: Some(source), training_info: Vec::new(), ..whole };
    Ok(Model { proto, folder: None })
}

fn inline(graph: &Graph, weight: &TensorProto) -> Result<TensorProto, GraphError> {
    if !is_external(weight) {
        return Ok(weight.clone());
    }
    Ok(TensorProto {
        name: weight.name.clone(),
        data_type: weight.data_type,
        dims: weight.dims.clone(),
        raw_data: Some(graph.model().tensor_bytes(weight)?),
        ..TensorProto::default()
    })
}
