//! Constant folding, so that slices carry weights and no cut ships them.

mod constant;
mod evaluate;
mod identity;
mod shape;

pub use shape::{fold_shapes, shape_sources};

use crate::onnx::{
    GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
    type_proto,
};
use crate::visit::{initializer_names, subgraphs};
use crate::{Graph, GraphError, Model, NodeId};
use std::collections::HashSet;
use tranche_schema::Tensor;

/// Computes what depends on nothing but constants.
pub trait ConstantEvaluator {
    /// The tensors named `outputs`, in this order, of a model without inputs whose
    /// weights are all inline. Types and shapes of its outputs may be undeclared.
    ///
    /// # Errors
    /// What stopped it, in words; the nodes then stay as they are.
    fn evaluate(&self, model: &Model, outputs: &[String]) -> Result<Vec<Tensor>, String>;
}

/// How much larger than what it replaces a folded tensor may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldLimit {
    /// Bytes that the results of one constant part may take beyond the weights
    /// that they make unnecessary.
    pub growth_bytes: u64,
}

impl Default for FoldLimit {
    /// 1 MiB: masks and tables of positions fold, packed and broadcast weights stay as they are.
    fn default() -> Self {
        Self { growth_bytes: 1 << 20 }
    }
}

/// What [`fold_constants`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldReport {
    /// `Constant` nodes that became initialisers.
    pub constants: usize,
    /// `Identity` nodes removed, and `Dropout` nodes that are one at inference.
    pub identities: usize,
    /// Nodes that an evaluator computed.
    pub evaluated: usize,
    /// Names of all nodes removed, in graph order within each kind above.
    pub removed_nodes: Vec<String>,
    /// Names of the initialisers that nothing reads any more.
    pub removed_weights: Vec<String>,
    /// What was left as it is, and why.
    pub notes: Vec<String>,
}

/// The same computation with its constants folded.
///
/// `Constant` nodes become initialisers (those with `sparse_value` stay);
/// `Identity` nodes, and `Dropout` nodes where the operator set makes them one at
/// inference, are removed by renaming (those that connect a model input or an
/// initialiser to an output stay, and those whose tensors subgraphs capture);
/// connected nodes that depend on initialisers only are computed by `evaluator`,
/// where there is one, except random operators, `QuantizeLinear` and
/// `DequantizeLinear` (engines fuse them), operators with subgraphs, what the
/// caller reads directly, and what would grow beyond `limit`; initialisers that
/// nothing reads are dropped. Weights not touched share their bytes with `graph`.
/// Surviving nodes keep their names, which are written into the model.
///
/// # Errors
/// When a stored constant contradicts itself. An evaluator's failure is none: the
/// nodes stay and the report says so.
pub fn fold_constants(
    graph: &Graph,
    evaluator: Option<&dyn ConstantEvaluator>,
    limit: FoldLimit,
) -> Result<(Graph, FoldReport), GraphError> {
    let mut report = FoldReport::default();
    let mut folded = constant::fold(graph, &mut report)?;
    folded = identity::fold(&folded, &mut report)?;
    if let Some(evaluator) = evaluator {
        folded = evaluate::fold(folded, evaluator, limit, &mut report)?;
    }
    folded = drop_unread(&folded, &mut report)?;
    Ok((folded, report))
}

/// `graph` with these nodes, in order, more initialisers, and these declarations
/// of activations. Declarations of tensors that no longer exist go.
fn rebuild(
    graph: &Graph,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    mut value_info: Vec<ValueInfoProto>,
) -> Result<Graph, GraphError> {
    let source = graph.source();
    let mut names: HashSet<String> = nodes.iter().flat_map(|node| node.output.iter().cloned()).collect();
    value_info.retain(|info| names.contains(info.name()));
    names.extend(source.input.iter().map(|info| info.name().to_owned()));
    names.extend(initializer_names(source).map(str::to_owned));
    let mut input = source.input.clone();
    if graph.proto().ir_version() < 4 {
        // Initialisers are to be listed among the inputs there.
        input.extend(weights.iter().map(listed));
    }
    let mut initializer = source.initializer.clone();
    initializer.extend(weights);
    names.extend(initializer.iter().map(|weight| weight.name().to_owned()));
    let mut quantization_annotation = source.quantization_annotation.clone();
    quantization_annotation.retain(|annotation| names.contains(annotation.tensor_name()));
    with_source(
        graph,
        GraphProto {
            node: nodes,
            initializer,
            input,
            value_info,
            quantization_annotation,
            ..source_rest(source)
        },
    )
}

/// The parts of a graph that folding does not touch.
fn source_rest(source: &GraphProto) -> GraphProto {
    GraphProto {
        name: source.name.clone(),
        sparse_initializer: source.sparse_initializer.clone(),
        doc_string: source.doc_string.clone(),
        output: source.output.clone(),
        metadata_props: source.metadata_props.clone(),
        ..GraphProto::default()
    }
}

fn with_source(graph: &Graph, source: GraphProto) -> Result<Graph, GraphError> {
    let proto = crate::onnx::ModelProto { graph: Some(source), ..without_graph(graph) };
    Graph::new(Model { proto, folder: graph.model().folder.clone() })
}

/// The file's parts outside of the graph.
pub(crate) fn without_graph(graph: &Graph) -> crate::onnx::ModelProto {
    let whole = graph.proto();
    crate::onnx::ModelProto {
        ir_version: whole.ir_version,
        opset_import: whole.opset_import.clone(),
        producer_name: whole.producer_name.clone(),
        producer_version: whole.producer_version.clone(),
        domain: whole.domain.clone(),
        model_version: whole.model_version,
        doc_string: whole.doc_string.clone(),
        graph: None,
        metadata_props: whole.metadata_props.clone(),
        training_info: whole.training_info.clone(),
        functions: whole.functions.clone(),
        configuration: whole.configuration.clone(),
    }
}

pub(crate) fn listed(weight: &TensorProto) -> ValueInfoProto {
    let dim = weight
        .dims
        .iter()
        .map(|&extent| tensor_shape_proto::Dimension {
            value: Some(tensor_shape_proto::dimension::Value::DimValue(extent)),
            ..Default::default()
        })
        .collect();
    let tensor = type_proto::Tensor { elem_type: weight.data_type, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: weight.name.clone(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None }),
        ..Default::default()
    }
}

/// A node as it is to be written: under its unique name.
fn named(graph: &Graph, id: NodeId) -> NodeProto {
    let node = graph.node(id);
    NodeProto { name: Some(node.name.clone()), ..node.proto.clone() }
}

fn has_subgraph(node: &NodeProto) -> bool {
    subgraphs(node).next().is_some()
}

/// Drops initialisers that neither a node, a subgraph, an output nor a
/// quantisation annotation names.
fn drop_unread(graph: &Graph, report: &mut FoldReport) -> Result<Graph, GraphError> {
    let source = graph.source();
    let mut read: HashSet<&str> = source.output.iter().map(ValueInfoProto::name).collect();
    for tensor in graph.tensors().iter().filter(|tensor| !tensor.consumers.is_empty()) {
        read.insert(&tensor.name);
    }
    for annotation in &source.quantization_annotation {
        read.extend(annotation.quant_parameter_tensor_names.iter().map(|entry| entry.value()));
    }
    let unread: HashSet<String> =
        initializer_names(source).filter(|name| !read.contains(name)).map(str::to_owned).collect();
    report
        .removed_weights
        .extend(initializer_names(source).filter(|&name| unread.contains(name)).map(str::to_owned));
    let mut kept = source.clone();
    kept.node = graph.node_ids().map(|id| named(graph, id)).collect();
    kept.initializer.retain(|weight| !unread.contains(weight.name()));
    kept.sparse_initializer
        .retain(|sparse| sparse.values.as_ref().is_none_or(|values| !unread.contains(values.name())));
    kept.input.retain(|info| !unread.contains(info.name()));
    with_source(graph, kept)
}
