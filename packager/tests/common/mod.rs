//! A small model with a skip connection and a weight that two nodes share, and plans for it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use tranche_graph::coarsen::{Layer, coarsen};
use tranche_graph::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use tranche_graph::{Graph, Model};
use tranche_partitioner::{CostModel, Problem, Strategy, partition};
use tranche_schema::{
    ByteCount, Constraints, DeviceCost, Digest, Document as _, ElementType, Environment, LayerProfile,
    Millis, ModelIdentity, Plan, Profile, ProfileSettings, TensorSpec, Timing, WholeProfile,
};

/// Rows and columns of every weight: 16 KiB, large enough to lie in a file of its own.
pub const WIDTH: u64 = 64;

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(operator.to_owned()),
        name: Some(format!("make_{output}")),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn weight(name: &str, seed: f32) -> TensorProto {
    let bytes: Vec<u8> =
        (0..WIDTH * WIDTH).flat_map(|index| (seed + index as f32 * 1e-4).to_le_bytes()).collect();
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(ElementType::Float32.to_onnx()),
        dims: vec![WIDTH as i64, WIDTH as i64],
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

fn value(name: &str) -> ValueInfoProto {
    let dim = [1, WIDTH as i64]
        .map(|extent| tensor_shape_proto::Dimension {
            value: Some(tensor_shape_proto::dimension::Value::DimValue(extent)),
            denotation: None,
        })
        .to_vec();
    let tensor = type_proto::Tensor {
        elem_type: Some(ElementType::Float32.to_onnx()),
        shape: Some(TensorShapeProto { dim }),
    };
    let declared = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(declared), ..ValueInfoProto::default() }
}

/// x → a → b → c → (c + a) → d, with the weight of a used again in d; a second
/// copy of b's weight under another name in c.
pub fn model() -> Graph {
    model_with(0.2)
}

/// The same model with another weight in c.
pub fn model_with(seed: f32) -> Graph {
    let graph = GraphProto {
        name: Some("small".to_owned()),
        node: vec![
            node("MatMul", &["x", "first"], "a"),
            node("MatMul", &["a", "second"], "b"),
            node("MatMul", &["b", "second_again"], "c"),
            node("Add", &["c", "a"], "sum"),
            node("MatMul", &["sum", "first"], "d"),
        ],
        initializer: vec![weight("first", 0.1), weight("second", 0.2), weight("second_again", seed)],
        input: vec![value("x")],
        output: vec![value("d")],
        ..GraphProto::default()
    };
    built(graph)
}

/// A graph of these nodes.
pub fn built(graph: GraphProto) -> Graph {
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Graph::new(Model::from_proto(proto)).unwrap()
}

/// Every activation of the small model has this shape.
pub fn spec(name: &str) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: vec![1, WIDTH] }
}

pub fn identity(graph: &Graph) -> ModelIdentity {
    ModelIdentity { name: "small".to_owned(), digest: graph.model().digest().unwrap() }
}

/// A profile in which every layer takes a millisecond.
pub fn profile(graph: &Graph, layers: &[Layer]) -> Profile {
    let time = Timing { median_ms: Millis(1.0), ..Timing::default() };
    let layer_profile = |layer: &Layer| LayerProfile {
        name: layer.name.clone(),
        kind: layer.kind.clone(),
        nodes: layer.nodes.iter().map(|&id| graph.node(id).name.clone()).collect(),
        weights_bytes: ByteCount(layer.weights.len() as u64 * WIDTH * WIDTH * 4),
        activation_bytes: ByteCount(WIDTH * 4),
        peak_live_bytes: ByteCount(3 * WIDTH * 4),
        output_bytes: ByteCount(WIDTH * 4),
        cpu: Some(DeviceCost { time, time_share: 1.0 / layers.len() as f64 }),
        gpu: None,
        scaling: None,
        resource_dominant: None,
    };
    Profile {
        header: Profile::header(),
        model: identity(graph),
        dimensions: BTreeMap::new(),
        settings: ProfileSettings { threads: 1, warmup: 1, repeats: 3, seed: 0 },
        environment: Environment {
            cpu_model: "test".to_owned(),
            cpu_count: 1,
            platform: "linux-x86_64".to_owned(),
            engine: "tract".to_owned(),
            engine_version: "0".to_owned(),
            tranche_version: "0".to_owned(),
        },
        resource_dominance_rule: "none".to_owned(),
        inputs: vec![spec("x")],
        outputs: vec![spec("d")],
        whole: WholeProfile { run: time, ..WholeProfile::default() },
        layers: layers.iter().map(layer_profile).collect(),
        tensors: layers
            .iter()
            .flat_map(|layer| &layer.outputs)
            .map(|&tensor| spec(&graph.tensor(tensor).name))
            .collect(),
        inner_tensors: Vec::new(),
        codings: Vec::new(),
        slices: Vec::new(),
        link: None,
    }
}

pub fn problem(graph: &Graph) -> Problem {
    let layers = coarsen(graph);
    Problem::new(graph, &layers, &identity(graph), &profile(graph, &layers)).unwrap()
}

/// The plan that cuts the small model into `parts`.
pub fn plan(graph: &Graph, parts: u32) -> Plan {
    let problem = problem(graph);
    partition(&problem, &CostModel::of(&problem), &Strategy::Uniform(parts), &Constraints::default()).unwrap()
}

/// Digest of no model.
pub fn other_digest() -> Digest {
    Digest::of(b"another model")
}
