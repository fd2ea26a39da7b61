//! A rule for each operator: what a part's share of its outputs is made of.
//!
//! A rule is given what is wanted of the node's outputs ([`Part`]), never all of it whole, and
//! gives back what it needs of the inputs and the nodes that make the share ([`Rewrite`]). What
//! it asks for is what its nodes are given, to the element.

mod along;
mod attention;
mod concat;
mod conv;
mod conv_transpose;
mod depth_space;
mod dropout;
mod einsum;
mod elementwise;
mod expand;
mod gather;
mod gemm;
mod global_pool;
mod layer_norm;
mod matmul;
mod normalise_channels;
mod pad;
mod pool;
mod recurrent;
mod reshape;
mod resize;
mod rotary;
mod scatter;
mod slice;
mod softmax;
mod split;
mod transpose;
mod window;

use super::part::{Part, Rewrite};
use super::{Need, Refusal};
use crate::{Graph, Node};

/// A part's share of a node.
///
/// # Errors
/// When no rule divides the node so.
pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let rule = match (part.node.domain(), part.node.operator()) {
        ("", "Concat") => concat::rewrite,
        ("", "Conv") => conv::rewrite,
        ("", "ConvTranspose") => conv_transpose::rewrite,
        ("", "DepthToSpace" | "SpaceToDepth") => depth_space::rewrite,
        ("", "Dropout") => dropout::rewrite,
        ("", "MatMul") => matmul::rewrite,
        ("", "Gemm") => gemm::rewrite,
        ("", "Einsum") => einsum::rewrite,
        ("", "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") => reshape::rewrite,
        ("" | "com.microsoft", "RotaryEmbedding") => rotary::rewrite,
        ("", "Transpose") => transpose::rewrite,
        ("", "Softmax" | "LogSoftmax" | "Hardmax") => softmax::rewrite,
        ("", "LayerNormalization" | "RMSNormalization")
        | ("" | "com.microsoft", "SimplifiedLayerNormalization")
        | ("com.microsoft", "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization") => {
            layer_norm::rewrite
        }
        ("", "Gather" | "GatherElements" | "GatherND") => gather::rewrite,
        ("", "ScatterND" | "ScatterElements" | "Scatter") => scatter::rewrite,
        ("", "Expand" | "Tile" | "ConstantOfShape" | "Range" | "Shape") => expand::rewrite,
        ("", "CumSum" | "OneHot" | "TopK" | "ArgMax" | "ArgMin") => along::rewrite,
        ("", "LSTM" | "GRU" | "RNN") => recurrent::rewrite,
        ("", "Attention") | ("com.microsoft", "Attention" | "MultiHeadAttention" | "GroupQueryAttention") => {
            attention::rewrite
        }
        ("", "BatchNormalization" | "InstanceNormalization" | "GroupNormalization" | "LRN") => {
            normalise_channels::rewrite
        }
        ("", "Pad") => pad::rewrite,
        ("", "MaxPool" | "AveragePool" | "LpPool") => pool::rewrite,
        ("", "Resize" | "Upsample") => resize::rewrite,
        ("", "Slice") => slice::rewrite,
        ("", "Split") => split::rewrite,
        ("", operator) if global_pool::reduces(operator) => global_pool::rewrite,
        ("", operator) if elementwise::is_elementwise(operator) => elementwise::rewrite,
        (domain, _) => {
            let of = if domain.is_empty() { String::new() } else { format!(" of {domain}") };
            return Err(part.refuse(format!("no rule divides this operator{of}")));
        }
    };
    rule(part)
}

/// Whether the rule has something to leave out although every output that is wanted is wanted whole.
pub(super) fn narrows(node: &Node, wanted: &[Option<Need>]) -> bool {
    node.domain().is_empty() && node.operator() == "Split" && wanted.iter().any(Option::is_none)
}

/// Whether the node sums over places of its inputs that parts can share.
pub(super) fn contracts(graph: &Graph, node: &Node) -> bool {
    let is_stored = |place: usize| {
        node.inputs.get(place).copied().flatten().is_some_and(|tensor| graph.is_initializer(tensor))
    };
    match (node.domain(), node.operator()) {
        ("", "MatMul" | "Gemm" | "Conv" | "ConvTranspose" | "Einsum") => true,
        ("", operator) if global_pool::sums(operator) => true,
        // Rows of a stored table.
        ("", "Gather") => is_stored(0),
        ("", "ScatterND" | "ScatterElements") => {
            node.attribute("reduction").is_some_and(|attribute| attribute.s() == b"add")
        }
        _ => false,
    }
}

/// Places of the inputs in which the node is linear: a sum of such inputs gives the sum of outputs.
pub(super) fn linear_inputs(node: &Node) -> impl Iterator<Item = usize> + use<> {
    match (node.domain(), node.operator()) {
        ("", "Add") => 0..2,
        (
            "",
            "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" | "Neg" | "Dropout"
            | "Gather" | "GatherElements" | "GatherND" | "Expand" | "Tile" | "CumSum" | "AveragePool"
            | "DepthToSpace" | "SpaceToDepth" | "Pad" | "Resize" | "Upsample" | "Slice",
        ) => 0..1,
        _ => 0..0,
    }
}
