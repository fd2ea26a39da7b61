//! Regions of real networks, tiled and by channels, on ONNX Runtime: several layers, with what is read
//! beyond them, between places where one tensor alone is passed on.

use crate::harness::{Whole, onnxruntime};
use std::collections::BTreeSet;
use tranche_graph::split::Division;
use tranche_graph::{Graph, NodeId, TensorId};
use tranche_schema::Join;

fn graph(model: &str) -> Graph {
    Graph::from_model(tranche_models::build(model).unwrap()).unwrap()
}

/// Nodes after which one tensor alone is passed on, with that tensor.
fn cuts(graph: &Graph) -> Vec<(NodeId, TensorId)> {
    let passed_on = |id: NodeId| {
        let made = graph.node_ids().filter(|&node| node <= id).flat_map(|node| graph.node(node).writes());
        let made: BTreeSet<TensorId> = graph.inputs().iter().copied().chain(made).collect();
        let is_read = |tensor: &TensorId| graph.tensor(*tensor).consumers.iter().any(|&reader| reader > id);
        let mut read = made.into_iter().filter(is_read);
        read.next().filter(|_| read.next().is_none()).map(|tensor| (id, tensor))
    };
    graph.node_ids().filter_map(passed_on).collect()
}

/// The region from after the `from`-th to the `to`-th (from 0) of the cuts behind an operator.
fn region(graph: &Graph, operator: &str, range: (usize, usize), shapes: [&[u64]; 2]) -> Whole {
    let cuts: Vec<_> =
        cuts(graph).into_iter().filter(|&(id, _)| graph.node(id).operator() == operator).collect();
    let ((before, input), (last, output)) = (cuts[range.0], cuts[range.1]);
    let nodes: Vec<NodeId> = graph.node_ids().filter(|&id| before < id && id <= last).collect();
    assert!(nodes.len() > 8, "{} nodes", nodes.len());
    Whole::of(graph, &nodes, &[(input, shapes[0]), (output, shapes[1])])
}

fn agrees(whole: &Whole, axis: u32, parts: usize) -> Division {
    whole.agrees_on(&[onnxruntime()], whole.even(axis, parts), parts, 1)
}

/// Tiles of height, and what they do more than the whole.
fn tiles(whole: &Whole) {
    for parts in [2, 4] {
        let division = agrees(whole, 2, parts);
        assert_eq!(division.parts.len(), parts);
        // The halo makes parts overlap, but each is well below the whole.
        for part in &division.parts {
            let shares: Vec<f64> = part.shares.values().copied().collect();
            assert!(shares.iter().sum::<f64>() < 0.95 * shares.len() as f64, "{shares:?}");
        }
    }
}

#[test]
fn residual_blocks() {
    let graph = graph("resnet50");
    // From behind the pooling: the first stage and the first block of the second.
    let image: [&[u64]; 2] = [&[1, 64, 56, 56], &[1, 512, 28, 28]];
    let cuts = cuts(&graph);
    let relus = cuts.iter().filter(|(id, _)| graph.node(*id).operator() == "Relu").count();
    assert_eq!(relus, 17, "one of the first layer, one of each block");
    let first: Vec<NodeId> = graph.node_ids().filter(|&id| cuts[2].0 < id && id <= cuts[10].0).collect();
    let whole = Whole::of(&graph, &first, &[(cuts[2].1, image[0]), (cuts[10].1, image[1])]);
    tiles(&whole);
    agrees(&whole, 1, 2);
}

#[test]
fn mixed_blocks() {
    let graph = graph("inception_v3");
    // The second block of the 35×35 grid.
    let block = region(&graph, "Concat", (0, 1), [&[1, 256, 35, 35], &[1, 288, 35, 35]]);
    tiles(&block);
    for parts in [2, 4] {
        agrees(&block, 1, parts);
    }
    // To the 17×17 grid: a block, and one that reads every second place.
    tiles(&region(&graph, "Concat", (1, 3), [&[1, 288, 35, 35], &[1, 768, 17, 17]]));
    // One whose windows are rows and columns.
    let factored = region(&graph, "Concat", (3, 4), [&[1, 768, 17, 17], &[1, 768, 17, 17]]);
    agrees(&factored, 2, 2);
    agrees(&factored, 3, 2);
}

#[test]
fn convolutions_and_poolings() {
    let graph = graph("vgg16");
    // The second and third of five groups of layers, each with its pooling.
    let whole = region(&graph, "MaxPool", (0, 2), [&[1, 64, 112, 112], &[1, 256, 28, 28]]);
    tiles(&whole);
    agrees(&whole, 1, 2);
}

#[test]
fn steps_of_a_convolutional_lstm() {
    let graph = graph("convlstm");
    // The second step of a layer that has as many channels in as out.
    let steps: Vec<NodeId> = graph
        .node_ids()
        .filter(|&id| graph.node(id).operator() == "Conv")
        .filter(|&id| graph.node(id).inputs[1].is_some_and(|weights| is_square(&graph, weights)))
        .collect();
    let convolution = steps[1];
    let joined = graph.producer(graph.node(convolution).inputs[0].unwrap()).unwrap();
    let gates = graph.node(convolution).outputs[0].unwrap();
    // What follows from the gates until the frame that the next layer reads.
    let nodes = following(&graph, gates);
    let nodes: Vec<NodeId> = [joined, convolution].into_iter().chain(nodes).collect();
    assert_eq!(nodes.len(), 12);
    let extents: &[u64] = &[1, 64, 64, 64];
    let read = nodes.iter().flat_map(|&id| graph.node(id).reads().chain(graph.node(id).writes()));
    let shapes: Vec<(TensorId, &[u64])> =
        read.filter(|&tensor| !graph.is_initializer(tensor)).map(|tensor| (tensor, extents)).collect();
    let whole = Whole::of(&graph, &nodes, &shapes);
    tiles(&whole);
    for parts in [2, 4] {
        let division = agrees(&whole, 1, parts);
        // Hidden and state both come out by channels, and no part makes a gate of another's.
        assert_eq!(division.joins.len(), 2);
        assert!(division.joins.values().all(|join| matches!(join, Join::Concat { axis: 1, .. })));
        let share = 1.0 / parts as f64;
        assert!(division.parts.iter().all(|part| (part.shares[&NodeId(1)] - share).abs() < 1e-9));
    }
}

fn is_square(graph: &Graph, weights: TensorId) -> bool {
    graph.initializer(weights).is_some_and(|stored| stored.dims == [256, 128, 5, 5])
}

/// The ten nodes after the gates, in order.
fn following(graph: &Graph, gates: TensorId) -> Vec<NodeId> {
    let split = graph.tensor(gates).consumers[0];
    graph.node_ids().filter(|&id| id >= split).take(10).collect()
}
