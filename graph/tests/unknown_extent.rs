//! `?` as a dimension's name.

use tranche_graph::onnx::tensor_shape_proto::{Dimension, dimension::Value};
use tranche_graph::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use tranche_graph::{Graph, Model};

#[test]
fn question_marks_are_no_shared_symbol() -> Result<(), tranche_graph::GraphError> {
    let graph = Graph::new(Model::from_proto(relu_of_unknown_extents()))?;
    let shapes = [("x".to_owned(), vec![3, 48])].into();
    let bound = graph.bind(&shapes, &std::collections::BTreeMap::new())?;
    assert_eq!(bound.inputs.first().map(|input| input.shape.as_slice()), Some([3, 48].as_slice()));
    Ok(())
}

fn relu_of_unknown_extents() -> ModelProto {
    let unknown = Dimension { value: Some(Value::DimParam("?".to_owned())), ..Default::default() };
    let tensor = type_proto::Tensor {
        elem_type: Some(1),
        shape: Some(TensorShapeProto { dim: vec![unknown.clone(), unknown] }),
    };
    let info = |name: &str| ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor.clone())),
            ..Default::default()
        }),
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { version: Some(18), ..Default::default() }],
        graph: Some(GraphProto {
            node: vec![NodeProto {
                op_type: Some("Relu".to_owned()),
                input: vec!["x".to_owned()],
                output: vec!["y".to_owned()],
                ..Default::default()
            }],
            input: vec![info("x")],
            output: vec![info("y")],
            ..Default::default()
        }),
        ..Default::default()
    }
}
