//! What a plan changes in its model's graph before slices are cut out of it: some nodes
//! are replaced by parts that can run at once (docs: horizontal splits).

use crate::{ElementType, TensorSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The value of an attribute that a patch sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttributeValue {
    /// An integer.
    Integer(i64),
    /// Integers.
    Integers(Vec<i64>),
    /// A real number.
    Real(f32),
    /// Text.
    Text(String),
}

/// A node that a patch adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchNode {
    /// Unique name.
    pub name: String,
    /// The removed node whose operator, domain and attributes it has; none where `operator` says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// Operator of the standard set, where it is like no other node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Tensors it reads; empty text for one left out.
    pub inputs: Vec<String>,
    /// Tensors it writes; empty text for one left out.
    pub outputs: Vec<String>,
    /// Attributes that it has in place of, or beside, those of the node it is like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, AttributeValue>,
    /// Attributes of the node it is like that it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// An initialiser that is part of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialWeight {
    /// Its name.
    pub name: String,
    /// The initialiser it is a part of.
    pub of: String,
    /// The axis along which it is a part.
    pub axis: u32,
    /// Which places of that axis, start and end of each range, ascending.
    pub ranges: Vec<(u64, u64)>,
    /// Its shape.
    pub shape: Vec<u64>,
}

/// A small initialiser that a patch adds: a shape, bounds, a zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchConstant {
    /// Its name.
    pub name: String,
    /// Type of each element; integers and booleans are exact, reals are rounded to the type.
    pub element_type: ElementType,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its elements: one for each place, or a single one for all.
    pub values: Vec<f64>,
}

/// Nodes taken out of a graph, and what is put in their place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// Names of the nodes taken out.
    pub removed: Vec<String>,
    /// Nodes put in, in an order in which they can run.
    pub nodes: Vec<PatchNode>,
    /// Initialisers put in that are parts of others.
    pub weights: Vec<PartialWeight>,
    /// Other initialisers put in.
    pub constants: Vec<PatchConstant>,
    /// Types and shapes of the tensors that nodes put in write.
    pub tensors: Vec<TensorSpec>,
}

/// How the outputs of parts make the tensor that they replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// One after the other along an axis; part `p` makes the places from the `p`-th bound to the next.
    Concat {
        /// The axis.
        axis: u32,
        /// One more than there are parts, ascending.
        bounds: Vec<u64>,
    },
    /// Added up.
    Sum,
    /// The first part alone makes it.
    First,
}

/// Layers that run as parts at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Unique name, as `height4-3fa92c1b`.
    pub name: String,
    /// Layers that are split, in order.
    pub layers: Vec<String>,
    /// The tensor that the split is said of: the layers' largest output.
    pub seed: String,
    /// Number of parts.
    pub parts: u32,
    /// Summands are made of this many adjacent places of a contracted axis, or a multiple: heads, say.
    pub grain: u64,
    /// How each tensor that is read beyond the layers is made of the parts' outputs.
    pub joins: BTreeMap<String, Join>,
    /// Part of the layers' work that each part does, 0 to 1; above 1 / parts where it is done more than once.
    pub work: Vec<f64>,
    /// Bytes of the weights that each part holds.
    pub weights_bytes: Vec<crate::ByteCount>,
    /// Bytes of the weights of the layers.
    pub whole_weights_bytes: crate::ByteCount,
    /// Bytes that go to each part.
    pub scattered_bytes: Vec<crate::ByteCount>,
    /// Bytes that come from each part.
    pub gathered_bytes: Vec<crate::ByteCount>,
}
