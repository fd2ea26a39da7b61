//! `Constant` nodes as initialisers.

use super::{FoldReport, named, rebuild};
use crate::onnx::{AttributeProto, TensorProto};
use crate::{Graph, GraphError, Node};
use tranche_schema::ElementType;

pub(super) fn fold(graph: &Graph, report: &mut FoldReport) -> Result<Graph, GraphError> {
    let mut nodes = Vec::with_capacity(graph.nodes().len());
    let mut weights = Vec::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let given = node.writes().any(|tensor| graph.outputs().contains(&tensor));
        match stored(node).filter(|_| !given) {
            Some(weight) => {
                weights.push(weight);
                report.constants += 1;
                report.removed_nodes.push(node.name.clone());
            }
            None => nodes.push(named(graph, id)),
        }
    }
    rebuild(graph, nodes, weights, graph.source().value_info.clone())
}

/// The tensor that a `Constant` node gives, under the name of its output.
fn stored(node: &Node) -> Option<TensorProto> {
    if node.operator() != "Constant" || !node.domain().is_empty() {
        return None;
    }
    let [attribute] = node.proto.attribute.as_slice() else { return None };
    let [output] = node.proto.output.as_slice() else { return None };
    Some(TensorProto { name: Some(output.clone()), ..tensor(attribute)? })
}

fn tensor(attribute: &AttributeProto) -> Option<TensorProto> {
    let typed = |element_type: ElementType, dims: Vec<i64>| TensorProto {
        data_type: Some(element_type.to_onnx()),
        dims,
        ..TensorProto::default()
    };
    let extent = |length: usize| vec![length as i64];
    Some(match attribute.name() {
        "value" => attribute.t.clone()?,
        "value_float" => {
            TensorProto { float_data: vec![attribute.f?], ..typed(ElementType::Float32, Vec::new()) }
        }
        "value_floats" => TensorProto {
            float_data: attribute.floats.clone(),
            ..typed(ElementType::Float32, extent(attribute.floats.len()))
        },
        "value_int" => {
            TensorProto { int64_data: vec![attribute.i?], ..typed(ElementType::Int64, Vec::new()) }
        }
        "value_ints" => TensorProto {
            int64_data: attribute.ints.clone(),
            ..typed(ElementType::Int64, extent(attribute.ints.len()))
        },
        "value_string" => {
            TensorProto { string_data: vec![attribute.s.clone()?], ..typed(ElementType::String, Vec::new()) }
        }
        "value_strings" => TensorProto {
            string_data: attribute.strings.clone(),
            ..typed(ElementType::String, extent(attribute.strings.len()))
        },
        _ => return None,
    })
}
