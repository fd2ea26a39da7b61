//! The few fields of an ONNX file that engines do not tell: node names and which
//! tensors they make. Everything else, weights above all, is skipped when decoding.

use crate::node_names::unique_node_names;
use prost::Message;
use std::path::Path;

#[derive(Clone, PartialEq, Message)]
struct ModelSkeleton {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphSkeleton>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphSkeleton {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeSkeleton>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueSkeleton>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeSkeleton {
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(string, tag = "7")]
    domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct ValueSkeleton {
    #[prost(string, tag = "1")]
    name: String,
}

/// A node of the main graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SkeletonNode {
    /// Unique name: see [`unique_node_names`].
    pub(crate) name: String,
    /// The name that ONNX Runtime gives it: the file's, else operator and index, not
    /// counting constants, which it makes initializers of.
    pub(crate) runtime_name: String,
    /// Tensors it makes, without the empty names of outputs left out.
    pub(crate) outputs: Vec<String>,
}

/// Nodes of the main graph in order, and the names of its outputs.
pub(crate) struct Skeleton {
    pub(crate) nodes: Vec<SkeletonNode>,
    pub(crate) outputs: Vec<String>,
}

impl Skeleton {
    pub(crate) fn read(model: &[u8]) -> Result<Self, String> {
        let model = ModelSkeleton::decode(model).map_err(|error| error.to_string())?;
        let graph = model.graph.unwrap_or_default();
        let names =
            unique_node_names(graph.node.iter().map(|node| (node.name.as_str(), node.op_type.as_str())));
        let mut index = 0;
        let nodes = graph.node.into_iter().zip(names).map(|(node, name)| {
            let runtime_name =
                if node.name.is_empty() { format!("{}_{index}", node.op_type) } else { node.name };
            let is_constant = node.op_type == "Constant" && matches!(node.domain.as_str(), "" | "ai.onnx");
            index += usize::from(!is_constant);
            let outputs = node.output.into_iter().filter(|output| !output.is_empty()).collect();
            SkeletonNode { name, runtime_name, outputs }
        });
        Ok(Self {
            nodes: nodes.collect(),
            outputs: graph.output.into_iter().map(|value| value.name).collect(),
        })
    }
}

/// The bytes that, put behind an ONNX file, declare these tensors as outputs of its
/// graph: protobuf merges a message that comes in two parts and joins their lists.
pub(crate) fn output_declarations(tensors: &[&str]) -> Vec<u8> {
    let output = tensors.iter().map(|name| ValueSkeleton { name: (*name).to_owned() }).collect();
    ModelSkeleton { graph: Some(GraphSkeleton { node: Vec::new(), output }) }.encode_to_vec()
}

/// The file's bytes, mapped.
#[expect(unsafe_code, reason = "a model of gigabytes must not be read into memory to find its names")]
pub(crate) fn map(path: &Path) -> Result<memmap2::Mmap, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    // SAFETY: the file is opened for reading and the map is private to this call's
    // user; model files are not rewritten in place while they are in use (tranche
    // writes to a temporary file and renames).
    unsafe { memmap2::Mmap::map(&file) }.map_err(|error| error.to_string())
}
