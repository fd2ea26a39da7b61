//! A graph with a patch in it.

use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto};
use crate::{Graph, GraphError, Model};
use bytes::Bytes;
use std::collections::HashSet;
use tranche_schema::{AttributeValue, ElementType, PartialWeight, Patch, PatchConstant, PatchNode};

/// The graph with a patch in it, checked. Nodes that stay keep their names, which are written
/// into the model; weights that stay share their bytes with `graph`. Weights that nothing reads
/// any more are left out.
///
/// # Errors
/// When the patch speaks of nodes or weights that the graph lacks, a part lies beyond its
/// weight, or the result is not a valid model.
pub fn apply(graph: &Graph, patch: &Patch) -> Result<Graph, GraphError> {
    let removed: HashSet<&str> = patch.removed.iter().map(String::as_str).collect();
    if let Some(stranger) = patch.removed.iter().find(|name| graph.find_node(name).is_none()) {
        return Err(GraphError::invalid("a patch removes it, but the model lacks it").at_node(stranger));
    }
    let source = graph.source();
    let mut nodes: Vec<NodeProto> = graph
        .nodes()
        .iter()
        .filter(|node| !removed.contains(node.name.as_str()))
        .map(|node| NodeProto { name: Some(node.name.clone()), ..node.proto.clone() })
        .collect();
    for node in &patch.nodes {
        nodes.push(added(graph, node)?);
    }
    let mut weights = source.initializer.clone();
    for weight in &patch.weights {
        weights.push(partial(graph, weight)?);
    }
    for constant in &patch.constants {
        weights.push(stored(constant)?);
    }
    let read: HashSet<&str> = nodes.iter().flat_map(|node| node.input.iter().map(String::as_str)).collect();
    // A weight that only a body reads, or the caller, is named elsewhere.
    let captured: HashSet<&str> = graph
        .nodes()
        .iter()
        .flat_map(|node| node.captures.iter().map(|&tensor| graph.tensor(tensor).name.as_str()))
        .chain(source.output.iter().map(|output| output.name()))
        .collect();
    weights.retain(|weight| read.contains(weight.name()) || captured.contains(weight.name()));
    let kept: HashSet<String> = weights.iter().map(|weight| weight.name().to_owned()).collect();
    let stored_before: HashSet<&str> = source.initializer.iter().map(|weight| weight.name()).collect();
    let mut input = source.input.clone();
    input.retain(|info| !stored_before.contains(info.name()) || kept.contains(info.name()));
    if graph.proto().ir_version() < 4 {
        let listed: HashSet<String> = input.iter().map(|info| info.name().to_owned()).collect();
        input
            .extend(weights.iter().filter(|weight| !listed.contains(weight.name())).map(crate::fold::listed));
    }
    let written: HashSet<&str> =
        nodes.iter().flat_map(|node| node.output.iter().map(String::as_str)).collect();
    let mut value_info = source.value_info.clone();
    let declared: HashSet<String> =
        value_info.iter().chain(&source.output).map(|info| info.name().to_owned()).collect();
    value_info.retain(|info| written.contains(info.name()));
    let mut seen = HashSet::new();
    for spec in patch.tensors.iter().filter(|spec| written.contains(spec.name.as_str())) {
        if !declared.contains(&spec.name) && seen.insert(spec.name.as_str()) {
            value_info.push(crate::extract::declaration(spec));
        }
    }
    let changed = GraphProto {
        node: nodes,
        initializer: weights,
        input,
        value_info,
        name: source.name.clone(),
        sparse_initializer: source.sparse_initializer.clone(),
        doc_string: source.doc_string.clone(),
        output: source.output.clone(),
        metadata_props: source.metadata_props.clone(),
        quantization_annotation: source
            .quantization_annotation
            .iter()
            .filter(|annotation| kept.contains(annotation.tensor_name()))
            .cloned()
            .collect(),
    };
    let proto = crate::onnx::ModelProto { graph: Some(changed), ..crate::fold::without_graph(graph) };
    Graph::from_model(Model { proto, folder: graph.model().folder.clone() })
}

fn added(graph: &Graph, node: &PatchNode) -> Result<NodeProto, GraphError> {
    let mut proto = match (&node.like, &node.operator) {
        (Some(like), _) => {
            let id = graph.find_node(like).ok_or_else(|| {
                GraphError::invalid(format!("is like node `{like}`, which the model lacks"))
                    .at_node(&node.name)
            })?;
            graph.node(id).proto.clone()
        }
        (None, Some(operator)) => NodeProto { op_type: Some(operator.clone()), ..NodeProto::default() },
        (None, None) => {
            return Err(GraphError::invalid("a patch adds it without an operator").at_node(&node.name));
        }
    };
    proto.name = Some(node.name.clone());
    proto.input.clone_from(&node.inputs);
    proto.output.clone_from(&node.outputs);
    proto.attribute.retain(|attribute| {
        !node.without.iter().any(|name| name == attribute.name())
            && !node.attributes.contains_key(attribute.name())
    });
    proto.attribute.extend(node.attributes.iter().map(|(name, value)| attribute(name, value)));
    Ok(proto)
}

fn attribute(name: &str, value: &AttributeValue) -> AttributeProto {
    let named = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = |kind: AttributeType| Some(kind.into());
    match value {
        AttributeValue::Integer(value) => {
            AttributeProto { r#type: kind(AttributeType::Int), i: Some(*value), ..named }
        }
        AttributeValue::Integers(values) => {
            AttributeProto { r#type: kind(AttributeType::Ints), ints: values.clone(), ..named }
        }
        AttributeValue::Real(value) => {
            AttributeProto { r#type: kind(AttributeType::Float), f: Some(*value), ..named }
        }
        AttributeValue::Text(text) => {
            AttributeProto { r#type: kind(AttributeType::String), s: Some(text.as_bytes().to_vec()), ..named }
        }
    }
}

/// A part of a stored weight, cut along one axis.
fn partial(graph: &Graph, weight: &PartialWeight) -> Result<TensorProto, GraphError> {
    let invalid = |message: String| GraphError::invalid(message).at_tensor(&weight.name);
    let whole =
        graph.find_tensor(&weight.of).and_then(|tensor| graph.initializer(tensor)).ok_or_else(|| {
            invalid(format!("is part of `{}`, which is no stored weight of the model", weight.of))
        })?;
    let element_type = ElementType::from_onnx(whole.data_type())
        .filter(|kind| kind.bits().is_some_and(|bits| bits.is_multiple_of(8)))
        .ok_or_else(|| invalid(format!("`{}` has elements that are not whole bytes", weight.of)))?;
    let bits = element_type.bits().unwrap_or(8);
    let width = bits as usize / 8;
    let bytes = graph.model().tensor_bytes(whole)?;
    let shape: Vec<u64> = whole.dims.iter().map(|&extent| extent.max(0) as u64).collect();
    let axis = weight.axis as usize;
    let extent = *shape.get(axis).ok_or_else(|| invalid(format!("`{}` has no axis {axis}", weight.of)))?;
    if weight.ranges.iter().any(|&(start, end)| start >= end || end > extent) {
        return Err(invalid(format!("lies beyond the {extent} places of axis {axis} of `{}`", weight.of)));
    }
    let inner: usize = shape.iter().skip(axis + 1).map(|&extent| extent as usize).product::<usize>() * width;
    let outer: usize = shape.iter().take(axis).map(|&extent| extent as usize).product();
    let count: u64 = weight.ranges.iter().map(|(start, end)| end - start).sum();
    let dims = |count: u64| {
        let mut dims = whole.dims.clone();
        if let Some(extent) = dims.get_mut(axis) {
            *extent = count as i64;
        }
        dims
    };
    // Adjacent places of the first axis are adjacent bytes: those are shared.
    let data = match (outer, weight.ranges.as_slice()) {
        (1, &[(start, end)]) => bytes.slice(start as usize * inner..end as usize * inner),
        _ => {
            let mut data = Vec::with_capacity(outer * count as usize * inner);
            for row in 0..outer {
                for &(start, end) in &weight.ranges {
                    let first = (row * extent as usize + start as usize) * inner;
                    let last = (row * extent as usize + end as usize) * inner;
                    data.extend_from_slice(bytes.get(first..last).unwrap_or_default());
                }
            }
            Bytes::from(data)
        }
    };
    Ok(TensorProto {
        name: Some(weight.name.clone()),
        data_type: whole.data_type,
        dims: dims(count),
        raw_data: Some(data),
        ..TensorProto::default()
    })
}

fn stored(constant: &PatchConstant) -> Result<TensorProto, GraphError> {
    let invalid = |message: String| GraphError::invalid(message).at_tensor(&constant.name);
    let elements: u64 = constant.shape.iter().product();
    let values: Vec<f64> = match constant.values.as_slice() {
        &[value] => vec![value; elements as usize],
        values if values.len() as u64 == elements => values.to_vec(),
        values => return Err(invalid(format!("has {} values for shape {:?}", values.len(), constant.shape))),
    };
    let mut data = Vec::with_capacity(values.len() * 8);
    for value in values {
        match constant.element_type {
            ElementType::Float32 => data.extend((value as f32).to_le_bytes()),
            ElementType::Float64 => data.extend(value.to_le_bytes()),
            ElementType::Float16 => data.extend(half::f16::from_f64(value).to_le_bytes()),
            ElementType::BFloat16 => data.extend(half::bf16::from_f64(value).to_le_bytes()),
            ElementType::Int64 => data.extend((value as i64).to_le_bytes()),
            ElementType::Int32 => data.extend((value as i32).to_le_bytes()),
            ElementType::Int8 => data.extend((value as i8).to_le_bytes()),
            ElementType::UInt8 => data.extend((value as u8).to_le_bytes()),
            ElementType::Bool => data.push(u8::from(value != 0.0)),
            other => return Err(invalid(format!("a patch cannot store {other}"))),
        }
    }
    Ok(TensorProto {
        name: Some(constant.name.clone()),
        data_type: Some(constant.element_type.to_onnx()),
        dims: constant.shape.iter().map(|&extent| extent as i64).collect(),
        raw_data: Some(data.into()),
        ..TensorProto::default()
    })
}
