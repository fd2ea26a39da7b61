//! What is known of tensors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod build;

use build::Build;
use std::collections::{BTreeMap, HashMap};
use tranche_graph::Graph;
use tranche_graph::shapes::{FactSource, TensorFacts};
use tranche_schema::{ElementType, TensorSpec};

fn graph() -> Graph {
    Build::default()
        .input("x")
        .weight("w", &[4, 8])
        .nodes("a = MatMul(x, w)\n b = Relu(a)\n y = Softmax(b)")
        .output("y")
        .graph()
}

fn float(name: &str, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: shape.to_vec() }
}

fn measured(specs: &[TensorSpec]) -> HashMap<String, TensorSpec> {
    specs.iter().map(|spec| (spec.name.clone(), spec.clone())).collect()
}

#[test]
fn bound_inputs_and_weights_are_known_from_the_start() {
    let graph = graph();
    let facts = TensorFacts::declared(&graph, &[float("x", &[2, 4])], &BTreeMap::new());
    assert_eq!(facts.find("x"), Some(&float("x", &[2, 4])));
    assert_eq!(facts.byte_size(graph.find_tensor("w").expect("there")), Some(128));
    let unknown: Vec<&str> =
        facts.unknown(&graph).into_iter().map(|id| graph.tensor(id).name.as_str()).collect();
    assert_eq!(unknown, ["a", "b", "y"]);
}

#[test]
fn what_is_measured_fills_in_and_is_followed() {
    let graph = graph();
    let mut facts = TensorFacts::declared(&graph, &[float("x", &[2, 4])], &BTreeMap::new());
    let conflicts = facts.measure(&graph, &measured(&[float("a", &[2, 8]), float("engine's own", &[1])]));
    assert!(conflicts.is_empty());
    assert_eq!(facts.find("y"), Some(&float("y", &[2, 8])));
    let sources: Vec<Option<FactSource>> =
        ["x", "a", "y"].map(|name| facts.source(graph.find_tensor(name).expect("there"))).into();
    assert_eq!(sources, [Some(FactSource::Declared), Some(FactSource::Measured), Some(FactSource::Inferred)]);
    assert!(facts.unknown(&graph).is_empty());
    assert_eq!(facts.specs().len(), 5);
}

#[test]
fn a_conflict_is_named_and_the_measurement_wins() {
    let graph = graph();
    let mut facts = TensorFacts::declared(&graph, &[float("x", &[2, 4])], &BTreeMap::new());
    let conflicts = facts.measure(&graph, &measured(&[float("x", &[3, 4])]));
    assert_eq!(
        conflicts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["tensor `x` is float32 [2, 4] by declaration, float32 [3, 4] by measurement"]
    );
    assert_eq!(facts.find("x"), Some(&float("x", &[3, 4])));
}
