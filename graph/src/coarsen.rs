//! Coarsening: from nodes to layers, the planner's unit.
//!
//! A layer is founded by one node of real work (a convolution, a matrix product,
//! a recurrent layer, a look-up, an operator with a body) or by an attention, and
//! takes in the light work around it that an engine fuses with it or that no cut
//! should separate from it. Rules, strongest first: regions of light nodes with
//! one way in and one way out; attention; light groups beside the work they
//! follow; constants and shapes beside what uses them. Each merge is checked to
//! keep the graph of layers acyclic.

mod kind;
mod partition;
mod patterns;
mod roles;

use crate::order::branch_contiguous_order;
use crate::{Graph, NodeId, TensorId};
use partition::Partition;
use std::collections::HashSet;

pub(crate) use roles::RANDOM;

/// Adjacent nodes that are never cut apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of its first node that computes something.
    pub name: String,
    /// The pattern it was found by, as `conv-activation`, or the operator.
    pub kind: String,
    /// Its nodes, in graph order.
    pub nodes: Vec<NodeId>,
    /// Activations and model inputs that it reads from outside, in order of first use.
    pub inputs: Vec<TensorId>,
    /// Activations that it writes and that others or the caller read, in order.
    pub outputs: Vec<TensorId>,
    /// Initialisers that it reads, each once, in order of first use.
    pub weights: Vec<TensorId>,
}

/// The layers of a graph, in an order in which they can run
/// ([`branch_contiguous_order`] with every tensor of equal size).
///
/// Each node is in exactly one layer, and no two layers depend on each other in
/// a circle. The result depends on the graph alone.
#[must_use]
pub fn coarsen(graph: &Graph) -> Vec<Layer> {
    let mut partition = Partition::new(graph);
    patterns::merge_regions(&mut partition);
    let mut in_attention = vec![false; graph.nodes().len()];
    for node in patterns::merge_attention(&mut partition) {
        in_attention[node.0 as usize] = true;
    }
    patterns::merge_light(&mut partition);
    patterns::merge_weak(&mut partition);
    let layers: Vec<Layer> =
        partition.groups().into_iter().map(|group| layer(&partition, group, &in_attention)).collect();
    let order = branch_contiguous_order(graph, &layers, &|_| 1);
    let mut slots: Vec<Option<Layer>> = layers.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| slots[index].take()).collect()
}

fn layer(partition: &Partition<'_>, group: usize, in_attention: &[bool]) -> Layer {
    let graph = partition.graph;
    let nodes = partition.members(group).to_vec();
    let roles = &partition.roles;
    let founder = nodes
        .iter()
        .copied()
        .find(|&node| !roles.role(node).is_weak())
        .or_else(|| nodes.iter().copied().find(|&node| roles.role(node) != roles::Role::Constant))
        .or_else(|| nodes.first().copied());
    let Border { inputs, outputs, weights } = border(graph, &nodes);
    Layer {
        name: founder.map(|node| graph.node(node).name.clone()).unwrap_or_default(),
        kind: kind::layer_kind(graph, roles, &nodes, in_attention),
        nodes,
        inputs,
        outputs,
        weights,
    }
}

/// What passes between some nodes and the rest.
struct Border {
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    weights: Vec<TensorId>,
}

fn border(graph: &Graph, nodes: &[NodeId]) -> Border {
    let inside: HashSet<NodeId> = nodes.iter().copied().collect();
    let given: HashSet<TensorId> = graph.outputs().iter().copied().collect();
    let mut seen = HashSet::new();
    let mut border = Border { inputs: Vec::new(), outputs: Vec::new(), weights: Vec::new() };
    for &id in nodes {
        for tensor in graph.node(id).reads() {
            let inner = graph.producer(tensor).is_some_and(|producer| inside.contains(&producer));
            if inner || !seen.insert(tensor) {
                continue;
            }
            if graph.is_initializer(tensor) {
                border.weights.push(tensor);
            } else {
                border.inputs.push(tensor);
            }
        }
        border.outputs.extend(graph.node(id).writes().filter(|tensor| {
            given.contains(tensor)
                || graph.tensor(*tensor).consumers.iter().any(|consumer| !inside.contains(consumer))
        }));
    }
    border
}
