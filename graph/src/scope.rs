//! Which names a node's subgraphs read from outside.

use crate::onnx::{GraphProto, NodeProto, ValueInfoProto};
use crate::visit::{initializer_names, subgraphs};
use std::collections::HashSet;

/// Names that the subgraph attributes of a node read from outside, each once, in
/// order of first use. Nodes of a subgraph must be in an order in which they can run.
pub(crate) fn captured_names(node: &NodeProto) -> Vec<&str> {
    let mut capture = Capture::default();
    for graph in subgraphs(node) {
        capture.graph(graph);
    }
    capture.names
}

#[derive(Default)]
struct Capture<'a> {
    /// Names defined so far, outermost subgraph first.
    scopes: Vec<HashSet<&'a str>>,
    seen: HashSet<&'a str>,
    names: Vec<&'a str>,
}

impl<'a> Capture<'a> {
    fn graph(&mut self, graph: &'a GraphProto) {
        self.scopes
            .push(graph.input.iter().map(ValueInfoProto::name).chain(initializer_names(graph)).collect());
        for node in &graph.node {
            for name in &node.input {
                self.read(name);
            }
            for subgraph in subgraphs(node) {
                self.graph(subgraph);
            }
            if let Some(scope) = self.scopes.last_mut() {
                scope.extend(node.output.iter().map(String::as_str));
            }
        }
        for output in &graph.output {
            self.read(output.name());
        }
        self.scopes.pop();
    }

    fn read(&mut self, name: &'a str) {
        let is_inner = name.is_empty() || self.scopes.iter().any(|scope| scope.contains(name));
        if !is_inner && self.seen.insert(name) {
            self.names.push(name);
        }
    }
}
