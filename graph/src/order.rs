//! Orders in which layers can run, and what crosses between them.

use crate::coarsen::Layer;
use crate::{Graph, NodeId, TensorId};
use petgraph::graph::DiGraph;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The graph as petgraph sees it: a node each, an edge for each tensor from its
/// producer to each of its consumers. Node indices are node ids.
#[must_use]
pub fn view(graph: &Graph) -> DiGraph<NodeId, TensorId> {
    let mut view = DiGraph::with_capacity(graph.nodes().len(), graph.tensors().len());
    let indices: Vec<_> = graph.node_ids().map(|id| view.add_node(id)).collect();
    for id in graph.node_ids() {
        for tensor in graph.node(id).writes() {
            for consumer in &graph.tensor(tensor).consumers {
                view.add_edge(indices[id.0 as usize], indices[consumer.0 as usize], tensor);
            }
        }
    }
    view
}

/// The graph of layers as petgraph sees it: node indices are places in `layers`,
/// an edge for each tensor and each other layer that reads it.
#[must_use]
pub fn quotient(graph: &Graph, layers: &[Layer]) -> DiGraph<usize, TensorId> {
    let owner = owners(layers);
    let mut quotient = DiGraph::with_capacity(layers.len(), layers.len());
    let indices: Vec<_> = (0..layers.len()).map(|index| quotient.add_node(index)).collect();
    for (index, layer) in layers.iter().enumerate() {
        for &tensor in &layer.outputs {
            let readers: BTreeSet<usize> = graph
                .tensor(tensor)
                .consumers
                .iter()
                .filter_map(|consumer| owner.get(consumer).copied())
                .filter(|&reader| reader != index)
                .collect();
            for reader in readers {
                quotient.add_edge(indices[index], indices[reader], tensor);
            }
        }
    }
    quotient
}

fn owners(layers: &[Layer]) -> HashMap<NodeId, usize> {
    let places = layers.iter().enumerate();
    places.flat_map(|(index, layer)| layer.nodes.iter().map(move |&node| (node, index))).collect()
}

/// Places in `layers` in an order in which they can run that is as close to the
/// file's as can be: of the layers that are ready, the one whose first node is first.
///
/// Layers that depend on each other in a circle are left out; [`crate::coarsen::coarsen`]
/// makes none.
#[must_use]
pub fn file_order(graph: &Graph, layers: &[Layer]) -> Vec<usize> {
    let mut schedule = Schedule::new(graph, layers);
    let mut order = Vec::with_capacity(layers.len());
    while let Some(next) = schedule.ready.iter().copied().min_by_key(|&index| first_node(layers, index)) {
        schedule.run(next);
        order.push(next);
    }
    order
}

/// Places in `layers` in an order in which they can run that finishes a branch
/// before it starts another: of the layers that the last one made ready (else of
/// those made ready most recently), the one after which the fewest bytes are
/// alive by `size`, then the one whose first node is first.
///
/// Greedy: within one branch it has no choice, between branches it looks one
/// layer ahead. As [`file_order`] with circles.
#[must_use]
pub fn branch_contiguous_order(
    graph: &Graph,
    layers: &[Layer],
    size: &dyn Fn(TensorId) -> u64,
) -> Vec<usize> {
    let mut schedule = Schedule::new(graph, layers);
    let mut order = Vec::with_capacity(layers.len());
    // Ready layers by the step that made them ready, latest last.
    let mut fronts: Vec<Vec<usize>> = vec![schedule.ready.iter().copied().collect()];
    while let Some(mut front) = fronts.pop() {
        let best = front
            .iter()
            .copied()
            .enumerate()
            .min_by_key(|&(_, index)| (schedule.growth(index, size), first_node(layers, index)));
        let Some((place, next)) = best else { continue };
        front.swap_remove(place);
        fronts.push(front);
        fronts.push(schedule.run(next));
        order.push(next);
    }
    order
}

fn first_node(layers: &[Layer], index: usize) -> Option<NodeId> {
    layers[index].nodes.first().copied()
}

/// Layers on their way to being run.
struct Schedule<'a> {
    graph: &'a Graph,
    layers: &'a [Layer],
    successors: Vec<BTreeSet<usize>>,
    waiting_for: Vec<usize>,
    ready: BTreeSet<usize>,
    /// For each tensor between layers, the layers that have yet to read it.
    readers: HashMap<TensorId, BTreeSet<usize>>,
    given: HashSet<TensorId>,
}

impl<'a> Schedule<'a> {
    fn new(graph: &'a Graph, layers: &'a [Layer]) -> Self {
        let mut successors = vec![BTreeSet::new(); layers.len()];
        let mut readers: HashMap<TensorId, BTreeSet<usize>> = HashMap::new();
        let mut waiting_for = vec![0; layers.len()];
        let quotient = quotient(graph, layers);
        for edge in quotient.raw_edges() {
            let (from, to) = (edge.source().index(), edge.target().index());
            if successors[from].insert(to) {
                waiting_for[to] += 1;
            }
            readers.entry(edge.weight).or_default().insert(to);
        }
        let ready = (0..layers.len()).filter(|&index| waiting_for[index] == 0).collect();
        let given = graph.outputs().iter().copied().collect();
        Self { graph, layers, successors, waiting_for, ready, readers, given }
    }

    /// Takes a ready layer; gives those that it made ready.
    fn run(&mut self, index: usize) -> Vec<usize> {
        self.ready.remove(&index);
        for tensor in &self.layers[index].inputs {
            if let Some(readers) = self.readers.get_mut(tensor) {
                readers.remove(&index);
            }
        }
        let mut made_ready = Vec::new();
        for &successor in &self.successors[index] {
            self.waiting_for[successor] -= 1;
            if self.waiting_for[successor] == 0 {
                made_ready.push(successor);
            }
        }
        self.ready.extend(&made_ready);
        made_ready
    }

    /// By how much a layer changes the bytes alive.
    fn growth(&self, index: usize, size: &dyn Fn(TensorId) -> u64) -> i128 {
        let layer = &self.layers[index];
        let made: i128 = layer.outputs.iter().map(|&tensor| i128::from(size(tensor))).sum();
        let ended: i128 = layer
            .inputs
            .iter()
            .filter(|&tensor| self.graph.producer(*tensor).is_some() && !self.given.contains(tensor))
            .filter(|tensor| self.readers.get(tensor).is_some_and(|readers| readers.len() == 1))
            .map(|&tensor| i128::from(size(tensor)))
            .sum();
        made - ended
    }
}

/// What crosses the border after a layer, for layers in the order they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Activations written before the border and read after it, in order of writing.
    pub activations: Vec<TensorId>,
    /// Model inputs read after the border, in the graph's order: whoever walks the
    /// request holds them and can give them to whom reads them.
    pub from_caller: Vec<TensorId>,
}

/// Activations that cross the border after the layer at `position`, in the order
/// of `layers`: written by it or before, and read after it. Outputs of the model
/// that nothing after the border reads do not cross it.
#[must_use]
pub fn cut_tensors(graph: &Graph, layers: &[Layer], position: usize) -> Vec<TensorId> {
    cuts(graph, layers).into_iter().nth(position).unwrap_or_default().activations
}

/// Every [`Cut`] of `layers` in the order given, one after each layer; the last is empty.
#[must_use]
pub fn cuts(graph: &Graph, layers: &[Layer]) -> Vec<Cut> {
    let owner = owners(layers);
    let last_reader = |tensor: TensorId| {
        graph.tensor(tensor).consumers.iter().filter_map(|node| owner.get(node).copied()).max()
    };
    let mut cuts = vec![Cut::default(); layers.len()];
    for &input in graph.inputs() {
        for cut in cuts.iter_mut().take(last_reader(input).unwrap_or(0)) {
            cut.from_caller.push(input);
        }
    }
    for (index, layer) in layers.iter().enumerate() {
        for &tensor in &layer.outputs {
            let last = last_reader(tensor).unwrap_or(index);
            for cut in cuts.iter_mut().take(last).skip(index) {
                cut.activations.push(tensor);
            }
        }
    }
    cuts
}
