//! Coarsening: from nodes to layers, the planner's unit.

use crate::{NodeId, TensorId};

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
