//! Blocks of real networks by heads, hidden columns and tokens, and messages by edges, on ONNX Runtime.

use crate::harness::{Whole, onnxruntime};
use crate::support::{floats, integers};
use std::collections::BTreeSet;
use tranche_graph::split::Division;
use tranche_graph::{Graph, NodeId, TensorId};
use tranche_schema::{Join, Tensor};

const WIDTH: u64 = 768;
const HEADS: u64 = 12;
const EACH: u64 = WIDTH / HEADS;

/// Nodes that make `to` and depend on `from`, in graph order.
fn between(graph: &Graph, from: TensorId, to: TensorId) -> Vec<NodeId> {
    let mut made = BTreeSet::from([from]);
    let mut after = Vec::new();
    for id in graph.node_ids() {
        if graph.node(id).reads().any(|tensor| made.contains(&tensor)) {
            made.extend(graph.node(id).writes());
            after.push(id);
        }
    }
    let mut read = BTreeSet::from([to]);
    let mut nodes: Vec<NodeId> = after
        .into_iter()
        .rev()
        .filter(|&id| {
            let is_read = graph.node(id).writes().any(|tensor| read.contains(&tensor));
            if is_read {
                read.extend(graph.node(id).reads());
            }
            is_read
        })
        .collect();
    nodes.reverse();
    nodes
}

/// The attention block and the MLP block of a layer, each from what it normalises, or is given normalised,
/// to its sum with the residual.
fn blocks(model: &str, layer: usize, steps: u64, past: u64) -> [Whole; 2] {
    let graph = Graph::from_model(tranche_models::build(model).unwrap()).unwrap();
    let normalised: Vec<TensorId> = graph
        .nodes()
        .iter()
        .filter(|node| node.operator() == "LayerNormalization")
        .map(|node| node.outputs[0].unwrap())
        .collect();
    // The sum with the residual is what the next normalisation reads.
    let sum = |place: usize| {
        let next = graph.producer(normalised[place + 1]).unwrap();
        graph.node(next).inputs[0].unwrap()
    };
    [2 * layer, 2 * layer + 1].map(|place| {
        let nodes = between(&graph, normalised[place], sum(place));
        let kinds: Vec<&str> = nodes.iter().map(|&id| graph.node(id).operator()).collect();
        let products = kinds.iter().filter(|&&kind| kind == "MatMul").count();
        assert!((2..=6).contains(&products), "{model}: {kinds:?}");
        let sequence = vec![1, steps, WIDTH];
        let shapes: Vec<(TensorId, Vec<u64>)> = nodes
            .iter()
            .flat_map(|&id| graph.node(id).reads().chain(graph.node(id).writes()))
            .filter(|&tensor| !graph.is_initializer(tensor))
            .map(|tensor| {
                let shape = match graph.producer(tensor).map(|id| graph.node(id).operator()) {
                    None => vec![1, HEADS, past, EACH],
                    Some("Concat") => vec![1, HEADS, past + steps, EACH],
                    Some("Where") => vec![steps, past + steps],
                    Some("Mul")
                        if model == "bert_base" && !nodes.contains(&graph.producer(tensor).unwrap()) =>
                    {
                        vec![1, 1, 1, steps]
                    }
                    Some(_) => sequence.clone(),
                };
                (tensor, shape)
            })
            .collect();
        let shapes: Vec<(TensorId, &[u64])> =
            shapes.iter().map(|(tensor, shape)| (*tensor, shape.as_slice())).collect();
        Whole::of(&graph, &nodes, &shapes)
    })
}

/// Each part holds its share of the weights, and little besides.
fn shares_weights(whole: &Whole, division: &Division) {
    let (all, held) = whole.weights(division);
    let most = all / division.parts.len() as u64 + (1 << 16);
    assert!(held.iter().all(|&held| held <= most), "{held:?} of {all}");
}

fn splits(model: &str, layer: usize, past: u64) {
    let [attention, mlp] = blocks(model, layer, 16, past);
    for parts in [2, 3, 4] {
        let division = attention.agrees_on(&[onnxruntime()], Join::Sum, parts, EACH);
        shares_weights(&attention, &division);
        let division = mlp.agrees_on(&[onnxruntime()], Join::Sum, parts, 1);
        shares_weights(&mlp, &division);
    }
    let division = mlp.agrees_on(&[onnxruntime()], mlp.even(1, 4), 4, 1);
    assert!(division.parts.iter().all(|part| part.shares.values().all(|&share| share < 0.26)));
    let refusal = attention.divide(Join::Sum, 5, 1).unwrap_err();
    assert_eq!((refusal.operator.as_str(), refusal.grain), ("Reshape", Some(EACH)), "{refusal}");
}

#[test]
fn blocks_of_bert() {
    splits("bert_base", 3, 0);
}

#[test]
fn blocks_of_gpt2() {
    splits("gpt2_small", 5, 3);
}

#[test]
fn blocks_of_a_vision_transformer() {
    splits("vit_b16", 1, 0);
}

/// A graph of few vertices and the model's inputs over it.
fn vertices(features: u64, with_norm: bool) -> Vec<(String, Tensor)> {
    const VERTICES: u64 = 40;
    const EDGES: u64 = 300;
    let number = |place: u64| (place.wrapping_mul(2_654_435_761) >> 7) % 1000;
    let real = |place: u64| number(place) as f32 / 1000.0;
    let x: Vec<f32> = (0..VERTICES * features).map(real).collect();
    let edges: Vec<i64> = (0..2 * EDGES).map(|place| (number(place + 7) % VERTICES) as i64).collect();
    let mut inputs = vec![
        ("x".to_owned(), floats(&[VERTICES, features], &x)),
        ("edge_index".to_owned(), integers(&[2, EDGES], &edges)),
    ];
    if with_norm {
        let norm: Vec<f32> = (0..EDGES).map(|edge| real(edge + 3)).collect();
        inputs.push(("edge_norm".to_owned(), floats(&[EDGES], &norm)));
    }
    inputs
}

/// The sum of messages that is the `place`-th scatter that adds, and what leads from the edges to it.
fn messages(graph: &Graph, place: usize) -> (BTreeSet<NodeId>, TensorId) {
    const EDGEWISE: [&str; 6] = ["Mul", "Gather", "Unsqueeze", "Expand", "Shape", "ConstantOfShape"];
    let adds =
        |id: &NodeId| graph.node(*id).attribute("reduction").is_some_and(|attribute| attribute.s() == b"add");
    let scatter = graph.node_ids().filter(adds).nth(place).unwrap();
    let mut nodes = BTreeSet::from([scatter]);
    let before: Vec<NodeId> = graph.node_ids().filter(|&id| id < scatter).collect();
    for id in before.into_iter().rev() {
        let node = graph.node(id);
        let readers: Vec<NodeId> =
            node.writes().flat_map(|tensor| graph.tensor(tensor).consumers.clone()).collect();
        let leads_here = !readers.is_empty() && readers.iter().all(|reader| nodes.contains(reader));
        if leads_here && EDGEWISE.contains(&node.operator()) {
            nodes.insert(id);
        }
    }
    (nodes, graph.node(scatter).outputs[0].unwrap())
}

fn splits_by_edges(model: &str, features: u64, place: usize, nodes: usize) {
    let whole = Whole::zoo(model, vertices(features, model != "gat_cora"), "logits")
        .with_region(|graph| messages(graph, place));
    for parts in [2, 3, 4] {
        let division = whole.agrees_on(&[onnxruntime()], Join::Sum, parts, 1);
        assert_eq!(division.nodes.len(), nodes);
        for part in &division.parts {
            // Each gathers, scales and scatters its edges alone.
            let few = part.shares.values().filter(|share| **share < 0.51).count();
            assert!(few >= 3, "{:?}", part.shares);
        }
    }
}

#[test]
fn messages_of_a_graph_convolution() {
    splits_by_edges("gcn_wide", 602, 1, 5);
}

#[test]
fn messages_of_graph_attention() {
    splits_by_edges("gat_cora", 1433, 1, 8);
}
