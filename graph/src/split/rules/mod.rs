//! A rule for each operator: what a part's share of its outputs is made of.
//!
//! A rule is given what is wanted of the node's outputs ([`Part`]), never all of it whole, and
//! gives back what it needs of the inputs and the nodes that make the share ([`Rewrite`]). What
//! it asks for is what its nodes are given, to the element.

mod concat;
mod conv;
mod conv_transpose;
mod depth_space;
mod dropout;
mod elementwise;
mod global_pool;
mod matmul;
mod normalise_channels;
mod pad;
mod pool;
mod resize;
mod slice;
mod split;
mod window;

use super::part::{Part, Rewrite};
use super::{Need, Refusal};
use crate::Node;

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
pub(super) fn contracts(node: &Node) -> bool {
    let is_product = matches!(node.operator(), "MatMul" | "Gemm" | "Conv" | "ConvTranspose");
    node.domain().is_empty() && (is_product || global_pool::sums(node.operator()))
}

/// Places of the inputs in which the node is linear: a sum of such inputs gives the sum of outputs.
pub(super) fn linear_inputs(node: &Node) -> impl Iterator<Item = usize> + use<> {
    match (node.domain(), node.operator()) {
        ("", "Add") => 0..2,
        (
            "",
            "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" | "Neg" | "Dropout"
            | "AveragePool" | "DepthToSpace" | "SpaceToDepth" | "Pad" | "Resize" | "Upsample" | "Slice",
        ) => 0..1,
        _ => 0..0,
    }
}
