//! `Shape` and `Size` nodes of tensors whose shape is known, as initialisers.

use super::{FoldReport, drop_unread, named, rebuild};
use crate::onnx::TensorProto;
use crate::{Graph, GraphError, Node};
use std::collections::BTreeMap;
use tranche_schema::{ElementType, TensorSpec};

/// The same computation for inputs of exactly the shapes that `specs` were found
/// with: `Shape` and `Size` nodes of tensors in `specs` become initialisers, so
/// that what is computed from them is constant and no cut passes a shape on.
///
/// Nodes of other tensors, and those whose result the caller reads, stay.
///
/// # Errors
/// When a shape has more extents than ONNX can write.
pub fn fold_shapes(
    graph: &Graph,
    specs: &BTreeMap<String, TensorSpec>,
) -> Result<(Graph, FoldReport), GraphError> {
    let mut report = FoldReport::default();
    let mut nodes = Vec::with_capacity(graph.nodes().len());
    let mut weights = Vec::new();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let given = node.writes().any(|tensor| graph.outputs().contains(&tensor));
        let spec = shape_reader(node)
            .and_then(|()| node.inputs.first().copied().flatten())
            .and_then(|tensor| specs.get(&graph.tensor(tensor).name));
        match spec.filter(|_| !given).and_then(|spec| stored(node, &spec.shape)) {
            Some(weight) => {
                weights.push(weight);
                report.constants += 1;
                report.removed_nodes.push(node.name.clone());
            }
            None => nodes.push(named(graph, id)),
        }
    }
    let folded = rebuild(graph, nodes, weights, graph.source().value_info.clone())?;
    Ok((drop_unread(&folded, &mut report)?, report))
}

/// Names of the tensors whose shapes [`fold_shapes`] can use.
#[must_use]
pub fn shape_sources(graph: &Graph) -> Vec<String> {
    let mut names: Vec<String> = graph
        .nodes()
        .iter()
        .filter(|node| shape_reader(node).is_some())
        .filter_map(|node| node.inputs.first().copied().flatten())
        .map(|tensor| graph.tensor(tensor).name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn shape_reader(node: &Node) -> Option<()> {
    (matches!(node.operator(), "Shape" | "Size") && node.domain().is_empty()).then_some(())
}

/// What the node gives for an input of this shape (ONNX operators `Shape` and
/// `Size`; `start` and `end` since operator set 15, negative ones from the end).
fn stored(node: &Node, shape: &[u64]) -> Option<TensorProto> {
    let [output] = node.proto.output.as_slice() else { return None };
    let extents: Vec<i64> = shape.iter().map(|&extent| i64::try_from(extent).ok()).collect::<Option<_>>()?;
    let (dims, values) = if node.operator() == "Size" {
        let elements = extents.iter().try_fold(1_i64, |product, &extent| product.checked_mul(extent))?;
        (Vec::new(), vec![elements])
    } else {
        let rank = extents.len() as i64;
        let place = |name: &str, default: i64| {
            let given = node.attribute(name).map_or(default, |attribute| attribute.i());
            (if given < 0 { given.saturating_add(rank) } else { given }).clamp(0, rank) as usize
        };
        let (start, end) = (place("start", 0), place("end", rank));
        let values = extents.get(start..end.max(start))?.to_vec();
        (vec![values.len() as i64], values)
    };
    Some(TensorProto {
        name: Some(output.clone()),
        data_type: Some(ElementType::Int64.to_onnx()),
        dims,
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..TensorProto::default()
    })
}
