//! What crosses the borders of slices.

use crate::{Problem, Segment};
use std::ops::Range;
use tranche_schema::{Channel, Codec, Edge, TensorSpec};

/// Tensors read in the range and written before it, in problem order.
pub(crate) fn slice_inputs(problem: &Problem, range: &Range<usize>) -> Vec<TensorSpec> {
    let reads = |tensor: &&crate::BorderTensor| {
        tensor.producer.is_none_or(|producer| producer < range.start)
            && tensor.consumers.iter().any(|consumer| range.contains(consumer))
    };
    problem.tensors.iter().filter(reads).map(|tensor| tensor.spec.clone()).collect()
}

/// Tensors written in the range and needed after it, in problem order.
pub(crate) fn slice_outputs(problem: &Problem, range: &Range<usize>) -> Vec<TensorSpec> {
    let writes = |tensor: &&crate::BorderTensor| {
        tensor.producer.is_some_and(|producer| range.contains(&producer))
            && (tensor.to_caller || tensor.consumers.last().is_some_and(|&last| last >= range.end))
    };
    problem.tensors.iter().filter(writes).map(|tensor| tensor.spec.clone()).collect()
}

/// Edges by producer (the caller first), then by name.
pub(crate) fn edges(problem: &Problem, path: &[Segment]) -> Vec<Edge> {
    let slice_of = |layer: usize| path.iter().position(|segment| segment.layers.contains(&layer));
    let mut edges = Vec::new();
    for tensor in &problem.tensors {
        let from = tensor.producer.and_then(slice_of);
        let mut to: Vec<usize> = tensor
            .consumers
            .iter()
            .filter_map(|&layer| slice_of(layer))
            .filter(|&to| Some(to) != from)
            .collect();
        to.dedup();
        if to.is_empty() && !tensor.to_caller {
            continue;
        }
        let name = |slice: usize| format!("slice-{slice}");
        let edge = Edge {
            tensor: tensor.spec.clone(),
            from: from.map(name),
            to: to.into_iter().map(name).collect(),
            to_caller: tensor.to_caller,
            codec: Codec::Raw,
            channel: Channel::Inline,
        };
        edges.push((from, edge));
    }
    edges.sort_by(|(left_from, left), (right_from, right)| {
        left_from.cmp(right_from).then_with(|| left.tensor.name.cmp(&right.tensor.name))
    });
    edges.into_iter().map(|(_, edge)| edge).collect()
}
