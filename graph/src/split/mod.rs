//! Horizontal splits: layers as parts that run at once.
//!
//! A region of nodes is replaced by `k` parts, each of which makes a share of what the region
//! gives out; the shares are joined where they are read. What a part must compute follows
//! backwards from its share, node by node: a rule for each operator says, for the elements
//! wanted of its outputs, which elements of its inputs they are made of, and writes the node
//! that makes just those. So one algebra covers
//!
//! - **tiles** of height, width, depth, or both: a convolution wants its window more than it is
//!   asked for (the halo), within the tensor, and is padded only where the whole is;
//! - **channels, columns, heads, batch**: a place of the output needs that place of the weights;
//! - **sums**: a part makes a summand of all elements from some places of a contracted axis, and
//!   the parts' outputs are added. What is upstream is then wanted at those places only, so a
//!   column split follows a row split without anything passed between parts (Shoeybi and others,
//!   "Megatron-LM", arXiv 1909.08053), and attention comes out split by heads;
//! - **edges** of a graph: messages are gathered at some edges and their scattered sums added.
//!
//! A tensor that is wanted at different places by several readers is made at all of them, and
//! each reader takes its own; one that is wanted along two axes is made whole. Elements that
//! several parts make are the price of not passing them: [`DividedPart::shares`] tells it.

mod apply;
mod divide;
mod effort;
mod emit;
mod need;
mod part;
mod rules;

pub use apply::apply;
pub use divide::{DividedPart, Divider, Division, divide};
pub use effort::effort;
pub use emit::{Names, emit_join, emit_part, emit_piece, write};
pub use need::{Need, Ranges};
pub use part::{Argument, Constant, Operation, Part, Rewrite};

use crate::shapes::TensorFacts;
use crate::{GraphError, TensorId};

/// Why a region cannot be split this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operator} node `{node}` cannot be split: {reason}")]
pub struct Refusal {
    /// The node.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// Where borders between parts would have to lie at multiples of some number of places, that.
    pub grain: Option<u64>,
}

impl From<Refusal> for GraphError {
    fn from(refusal: Refusal) -> Self {
        let node = refusal.node.clone();
        Self::unsupported(format!("cannot be split: {}", refusal.reason)).at_node(&node)
    }
}

/// `count + 1` bounds that divide `extent` places as evenly as can be, longer parts first.
#[must_use]
pub fn even_bounds(extent: u64, count: usize) -> Vec<u64> {
    let count = count.max(1) as u64;
    let (each, more) = (extent / count, extent % count);
    (0..=count).map(|part| part * each + part.min(more)).collect()
}

/// Concrete shape of a tensor, where it is known.
fn shape_of(facts: &TensorFacts, tensor: TensorId) -> Option<&[u64]> {
    facts.spec(tensor).map(|spec| spec.shape.as_slice())
}
