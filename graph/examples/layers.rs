//! Prints the layers of a model: `cargo run --release -p tranche-graph --example layers -- model.onnx`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "an example")]

use std::path::Path;
use tranche_graph::coarsen::coarsen;
use tranche_graph::order::cuts;
use tranche_graph::{Graph, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let graph = Graph::new(Model::load(Path::new(&path))?)?;
        let layers = coarsen(&graph);
        let cuts = cuts(&graph, &layers);
        for (layer, cut) in layers.iter().zip(&cuts) {
            println!(
                "{:<40} {:<36} {:>3} nodes {:>3} weights, {} cross after it",
                layer.name,
                layer.kind,
                layer.nodes.len(),
                layer.weights.len(),
                cut.activations.len()
            );
        }
        let single = cuts.iter().filter(|cut| cut.activations.len() == 1).count();
        println!(
            "{path}: {} nodes, {} layers, {single} cuts of one tensor",
            graph.nodes().len(),
            layers.len()
        );
    }
    Ok(())
}
