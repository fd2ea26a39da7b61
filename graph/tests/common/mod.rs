//! Small models built in code.

#![allow(dead_code, reason = "each test file uses some of these")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure in a test says itself what it is")]

use bytes::Bytes;
use tranche_graph::onnx::attribute_proto::AttributeType;
use tranche_graph::onnx::tensor_shape_proto::{Dimension, dimension::Value as DimensionValue};
use tranche_graph::onnx::{type_proto, *};
use tranche_graph::{Graph, Model};

pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;

/// A model of opset 17 with these parts, float inputs and outputs of shape [2, 3].
pub fn model(
    nodes: Vec<NodeProto>,
    inputs: &[&str],
    outputs: &[&str],
    weights: Vec<TensorProto>,
) -> ModelProto {
    let infos = |names: &[&str]| names.iter().map(|name| info(name, FLOAT, &["2", "3"])).collect();
    model_of(GraphProto {
        name: Some("test".to_owned()),
        node: nodes,
        input: infos(inputs),
        output: infos(outputs),
        initializer: weights,
        ..GraphProto::default()
    })
}

pub fn model_of(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset("", 17)],
        producer_name: Some("tests".to_owned()),
        graph: Some(graph),
        ..ModelProto::default()
    }
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }
}

pub fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: Some(operator.to_owned()),
        name: Some(format!("{}_node", outputs.first().copied().unwrap_or_default())),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

pub fn with_attributes(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.attribute = attributes;
    node
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

pub fn reference(name: &str, outer: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ref_attr_name: Some(outer.to_owned()),
        ..AttributeProto::default()
    }
}

pub fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(graph),
        ..AttributeProto::default()
    }
}

/// A subgraph without inputs that computes `output` from outer names.
pub fn branch(nodes: Vec<NodeProto>, output: &str, weights: Vec<TensorProto>) -> GraphProto {
    GraphProto {
        name: Some("branch".to_owned()),
        node: nodes,
        output: vec![info(output, FLOAT, &["2", "3"])],
        initializer: weights,
        ..GraphProto::default()
    }
}

/// A declared tensor; extents are numbers, symbols, or `?`.
pub fn info(name: &str, element_type: i32, shape: &[&str]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|&extent| Dimension {
            value: match extent.parse::<i64>() {
                Ok(extent) => Some(DimensionValue::DimValue(extent)),
                Err(_) if extent == "?" => None,
                Err(_) => Some(DimensionValue::DimParam(extent.to_owned())),
            },
            denotation: None,
        })
        .collect();
    let tensor = type_proto::Tensor { elem_type: Some(element_type), shape: Some(TensorShapeProto { dim }) };
    let declared = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(declared), ..ValueInfoProto::default() }
}

pub fn raw(name: &str, element_type: i32, dims: &[i64], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(element_type),
        dims: dims.to_vec(),
        raw_data: Some(Bytes::from(bytes)),
        ..TensorProto::default()
    }
}

/// A float weight whose every element is `value`.
pub fn weight(name: &str, dims: &[i64], value: f32) -> TensorProto {
    let count = usize::try_from(dims.iter().product::<i64>()).unwrap();
    raw(name, FLOAT, dims, value.to_le_bytes().repeat(count))
}

/// A tensor whose elements lie in a file.
pub fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(FLOAT),
        dims: dims.to_vec(),
        data_location: Some(tensor_proto::DataLocation::External as i32),
        external_data: entries
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: Some((*key).to_owned()),
                value: Some((*value).to_owned()),
            })
            .collect(),
        ..TensorProto::default()
    }
}

pub fn encode(model: &ModelProto) -> Vec<u8> {
    let mut bytes = Vec::new();
    Model::from_proto(model.clone()).write_to(&mut bytes).unwrap();
    bytes
}

/// Writes the model to a file of its own folder and loads it as a user would.
pub fn load(model: &ModelProto) -> Result<Graph, tranche_graph::GraphError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, encode(model)).unwrap();
    Graph::load(&path)
}

/// The message of a load that fails, without the file's path.
pub fn refusal(model: &ModelProto) -> String {
    let mut error = load(model).expect_err("the model is invalid");
    error.path = None;
    error.to_string()
}

/// x + w → a → relu → y, with the weight listed first.
pub fn chain() -> ModelProto {
    model(
        vec![node("Add", &["x", "w"], &["a"]), node("Relu", &["a"], &["y"])],
        &["x"],
        &["y"],
        vec![weight("w", &[2, 3], 1.0)],
    )
}

/// `If(c)` whose branches read `x` and `w` of the main graph.
pub fn conditional() -> ModelProto {
    let then = branch(vec![node("Mul", &["a", "w"], &["t"])], "t", vec![]);
    let otherwise = branch(vec![node("Add", &["a", "own"], &["e"])], "e", vec![weight("own", &[2, 3], 3.0)]);
    let choose = with_attributes(
        node("If", &["c"], &["y"]),
        vec![subgraph("then_branch", then), subgraph("else_branch", otherwise)],
    );
    let mut model = model(
        vec![node("Neg", &["x"], &["a"]), choose],
        &["x"],
        &["y"],
        vec![weight("w", &[2, 3], 2.0), weight("unused", &[1], 0.0)],
    );
    let graph = model.graph.as_mut().unwrap();
    graph.input.push(info("c", 9, &[]));
    graph.value_info.push(info("a", FLOAT, &["2", "3"]));
    model
}
