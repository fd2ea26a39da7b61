//! Parts of a graph as models of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

mod common;

use common::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use tranche_graph::onnx::*;
use tranche_graph::{Dimension, Extracted, Graph, GraphError, Model, NodeId};
use tranche_schema::{ElementType, TensorSpec};

fn graph(model: ModelProto) -> Graph {
    Graph::new(Model::from_proto(model)).unwrap()
}

/// The part of these nodes, checked to be a valid model.
fn part(graph: &Graph, nodes: &[u32]) -> Extracted {
    let nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
    let extracted = graph.extract(&nodes, "part").unwrap();
    let again = Graph::new(extracted.model.clone()).unwrap();
    again.verify().unwrap();
    let names = |ids: &[tranche_graph::TensorId]| -> Vec<String> {
        ids.iter().map(|&id| again.tensor(id).name.clone()).collect()
    };
    assert_eq!(names(again.inputs()), extracted.inputs);
    assert_eq!(names(again.outputs()), extracted.outputs);
    extracted
}

fn refuse(graph: &Graph, nodes: &[u32]) -> GraphError {
    let nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
    graph.extract(&nodes, "part").unwrap_err()
}

fn weights(extracted: &Extracted) -> Vec<&str> {
    let graph = extracted.model.proto.graph.as_ref().unwrap();
    graph.initializer.iter().map(TensorProto::name).collect()
}

/// x → a → (b, c) → y = b + c, where `shared` is read by both b and c, and `a` is
/// also given to the caller.
fn diamond() -> ModelProto {
    let mut model = model(
        vec![
            node("Relu", &["x"], &["a"]),
            node("Mul", &["a", "shared"], &["b"]),
            node("Add", &["a", "shared"], &["c"]),
            node("Add", &["b", "c"], &["y"]),
        ],
        &["x"],
        &["y", "a"],
        vec![weight("shared", &[3], 2.0), weight("unused", &[3], 2.0)],
    );
    let graph = model.graph.as_mut().unwrap();
    graph.value_info = ["b", "c"].map(|name| info(name, FLOAT, &["2", "3"])).to_vec();
    model
}

#[test]
fn borders_of_a_diamond() {
    let graph = graph(diamond());
    // Nodes, then the inputs, outputs and weights of their part.
    type Names = &'static [&'static str];
    let cases: &[(&[u32], Names, Names, Names)] = &[
        (&[0], &["x"], &["a"], &[]),
        (&[1], &["a"], &["b"], &["shared"]),
        (&[2, 1], &["a"], &["b", "c"], &["shared"]),
        (&[0, 1, 2], &["x"], &["a", "b", "c"], &["shared"]),
        (&[3], &["b", "c"], &["y"], &[]),
        (&[0, 1, 2, 3], &["x"], &["a", "y"], &["shared"]),
    ];
    for (nodes, inputs, outputs, used) in cases {
        let extracted = part(&graph, nodes);
        assert_eq!(extracted.inputs, *inputs, "{nodes:?}");
        assert_eq!(extracted.outputs, *outputs, "{nodes:?}");
        assert_eq!(weights(&extracted), *used, "{nodes:?}");
    }
}

#[test]
fn what_subgraphs_capture_comes_along() {
    let graph = graph(conditional());
    let extracted = part(&graph, &[1]);
    assert_eq!(extracted.inputs, ["c", "a"]);
    assert_eq!(extracted.outputs, ["y"]);
    assert_eq!(weights(&extracted), ["w"]);
}

#[test]
fn the_rest_of_the_model_is_kept() {
    let mut whole = diamond();
    whole
        .metadata_props
        .push(StringStringEntryProto { key: Some("k".to_owned()), value: Some("v".to_owned()) });
    let source = whole.graph.as_mut().unwrap();
    let annotation = |tensor: &str| TensorAnnotation {
        tensor_name: Some(tensor.to_owned()),
        quant_parameter_tensor_names: vec![StringStringEntryProto {
            key: Some("SCALE_TENSOR".to_owned()),
            value: Some("unused".to_owned()),
        }],
    };
    source.quantization_annotation = vec![annotation("b"), annotation("y")];
    let extracted = part(&graph(whole.clone()), &[1]);
    let proto = &extracted.model.proto;
    assert_eq!((proto.ir_version, &proto.opset_import), (whole.ir_version, &whole.opset_import));
    assert_eq!(proto.metadata_props, whole.metadata_props);
    let inner = proto.graph.as_ref().unwrap();
    assert_eq!(inner.name(), "part");
    assert_eq!(inner.quantization_annotation, [annotation("b")]);
    assert_eq!(weights(&extracted), ["shared", "unused"], "the annotation's scale is there");
}

#[test]
fn node_names_are_unique_and_kept() {
    let mut whole = diamond();
    let nodes = &mut whole.graph.as_mut().unwrap().node;
    nodes[1].name = None;
    nodes[2].name = Some("a_node".to_owned());
    nodes[3].name = Some("Mul_1".to_owned());
    let extracted = part(&graph(whole), &[0, 1, 2, 3]);
    let names: Vec<&str> =
        extracted.model.proto.graph.as_ref().unwrap().node.iter().map(NodeProto::name).collect();
    assert_eq!(names, ["a_node", "Mul_1_", "Add_2", "Mul_1"]);
}

#[test]
fn listed_initialisers_stay_listed_below_ir_4() {
    let listed = |ir_version| {
        let mut whole = diamond();
        whole.ir_version = Some(ir_version);
        whole.graph.as_mut().unwrap().input.push(info("shared", FLOAT, &["3"]));
        let extracted = part(&graph(whole), &[1]);
        extracted.model.proto.graph.unwrap().input.len()
    };
    assert_eq!(listed(3), 2);
    assert_eq!(listed(8), 1);
}

#[test]
fn measured_shapes_replace_declared_ones() {
    let mut whole = diamond();
    let source = whole.graph.as_mut().unwrap();
    source.value_info = vec![info("b", FLOAT, &["batch", "3"])];
    let whole = graph(whole);
    let spec = |name: &str| {
        (
            name.to_owned(),
            TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: vec![4, 3] },
        )
    };
    let specs: BTreeMap<_, _> = [spec("b"), spec("c")].into();
    let extracted = whole.extract_with(&[NodeId(3)], "part", &specs).unwrap();
    let again = Graph::new(extracted.model).unwrap();
    for &input in again.inputs() {
        assert_eq!(again.tensor(input).shape, Some(vec![Dimension::Fixed(4), Dimension::Fixed(3)]));
    }

    let error = refuse(&whole, &[3]);
    assert!(error.to_string().starts_with("tensor `c`: lies on the border"), "{error}");
    assert!(error.to_string().contains("infer or measure it first"), "{error}");
    let declared = part(&whole, &[1]).model.proto.graph.unwrap().output;
    assert_eq!(declared, [info("b", FLOAT, &["batch", "3"])]);
}

#[test]
fn parts_that_make_no_model() {
    let graph = graph(diamond());
    assert_eq!(refuse(&graph, &[]).to_string(), "part `part` computes nothing that anyone reads");
    assert_eq!(refuse(&graph, &[9]).to_string(), "node 9 is not of this graph");
}

#[test]
fn outputs_that_no_node_computes() {
    let whole = model(
        vec![node("Relu", &["x"], &["y"])],
        &["x"],
        &["x", "y", "w", "y"],
        vec![weight("w", &[2, 3], 1.0)],
    );
    let graph = load(&whole).unwrap();
    assert_eq!(graph.outputs().len(), 4);
    let extracted = part(&graph, &[0]);
    assert_eq!((extracted.inputs.len(), extracted.outputs.len()), (1, 1));
}

/// A random graph in which each node reads any earlier tensors and a weight.
fn random_graph() -> impl Strategy<Value = ModelProto> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20).prop_map(
        |reads| {
            let mut names = vec!["x".to_owned(), "w".to_owned()];
            let mut nodes = Vec::new();
            for (index, (left, right)) in reads.iter().enumerate() {
                let output = format!("t{index}");
                let (left, right): (&String, &String) = (left.get(&names), right.get(&names));
                nodes.push(node("Add", &[left, right], &[&output]));
                names.push(output);
            }
            let last = names.last().unwrap().clone();
            let mut whole = model(nodes, &["x"], &[&last, "t0"], vec![weight("w", &[2, 3], 1.0)]);
            let source = whole.graph.as_mut().unwrap();
            source.value_info = names[2..].iter().map(|name| info(name, FLOAT, &["2", "3"])).collect();
            whole
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Run one after the other, the parts of any segmentation compute the outputs of
    /// the whole: each reads only what the caller or an earlier part gives.
    #[test]
    fn segments_compose(whole in random_graph(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let graph = graph(whole);
        let count = graph.nodes().len();
        let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(count)).chain([0, count]).collect();
        borders.sort_unstable();
        borders.dedup();
        let mut given: HashSet<String> = HashSet::from(["x".to_owned()]);
        for segment in borders.windows(2) {
            let nodes: Vec<u32> = (segment[0] as u32..segment[1] as u32).collect();
            let ids: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
            let is_dead = ids.iter().flat_map(|&id| graph.node(id).writes()).all(|tensor| {
                !graph.outputs().contains(&tensor)
                    && graph.tensor(tensor).consumers.iter().all(|consumer| ids.contains(consumer))
            });
            if is_dead {
                prop_assert!(graph.extract(&ids, "part").is_err());
                continue;
            }
            let extracted = part(&graph, &nodes);
            prop_assert!(extracted.inputs.iter().all(|name| given.contains(name)));
            given.extend(extracted.outputs);
        }
        for &output in graph.outputs() {
            prop_assert!(given.contains(&graph.tensor(output).name));
        }
    }
}
