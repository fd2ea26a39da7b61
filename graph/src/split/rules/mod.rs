//! A rule for each operator: what a part's share of its outputs is made of.
//!
//! A rule is given what is wanted of the node's outputs ([`Part`]), never all of it whole, and
//! gives back what it needs of the inputs and the nodes that make the share ([`Rewrite`]). What
//! it asks for is what its nodes are given, to the element.

mod conv;
mod elementwise;
mod matmul;
mod window;

use super::Refusal;
use super::part::{Part, Rewrite};
use crate::Node;

/// A part's share of a node.
///
/// # Errors
/// When no rule divides the node so.
pub(super) fn rewrite(part: &Part<'_>) -> Result<Rewrite, Refusal> {
    let rule = match (part.node.domain(), part.node.operator()) {
        ("", "Conv") => conv::rewrite,
        ("", "MatMul") => matmul::rewrite,
        ("", operator) if elementwise::is_elementwise(operator) => elementwise::rewrite,
        (domain, _) => {
            let of = if domain.is_empty() { String::new() } else { format!(" of {domain}") };
            return Err(part.refuse(format!("no rule divides this operator{of}")));
        }
    };
    rule(part)
}

/// Whether the node sums over places of its inputs that parts can share.
pub(super) fn contracts(node: &Node) -> bool {
    node.domain().is_empty() && matches!(node.operator(), "MatMul" | "Gemm" | "Conv")
}

/// Places of the inputs in which the node is linear: a sum of such inputs gives the sum of outputs.
pub(super) fn linear_inputs(node: &Node) -> impl Iterator<Item = usize> + use<> {
    let places = match (node.domain(), node.operator()) {
        ("", "Add") => 0..2,
        (
            "",
            "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" | "Neg" | "Dropout",
        ) => 0..1,
        _ => 0..0,
    };
    places
}
