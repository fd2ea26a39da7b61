//! Layers, drawings and halves of a graph.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use tranche_graph::coarsen::{Layer, coarsen};
use tranche_graph::{Extracted, Graph, NodeId, TensorId};
use tranche_schema::{ElementType, TensorSpec};

/// Each node is in exactly one layer, and each layer reads what the caller or an earlier
/// layer gives.
pub fn layers_partition_the_nodes(graph: &Graph) -> Vec<Layer> {
    let layers = coarsen(graph);
    let mut nodes: Vec<NodeId> = layers.iter().flat_map(|layer| layer.nodes.iter().copied()).collect();
    nodes.sort_unstable();
    assert!(nodes.into_iter().eq(graph.node_ids()), "the layers are no partition");
    let mut known: HashSet<TensorId> = graph.inputs().iter().copied().collect();
    for layer in &layers {
        assert!(layer.inputs.iter().all(|tensor| known.contains(tensor)), "{} runs too early", layer.name);
        known.extend(&layer.outputs);
    }
    assert!(graph.outputs().iter().all(|tensor| known.contains(tensor) || graph.is_initializer(*tensor)));
    layers
}

/// The text has a line, the drawing a box for each node.
pub fn draw(graph: &Graph, layers: &[Layer]) {
    let text = graph.to_string();
    for node in graph.nodes() {
        let outputs: Vec<&str> = node.writes().map(|tensor| graph.tensor(tensor).name.as_str()).collect();
        assert!(outputs.iter().all(|name| text.contains(name)), "{} is not in the text", node.name);
    }
    let clusters: Vec<_> = layers.iter().map(|layer| (layer.name.clone(), layer.nodes.clone())).collect();
    for drawing in [graph.to_dot(None), graph.to_dot(Some(&clusters))] {
        let boxes = graph.node_ids().filter(|id| drawing.contains(&format!("n{} [label=", id.0)));
        assert_eq!(boxes.count(), graph.nodes().len());
    }
}

/// Both halves of a graph are models that load, with exactly the tensors that cross as
/// inputs and outputs. They are written beside the graph's external data, which they share.
pub fn cut_in_the_middle(graph: &Graph, layers: &[Layer]) {
    let folder = graph.model().folder.as_deref().unwrap();
    // A model of one layer is one half, and the other is nothing.
    let (first, second) = layers.split_at(layers.len().div_ceil(2));
    for (name, half) in [("first half", first), ("second half", second)] {
        let nodes: BTreeSet<NodeId> = half.iter().flat_map(|layer| layer.nodes.iter().copied()).collect();
        if nodes.is_empty() {
            assert_eq!(layers.len(), 1);
            continue;
        }
        let (inputs, outputs) = crossing(graph, &nodes);
        let ids: Vec<NodeId> = nodes.into_iter().collect();
        let part = graph.extract_with(&ids, name, &stand_ins(graph)).unwrap();
        assert_eq!((&part.inputs, &part.outputs), (&inputs, &outputs), "{name}");
        reload(&part, ids.len(), &folder.join("half.onnx"));
    }
}

/// The part as a file is a valid model with the inputs and outputs that it is said to have.
fn reload(part: &Extracted, nodes: usize, path: &Path) {
    part.model.save(path).unwrap();
    let again = Graph::load(path).unwrap();
    again.verify().unwrap();
    assert_eq!(again.nodes().len(), nodes);
    let names = |ids: &[TensorId]| ids.iter().map(|&id| again.tensor(id).name.clone()).collect::<Vec<_>>();
    assert_eq!((names(again.inputs()), names(again.outputs())), (part.inputs.clone(), part.outputs.clone()));
    std::fs::remove_file(path).unwrap();
}

/// Names of what some nodes read and do not write, in order of first use, and of what they
/// write and others read, in order of production. By names alone, unlike what is tested.
fn crossing(graph: &Graph, nodes: &BTreeSet<NodeId>) -> (Vec<String>, Vec<String>) {
    let name = |tensor: TensorId| graph.tensor(tensor).name.as_str();
    let outside = graph.node_ids().filter(|id| !nodes.contains(id));
    let mut wanted: HashSet<&str> = outside.flat_map(|id| graph.node(id).reads().map(name)).collect();
    wanted.extend(graph.source().output.iter().map(|output| output.name()));
    let stored: HashSet<&str> = graph.source().initializer.iter().map(|weight| weight.name()).collect();
    let inside = || nodes.iter().map(|&id| graph.node(id));
    let written: Vec<&str> = inside().flat_map(|node| node.writes().map(name)).collect();
    let mut seen: HashSet<&str> = written.iter().copied().chain(stored).collect();
    let read = inside().flat_map(|node| node.reads().map(name)).filter(|name| seen.insert(name));
    let read = read.map(str::to_owned).collect();
    (read, written.into_iter().filter(|name| wanted.contains(name)).map(str::to_owned).collect())
}

/// Types of the tensors of which the file says none: an engine measures them, and here no
/// engine runs.
fn stand_ins(graph: &Graph) -> BTreeMap<String, TensorSpec> {
    let unknown = graph.tensors().iter().filter(|tensor| tensor.element_type.is_none());
    unknown
        .map(|tensor| {
            let spec =
                TensorSpec { name: tensor.name.clone(), element_type: ElementType::Float32, shape: vec![1] };
            (tensor.name.clone(), spec)
        })
        .collect()
}
