//! Parts that have equal extents and unequal work.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../../packager/tests/common/mod.rs"]
mod small;

use tranche_graph::Graph;
use tranche_graph::coarsen::coarsen;
use tranche_graph::onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto, tensor_shape_proto, type_proto,
};
use tranche_graph::split::even_bounds;
use tranche_partitioner::{CostModel, Problem, Strategy, partition};
use tranche_schema::{Constraints, ElementType, Join, Millis, Plan, Profile, ResourceDominance, TensorSpec};

/// One: channels cannot be shared.
const CHANNELS: i64 = 1;
const EXTENT: u64 = 60;
const DEPTH: usize = 4;
/// So little that gathering after each would cost more than the halo.
const LAYER_MS: f64 = 2.0;

fn dimension(extent: i64) -> tensor_shape_proto::Dimension {
    let value = Some(tensor_shape_proto::dimension::Value::DimValue(extent));
    tensor_shape_proto::Dimension { value, denotation: None }
}

fn image(name: &str) -> ValueInfoProto {
    let dim = [1, CHANNELS, EXTENT as i64, EXTENT as i64].map(dimension).to_vec();
    let tensor = type_proto::Tensor {
        elem_type: Some(ElementType::Float32.to_onnx()),
        shape: Some(TensorShapeProto { dim }),
    };
    let declared = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(declared), ..ValueInfoProto::default() }
}

/// A convolution over five by five places: each costs two rows of halo.
fn convolution(index: usize) -> NodeProto {
    let pads = AttributeProto {
        name: Some("pads".to_owned()),
        r#type: Some(attribute_proto::AttributeType::Ints.into()),
        ints: vec![2; 4],
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: Some("Conv".to_owned()),
        name: Some(format!("conv{index}")),
        input: vec![format!("t{index}"), format!("w{index}")],
        output: vec![format!("t{}", index + 1)],
        attribute: vec![pads],
        ..NodeProto::default()
    }
}

fn weight(index: usize) -> TensorProto {
    let dims = vec![CHANNELS, CHANNELS, 5, 5];
    let count: i64 = dims.iter().product();
    TensorProto {
        name: Some(format!("w{index}")),
        data_type: Some(ElementType::Float32.to_onnx()),
        raw_data: Some(vec![0; count as usize * 4].into()),
        dims,
        ..TensorProto::default()
    }
}

fn chain() -> Graph {
    let graph = GraphProto {
        name: Some("chain".to_owned()),
        node: (0..DEPTH).map(convolution).collect(),
        initializer: (0..DEPTH).map(weight).collect(),
        input: vec![image("t0")],
        output: vec![image(&format!("t{DEPTH}"))],
        ..GraphProto::default()
    };
    small::built(graph)
}

fn profile(graph: &Graph) -> Profile {
    let mut profile = small::profile(graph, &coarsen(graph));
    for layer in &mut profile.layers {
        layer.cpu.as_mut().unwrap().time.median_ms = Millis(LAYER_MS);
        layer.resource_dominant = Some(ResourceDominance { time: true, memory: false });
    }
    profile.whole.run.median_ms = Millis(LAYER_MS * DEPTH as f64);
    let shape = vec![1, CHANNELS as u64, EXTENT, EXTENT];
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        element_type: ElementType::Float32,
        shape: shape.clone(),
    };
    profile.inputs = vec![spec("t0")];
    profile.outputs = vec![spec(&format!("t{DEPTH}"))];
    profile.tensors = (0..=DEPTH).map(|index| spec(&format!("t{index}"))).collect();
    profile
}

fn fastest(parts: u32) -> Plan {
    let graph = chain();
    let problem = Problem::new(&graph, &coarsen(&graph), &small::identity(&graph), &profile(&graph)).unwrap();
    let constraints = Constraints { max_parts: Some(parts), ..Constraints::default() };
    partition(&problem, &CostModel::of(&problem), &Strategy::Gillis, &constraints).unwrap()
}

/// Tiles inside have a halo on both sides: they get fewer rows than those at the edges.
#[test]
fn tiles_inside_are_smaller() {
    let plan = fastest(4);
    let bounds: Vec<&Vec<u64>> = plan
        .splits
        .iter()
        .flat_map(|split| split.joins.values())
        .filter_map(|join| match join {
            Join::Concat { axis: 2 | 3, bounds } => Some(bounds),
            _ => None,
        })
        .collect();
    let uneven = bounds
        .iter()
        .find(|bounds| ***bounds != even_bounds(EXTENT, 4))
        .unwrap_or_else(|| panic!("even tiles in {:?}", plan.splits));
    let sizes: Vec<u64> = uneven.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(sizes[0] > sizes[1] && sizes[3] > sizes[2], "{sizes:?}");
    assert_eq!(sizes.iter().sum::<u64>(), EXTENT);
}
