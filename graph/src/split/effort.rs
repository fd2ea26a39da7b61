//! How much work a node is, beside others of its layer.

use super::shape_of;
use crate::shapes::TensorFacts;
use crate::{Graph, NodeId};

/// Multiplications and additions of a node, roughly: what convolutions and products sum for each
/// element of their first output, one for each element otherwise. 1 where shapes are not known.
#[must_use]
pub fn effort(graph: &Graph, facts: &TensorFacts, id: NodeId) -> f64 {
    let node = graph.node(id);
    let elements = |place: Option<&Option<crate::TensorId>>| -> Option<f64> {
        let shape = shape_of(facts, place.copied().flatten()?)?;
        Some(shape.iter().map(|&extent| extent as f64).product())
    };
    let shape = |place: usize| shape_of(facts, node.inputs.get(place).copied().flatten()?);
    let written = elements(node.outputs.first()).unwrap_or(1.0);
    let read = elements(node.inputs.first()).unwrap_or(1.0);
    let each = match node.operator() {
        // Weights are output channels × input channels of a group × window.
        "Conv" => shape(1).map(|weights| weights.iter().skip(1).map(|&extent| extent as f64).product()),
        "ConvTranspose" => {
            let weights: Option<f64> =
                shape(1).map(|weights| weights.iter().skip(1).map(|&extent| extent as f64).product());
            return weights.map_or(written, |weights| read * weights).max(1.0);
        }
        "MatMul" => shape(0).and_then(|left| left.last()).map(|&extent| extent as f64),
        "Gemm" => {
            let contracted = elements(node.inputs.first()).map(|read| read / written.max(1.0));
            let columns = shape(1).and_then(|weights| weights.iter().max()).map(|&extent| extent as f64);
            contracted.zip(columns).map(|(share, columns)| (share * columns).max(1.0))
        }
        "MaxPool" | "AveragePool" => node
            .attribute("kernel_shape")
            .map(|window| window.ints.iter().map(|&extent| extent.max(1) as f64).product()),
        _ => return written.max(read).max(1.0),
    };
    (written * each.unwrap_or(1.0)).max(1.0)
}
