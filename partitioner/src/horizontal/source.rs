//! The graph that a problem was made of.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tranche_graph::coarsen::Layer;
use tranche_graph::shapes::TensorFacts;
use tranche_graph::split::{DividedPart, effort};
use tranche_graph::{Graph, NodeId, TensorId};

/// A graph with its layers and the shapes of its tensors. Equal only to itself and its clones.
#[derive(Clone)]
pub struct Source(Arc<Known>);

struct Known {
    graph: Graph,
    layers: Vec<Layer>,
    facts: TensorFacts,
    weights: HashMap<TensorId, usize>,
    efforts: Vec<f64>,
}

impl Source {
    /// `weights` are the places of initialisers in the problem's list.
    #[must_use]
    pub fn new(
        graph: &Graph,
        layers: &[Layer],
        facts: TensorFacts,
        weights: HashMap<TensorId, usize>,
    ) -> Self {
        let efforts = graph.node_ids().map(|node| effort(graph, &facts, node)).collect();
        Self(Arc::new(Known { graph: graph.clone(), layers: layers.to_vec(), facts, weights, efforts }))
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.0.graph
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.0.layers
    }

    pub(crate) fn facts(&self) -> &TensorFacts {
        &self.0.facts
    }

    /// The place of an initialiser in the problem's list.
    pub(crate) fn weight(&self, tensor: TensorId) -> Option<usize> {
        self.0.weights.get(&tensor).copied()
    }

    /// Share of a layer's work that a part does.
    pub(crate) fn share(&self, layer: &Layer, part: &DividedPart) -> f64 {
        let all: f64 = layer.nodes.iter().map(|&node| self.effort(node)).sum();
        let done = layer.nodes.iter().filter_map(|node| Some(self.effort(*node) * part.shares.get(node)?));
        if all > 0.0 { done.sum::<f64>() / all } else { 0.0 }
    }

    /// How much work a node is, beside others of its layer.
    pub(crate) fn effort(&self, node: NodeId) -> f64 {
        self.0.efforts.get(node.0 as usize).copied().unwrap_or(1.0)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("layers", &self.0.layers.len()).finish_non_exhaustive()
    }
}
