//! Nodes that only rename a tensor.

use super::{FoldReport, named, rebuild};
use crate::onnx::ValueInfoProto;
use crate::{Graph, GraphError, Node, NodeId, TensorId};
use std::collections::{HashMap, HashSet};

pub(super) fn fold(graph: &Graph, report: &mut FoldReport) -> Result<Graph, GraphError> {
    let names = Names::new(graph);
    let mut nodes = Vec::with_capacity(graph.nodes().len());
    for id in graph.node_ids() {
        if names.removed.contains(&id) {
            report.identities += 1;
            report.removed_nodes.push(graph.node(id).name.clone());
            continue;
        }
        let node = graph.node(id);
        let mut proto = named(graph, id);
        let sides =
            proto.input.iter_mut().zip(&node.inputs).chain(proto.output.iter_mut().zip(&node.outputs));
        for (name, tensor) in sides {
            if let Some(tensor) = tensor {
                names.of(graph, *tensor).clone_into(name);
            }
        }
        nodes.push(proto);
    }
    rebuild(graph, nodes, Vec::new(), names.declarations(graph))
}

/// What each tensor is called once nodes that only rename are gone.
struct Names {
    removed: HashSet<NodeId>,
    /// For the output of a removed node, the tensor that it stands for.
    stands_for: HashMap<TensorId, TensorId>,
    /// Tensors that take the name of a model output.
    called: HashMap<TensorId, TensorId>,
}

impl Names {
    fn new(graph: &Graph) -> Self {
        let captured: HashSet<TensorId> =
            graph.nodes().iter().flat_map(|node| node.captures.iter().copied()).collect();
        let annotated: HashSet<TensorId> = graph
            .source()
            .quantization_annotation
            .iter()
            .filter_map(|annotation| graph.find_tensor(annotation.tensor_name()))
            .collect();
        let given: HashSet<TensorId> = graph.outputs().iter().copied().collect();
        let fixed = |tensor: TensorId| captured.contains(&tensor) || annotated.contains(&tensor);
        let mut names = Self { removed: HashSet::new(), stands_for: HashMap::new(), called: HashMap::new() };
        for id in graph.node_ids() {
            let Some((input, output)) = renames(graph, graph.node(id)) else { continue };
            if fixed(output) {
                continue;
            }
            let input = names.stands_for.get(&input).copied().unwrap_or(input);
            if given.contains(&output) {
                // The tensor takes the output's name, once, if a node computes it.
                let free = graph.producer(input).is_some() && !given.contains(&input) && !fixed(input);
                if !free || names.called.contains_key(&input) {
                    continue;
                }
                names.called.insert(input, output);
            }
            names.stands_for.insert(output, input);
            names.removed.insert(id);
        }
        names
    }

    /// Declarations under the new names: what was said of a removed node's output
    /// holds for what it stands for.
    fn declarations(&self, graph: &Graph) -> Vec<ValueInfoProto> {
        let source = graph.source();
        let mut declared: HashSet<String> = source.output.iter().map(|info| info.name().to_owned()).collect();
        let mut kept = Vec::with_capacity(source.value_info.len());
        // A tensor's own declaration goes before those of its other names.
        let (other, own): (Vec<_>, Vec<_>) = source.value_info.iter().partition(|info| {
            graph.find_tensor(info.name()).is_some_and(|tensor| self.stands_for.contains_key(&tensor))
        });
        for info in own.into_iter().chain(other) {
            let Some(tensor) = graph.find_tensor(info.name()) else { continue };
            let name = self.of(graph, tensor).to_owned();
            if declared.insert(name.clone()) {
                kept.push(ValueInfoProto { name: Some(name), ..info.clone() });
            }
        }
        kept
    }

    fn of<'g>(&self, graph: &'g Graph, tensor: TensorId) -> &'g str {
        let origin = self.stands_for.get(&tensor).copied().unwrap_or(tensor);
        let called = self.called.get(&origin).copied().unwrap_or(origin);
        &graph.tensor(called).name
    }
}

/// Input and output of a node that gives its input unchanged.
fn renames(graph: &Graph, node: &Node) -> Option<(TensorId, TensorId)> {
    if !node.domain().is_empty() {
        return None;
    }
    let renames = match node.operator() {
        "Identity" => true,
        "Dropout" => is_inactive_dropout(graph, node),
        _ => false,
    };
    let input = node.inputs.first().copied().flatten()?;
    let output = node.outputs.first().copied().flatten()?;
    renames.then_some((input, output))
}

/// Whether a `Dropout` drops nothing: from operator set 7 on it is for training
/// only, from 12 on when its third input says so; its mask must not be read.
fn is_inactive_dropout(graph: &Graph, node: &Node) -> bool {
    let version = graph
        .proto()
        .opset_import
        .iter()
        .find(|import| matches!(import.domain(), "" | "ai.onnx"))
        .map_or(0, |import| import.version());
    let mask_unread = node
        .outputs
        .iter()
        .skip(1)
        .flatten()
        .all(|&mask| graph.tensor(mask).consumers.is_empty() && !graph.outputs().contains(&mask));
    let training = match node.inputs.get(2).copied().flatten() {
        None => false,
        Some(mode) => graph
            .initializer(mode)
            .and_then(|stored| graph.model().tensor_bytes(stored).ok())
            .is_none_or(|bytes| bytes.iter().any(|&byte| byte != 0)),
    };
    version >= 7 && mask_unread && !training
}
