//! Small models, in bundles of one slice.

#![allow(dead_code, reason = "each test file uses its part")]

use super::support;
use prost::Message as _;
use std::path::Path;
use tempfile::TempDir;
use tranche_graph::onnx;
use tranche_schema::{Channel, Codec, Document as _, Manifest};

/// A node without attributes.
pub fn node(operator: &str, inputs: &[&str], output: &str) -> onnx::NodeProto {
    onnx::NodeProto {
        name: Some(format!("make_{output}")),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// A constant of 64-bit integers.
pub fn integers(name: &str, values: &[i64]) -> onnx::TensorProto {
    onnx::TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(7),
        dims: vec![i64::try_from(values.len()).unwrap()],
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A bundle whose slice makes `y` of `x`.
pub fn bundle(
    shapes: (&[u64], &[u64]),
    nodes: Vec<onnx::NodeProto>,
    constants: Vec<onnx::TensorProto>,
) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = support::manifest(shapes.0, Codec::Raw, Channel::Inline);
    manifest.slices[0].outputs = vec![support::spec("y", shapes.1)];
    manifest.edges[0].tensor = support::spec("y", shapes.1);
    manifest.write(&folder.path().join(Manifest::FILE)).unwrap();
    std::fs::write(folder.path().join("slice-0.onnx"), model(shapes, nodes, constants)).unwrap();
    folder
}

pub fn manifest_path(bundle: &TempDir) -> String {
    let path: &Path = &bundle.path().join(Manifest::FILE);
    path.to_str().unwrap().to_owned()
}

fn model(
    (reads, writes): (&[u64], &[u64]),
    nodes: Vec<onnx::NodeProto>,
    constants: Vec<onnx::TensorProto>,
) -> Vec<u8> {
    onnx::ModelProto {
        ir_version: Some(8),
        opset_import: vec![onnx::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(onnx::GraphProto {
            name: Some("toy".to_owned()),
            input: vec![value_info("x", reads)],
            output: vec![value_info("y", writes)],
            initializer: constants,
            node: nodes,
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn value_info(name: &str, shape: &[u64]) -> onnx::ValueInfoProto {
    use onnx::tensor_shape_proto::{Dimension, dimension::Value};
    let extent = |&extent: &u64| Dimension {
        value: Some(Value::DimValue(i64::try_from(extent).unwrap())),
        ..Default::default()
    };
    let tensor = onnx::type_proto::Tensor {
        elem_type: Some(1),
        shape: Some(onnx::TensorShapeProto { dim: shape.iter().map(extent).collect() }),
    };
    onnx::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(onnx::TypeProto {
            value: Some(onnx::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
