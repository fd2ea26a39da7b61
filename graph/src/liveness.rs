//! Liveness: how many bytes of activations must be held at once.

use crate::{Graph, NodeId, TensorId};
use std::collections::{HashMap, HashSet};

/// Bytes of activations held while nodes run one after the other.
///
/// Initialisers are never counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// The largest of [`Liveness::per_node`]; 0 when there are no nodes.
    pub peak: u64,
    /// Bytes held while each node runs, its own inputs and outputs included, in
    /// the order the nodes run.
    pub per_node: Vec<u64>,
}

/// Bytes held while a whole graph runs in `order`, which must be an order in
/// which its nodes can run.
///
/// An activation lives from the node that writes it to the last node that reads
/// it; a model input from the start to its last reader (one that nothing reads
/// is not counted); an output of the graph to the end. This is the live-interval
/// computation of linear-scan register allocation (Poletto and Sarkar, "Linear
/// Scan Register Allocation", TOPLAS 21(5), 1999) with the sums over intervals
/// taken by one prefix sum, so it takes time linear in nodes and edges. Sums
/// saturate.
#[must_use]
pub fn peak_live_bytes(graph: &Graph, order: &[NodeId], sizes: &dyn Fn(TensorId) -> u64) -> Liveness {
    slice_peak_live_bytes(graph, order, sizes)
}

/// As [`peak_live_bytes`], for some of the graph's nodes run by themselves, in
/// the order given.
///
/// What they read and do not write is their input, alive from the start to its
/// last reader among them; what nodes outside of them or the caller read is
/// their output, alive to the end.
#[must_use]
pub fn slice_peak_live_bytes(graph: &Graph, nodes: &[NodeId], sizes: &dyn Fn(TensorId) -> u64) -> Liveness {
    let inside: HashSet<NodeId> = nodes.iter().copied().collect();
    let given: HashSet<TensorId> = graph.outputs().iter().copied().collect();
    // First and last position, inclusive, of each tensor.
    let mut intervals: HashMap<TensorId, (usize, usize)> = HashMap::new();
    for (position, &id) in nodes.iter().enumerate() {
        let node = graph.node(id);
        for tensor in node.reads().filter(|&tensor| !graph.is_initializer(tensor)) {
            // An output stays to the end however early its last reader runs.
            let interval = intervals.entry(tensor).or_insert((0, position));
            interval.1 = interval.1.max(position);
        }
        for tensor in node.writes() {
            let escapes = given.contains(&tensor)
                || graph.tensor(tensor).consumers.iter().any(|consumer| !inside.contains(consumer));
            let last = if escapes { nodes.len() - 1 } else { position };
            intervals.insert(tensor, (position, last));
        }
    }
    let mut begins = vec![0_u64; nodes.len() + 1];
    let mut ends = vec![0_u64; nodes.len() + 1];
    for (&tensor, &(first, last)) in &intervals {
        let bytes = sizes(tensor);
        begins[first] = begins[first].saturating_add(bytes);
        ends[last + 1] = ends[last + 1].saturating_add(bytes);
    }
    let mut live = 0_u64;
    let per_node: Vec<u64> = (0..nodes.len())
        .map(|position| {
            live = live.saturating_sub(ends[position]).saturating_add(begins[position]);
            live
        })
        .collect();
    Liveness { peak: per_node.iter().copied().max().unwrap_or(0), per_node }
}
