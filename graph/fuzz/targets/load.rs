//! Any bytes end in an error or in a graph whose parts are models again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use tranche_graph::coarsen::coarsen;
use tranche_graph::fold::{FoldLimit, fold_constants};
use tranche_graph::{Graph, Model};

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::decode(Bytes::copy_from_slice(data)) else { return };
    let written = encode(&model);
    let again = Model::decode(written.clone().into()).expect("what was written can be read");
    assert!(encode(&again) == written, "writing is stable");
    // Without verification, names are resolved all the same.
    if let Ok(graph) = Graph::new(model.clone()) {
        use_graph(&graph);
    }
    if let Ok(graph) = Graph::from_model(model) {
        use_graph(&graph);
        cut_in_two(&graph);
        coarsen_and_fold(&graph);
    }
});

fn encode(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.write_to(&mut bytes).expect("a vector takes everything");
    bytes
}

fn use_graph(graph: &Graph) {
    let _ = graph.to_string();
    let _ = graph.to_dot(None);
    let _ = graph.bind(&BTreeMap::new(), &BTreeMap::new());
    for tensor in &graph.source().initializer {
        let _ = graph.model().tensor_bytes(tensor);
    }
    let ids: Vec<_> = graph.node_ids().collect();
    let _ = graph.extract(&ids, "whole");
}

/// Layers partition the nodes, and a folded graph is a valid one with the same outputs.
fn coarsen_and_fold(graph: &Graph) {
    let mut nodes: Vec<_> = coarsen(graph).into_iter().flat_map(|layer| layer.nodes).collect();
    nodes.sort_unstable();
    assert!(nodes.into_iter().eq(graph.node_ids()), "layers partition the nodes");
    if let Ok((folded, _)) = fold_constants(graph, None, FoldLimit::default()) {
        folded.verify().expect("a folded graph is valid");
        assert_eq!(folded.outputs().len(), graph.outputs().len());
    }
}

/// Both halves of a verified graph are valid models, where they are models at all.
fn cut_in_two(graph: &Graph) {
    let ids: Vec<_> = graph.node_ids().collect();
    for half in [&ids[..ids.len() / 2], &ids[ids.len() / 2..]] {
        if let Ok(part) = graph.extract(half, "half") {
            let bytes = encode(&part.model);
            let model = Model::decode(bytes.into()).expect("a part can be read");
            let part = Graph::from_model(model).expect("a part is a valid model");
            assert_eq!(part.nodes().len(), half.len());
        }
    }
}
