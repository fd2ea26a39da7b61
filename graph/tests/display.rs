//! Graphs as text and as drawings.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

mod common;

use common::*;
use tranche_graph::onnx::*;
use tranche_graph::{Graph, Model, NodeId};

fn graph() -> Graph {
    let mut whole = conditional();
    whole.opset_import.push(opset("com.example", 2));
    let source = whole.graph.as_mut().unwrap();
    let shape =
        raw("shape", INT64, &[2], [-1_i64, 6].iter().flat_map(|extent| extent.to_le_bytes()).collect());
    source.initializer.extend([shape, weight("large", &[64, 1024], 0.0)]);
    let mut reshape = node("Reshape", &["y", "shape"], &["flat"]);
    reshape.attribute = vec![int("allowzero", 0)];
    let mut odd = node("Odd", &["flat", "", "large"], &["", "z"]);
    odd.domain = Some("com.example".to_owned());
    odd.attribute = vec![
        AttributeProto {
            name: Some("list".to_owned()),
            r#type: Some(attribute_proto::AttributeType::Ints as i32),
            ints: (0..20).collect(),
            ..AttributeProto::default()
        },
        AttributeProto {
            name: Some("mode".to_owned()),
            r#type: Some(attribute_proto::AttributeType::String as i32),
            s: Some(b"a \"quoted\" text".to_vec()),
            ..AttributeProto::default()
        },
    ];
    source.node.extend([reshape, odd]);
    source.output.push(info("z", FLOAT, &["batch", "?"]));
    Graph::new(Model::from_proto(whole)).unwrap()
}

#[test]
fn text() {
    insta::assert_snapshot!(graph());
}

#[test]
fn drawing() {
    insta::assert_snapshot!(graph().to_dot(None));
}

#[test]
fn drawing_with_clusters() {
    let clusters = [
        ("first \"slice\"".to_owned(), vec![NodeId(0), NodeId(1), NodeId(99)]),
        ("second".to_owned(), vec![NodeId(2)]),
    ];
    insta::assert_snapshot!(graph().to_dot(Some(&clusters)));
}
