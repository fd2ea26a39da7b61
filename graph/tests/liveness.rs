//! Liveness against its definition.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod build;

use build::{Build, any_graph};
use proptest::prelude::*;
use tranche_graph::liveness::{Liveness, peak_live_bytes, slice_peak_live_bytes};
use tranche_graph::{Graph, NodeId, TensorId};

/// Whether a tensor is held while `nodes[position]` runs, straight from the definition.
fn is_live(graph: &Graph, nodes: &[NodeId], position: usize, tensor: TensorId) -> bool {
    let reads = |id: &NodeId| graph.node(*id).reads().any(|read| read == tensor);
    let written_at = nodes.iter().position(|&id| graph.node(id).writes().any(|written| written == tensor));
    let read_later = nodes[position..].iter().any(reads);
    match written_at {
        None => read_later,
        Some(at) if at > position => false,
        Some(at) => {
            let escapes = graph.outputs().contains(&tensor)
                || graph.tensor(tensor).consumers.iter().any(|id| !nodes.contains(id));
            at == position || read_later || escapes
        }
    }
}

fn naive(graph: &Graph, nodes: &[NodeId], sizes: &dyn Fn(TensorId) -> u64) -> Liveness {
    let activations: Vec<TensorId> =
        (0..graph.tensors().len() as u32).map(TensorId).filter(|&id| !graph.is_initializer(id)).collect();
    let per_node: Vec<u64> = (0..nodes.len())
        .map(|position| {
            activations.iter().filter(|&&id| is_live(graph, nodes, position, id)).map(|&id| sizes(id)).sum()
        })
        .collect();
    Liveness { peak: per_node.iter().copied().max().unwrap_or(0), per_node }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn agrees_with_the_definition(graph in any_graph(25), seed in any::<u64>()) {
        let sizes = |tensor: TensorId| seed.rotate_left(tensor.0) >> 32;
        let order: Vec<NodeId> = graph.node_ids().collect();
        prop_assert_eq!(peak_live_bytes(&graph, &order, &sizes), naive(&graph, &order, &sizes));
    }

    #[test]
    fn agrees_with_the_definition_on_slices(
        graph in any_graph(25),
        seed in any::<u64>(),
        bounds in any::<[prop::sample::Index; 2]>(),
    ) {
        let sizes = |tensor: TensorId| seed.rotate_left(tensor.0) >> 32;
        let order: Vec<NodeId> = graph.node_ids().collect();
        let [a, b] = bounds.map(|bound| bound.index(order.len()));
        let slice = &order[a.min(b)..a.max(b)];
        prop_assert_eq!(slice_peak_live_bytes(&graph, slice, &sizes), naive(&graph, slice, &sizes));
    }
}

#[test]
fn a_chain_holds_one_input_and_one_output_at_a_time() {
    let graph = Build::default()
        .input("x")
        .weight("w", &[2, 2])
        .nodes("a = MatMul(x, w)\n b = Relu(a)\n c = Relu(b)")
        .output("c")
        .graph();
    let order: Vec<NodeId> = graph.node_ids().collect();
    let sizes = |tensor: TensorId| match graph.tensor(tensor).name.as_str() {
        "x" => 1,
        "a" => 10,
        "b" => 100,
        "c" => 1_000,
        _ => u64::MAX,
    };
    let liveness = peak_live_bytes(&graph, &order, &sizes);
    assert_eq!(liveness, Liveness { peak: 1_100, per_node: vec![11, 110, 1_100] });
    assert_eq!(slice_peak_live_bytes(&graph, &order[..2], &sizes).per_node, [11, 110]);
    assert_eq!(peak_live_bytes(&graph, &[], &sizes), Liveness::default());
}
