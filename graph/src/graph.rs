use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
};
use crate::onnx::{tensor_shape_proto::dimension::Value as DimensionValue, type_proto::Value as TypeValue};
use crate::scope::captured_names;
use crate::{GraphError, Model, functions, sort};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::LazyLock;
use tranche_schema::ElementType;

/// Index of a node in its [`Graph`]; means nothing in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Index of a tensor in its [`Graph`]; means nothing in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

/// One extent of a declared shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Known.
    Fixed(u64),
    /// Named, bound at run time.
    Symbol(String),
    /// Not said.
    Unknown,
}

/// Where a tensor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorKind {
    /// The caller gives it.
    Input,
    /// A weight stored in the file, at this place in `GraphProto.initializer`
    /// (also when it is listed among the inputs).
    Initializer(u32),
    /// A weight at this place in `GraphProto.sparse_initializer`.
    SparseInitializer(u32),
    /// A node computes it.
    Activation(NodeId),
}

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name, unique in the graph.
    pub name: String,
    /// Where it comes from.
    pub kind: TensorKind,
    /// Nodes that read it, each once, in graph order; captures by subgraphs included.
    pub consumers: Vec<NodeId>,
    /// Type of each element, where declared or inferred.
    pub element_type: Option<ElementType>,
    /// Shape, where declared or inferred.
    pub shape: Option<Vec<Dimension>>,
}

/// A node of the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique name: the file's, or `Operator_index` where the file has none or repeats it.
    pub name: String,
    /// Inputs in order; `None` for an optional input left out.
    pub inputs: Vec<Option<TensorId>>,
    /// Outer tensors that its subgraph attributes read, each once, in order of first use.
    pub captures: Vec<TensorId>,
    /// Outputs in order; `None` for an optional output left out.
    pub outputs: Vec<Option<TensorId>>,
    /// The node as the file says it.
    pub proto: NodeProto,
}

impl Node {
    /// Operator, as `Conv`.
    #[must_use]
    pub fn operator(&self) -> &str {
        self.proto.op_type()
    }

    /// Operator set; empty for the standard one.
    #[must_use]
    pub fn domain(&self) -> &str {
        match self.proto.domain() {
            "ai.onnx" => "",
            other => other,
        }
    }

    /// An attribute by name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// Every tensor it reads, captures included, left-out inputs skipped; may repeat.
    pub fn reads(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.inputs.iter().flatten().copied().chain(self.captures.iter().copied())
    }

    /// Every tensor it writes.
    pub fn writes(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.outputs.iter().flatten().copied()
    }
}

/// A model's main graph, with names resolved.
///
/// Nodes are in an order in which they can run: the file's wherever it is one.
/// The graph is immutable: a rewrite builds a new model.
#[derive(Clone, Debug)]
pub struct Graph {
    model: Model,
    nodes: Vec<Node>,
    tensors: Vec<TensorInfo>,
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    tensor_by_name: HashMap<String, TensorId>,
    node_by_name: HashMap<String, NodeId>,
}

impl Graph {
    /// Loads a model over a memory map and makes a checked graph of it, as
    /// [`Graph::from_model`] does.
    ///
    /// # Errors
    /// When the file cannot be read or is not a valid model that tranche supports.
    pub fn load(path: &Path) -> Result<Self, GraphError> {
        Self::from_model(Model::load(path)?).map_err(|error| match error.path {
            Some(_) => error,
            None => error.in_file(path),
        })
    }

    /// Inlines the local functions of a model, resolves its names ([`Graph::new`])
    /// and verifies it ([`Graph::verify`]).
    ///
    /// # Errors
    /// When it is not a valid model that tranche supports.
    pub fn from_model(model: Model) -> Result<Self, GraphError> {
        let graph = Self::new(functions::inline(model)?)?;
        graph.verify()?;
        Ok(graph)
    }

    /// Resolves the names of `model`, whose nodes (and those of its subgraphs) are
    /// first sorted when the file has them in an order in which they cannot run.
    ///
    /// Inputs are those of the file that are not also initialisers. Calls of local
    /// functions are left as they are.
    ///
    /// # Errors
    /// When the model has no graph, a name is defined twice, nodes are on a cycle,
    /// a node reads a name that nothing defines, or an output is never defined.
    pub fn new(mut model: Model) -> Result<Self, GraphError> {
        if let Some(graph) = &mut model.proto.graph {
            sort::sort(graph)?;
        }
        Builder::default().build(model)
    }

    /// The model it was made from.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The file's parts outside of the graph, and the graph itself.
    #[must_use]
    pub fn proto(&self) -> &ModelProto {
        &self.model.proto
    }

    /// The main graph as the file says it.
    #[must_use]
    pub fn source(&self) -> &GraphProto {
        static NONE: LazyLock<GraphProto> = LazyLock::new(GraphProto::default);
        self.model.proto.graph.as_ref().unwrap_or(&NONE)
    }

    /// Nodes in an order in which they can run.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Ids of the nodes, in order.
    pub fn node_ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Every tensor.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// A tensor.
    #[must_use]
    pub fn tensor(&self, id: TensorId) -> &TensorInfo {
        &self.tensors[id.0 as usize]
    }

    /// What the caller gives.
    #[must_use]
    pub fn inputs(&self) -> &[TensorId] {
        &self.inputs
    }

    /// What the caller gets.
    #[must_use]
    pub fn outputs(&self) -> &[TensorId] {
        &self.outputs
    }

    /// A tensor by name.
    #[must_use]
    pub fn find_tensor(&self, name: &str) -> Option<TensorId> {
        self.tensor_by_name.get(name).copied()
    }

    /// A node by name.
    #[must_use]
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        self.node_by_name.get(name).copied()
    }

    /// The stored weight behind a tensor, when it is a dense initialiser.
    #[must_use]
    pub fn initializer(&self, id: TensorId) -> Option<&TensorProto> {
        match self.tensor(id).kind {
            TensorKind::Initializer(index) => self.source().initializer.get(index as usize),
            _ => None,
        }
    }

    /// Whether a tensor is a weight, dense or sparse.
    #[must_use]
    pub fn is_initializer(&self, id: TensorId) -> bool {
        matches!(self.tensor(id).kind, TensorKind::Initializer(_) | TensorKind::SparseInitializer(_))
    }

    /// The node that computes a tensor.
    #[must_use]
    pub fn producer(&self, id: TensorId) -> Option<NodeId> {
        match self.tensor(id).kind {
            TensorKind::Activation(node) => Some(node),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Builder {
    /// Names that the file gives to nodes, kept from being made up for others.
    named: HashSet<String>,
    nodes: Vec<Node>,
    tensors: Vec<TensorInfo>,
    tensor_by_name: HashMap<String, TensorId>,
    node_by_name: HashMap<String, NodeId>,
}

impl Builder {
    fn build(mut self, model: Model) -> Result<Graph, GraphError> {
        let Some(graph) = model.proto.graph.as_ref() else {
            return Err(GraphError::invalid("the model has no graph"));
        };
        self.named = graph.node.iter().map(|node| node.name().to_owned()).collect();
        for (index, initializer) in graph.initializer.iter().enumerate() {
            let id = self.define(initializer.name(), TensorKind::Initializer(index as u32))?;
            self.tensors[id.0 as usize].element_type = ElementType::from_onnx(initializer.data_type());
            self.tensors[id.0 as usize].shape =
                Some(initializer.dims.iter().map(|&extent| Dimension::from_extent(extent)).collect());
        }
        for (index, sparse) in graph.sparse_initializer.iter().enumerate() {
            let name = sparse.values.as_ref().map_or("", |values| values.name());
            self.define(name, TensorKind::SparseInitializer(index as u32))?;
        }
        let mut inputs = Vec::new();
        let mut listed = HashSet::new();
        for input in &graph.input {
            if !listed.insert(input.name()) {
                return Err(
                    GraphError::invalid("the graph has two inputs of this name").at_tensor(input.name())
                );
            }
            if self.tensor_by_name.contains_key(input.name()) {
                continue;
            }
            let id = self.define(input.name(), TensorKind::Input)?;
            self.declare(id, input);
            inputs.push(id);
        }
        let declared: HashMap<&str, &ValueInfoProto> =
            graph.value_info.iter().chain(&graph.output).map(|info| (info.name(), info)).collect();
        for node in &graph.node {
            self.add_node(node, &declared)?;
        }
        let outputs = graph
            .output
            .iter()
            .map(|output| {
                self.tensor_by_name.get(output.name()).copied().ok_or_else(|| {
                    GraphError::invalid("the graph gives it out, but nothing computes it")
                        .at_tensor(output.name())
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Graph {
            nodes: self.nodes,
            tensors: self.tensors,
            inputs,
            outputs,
            tensor_by_name: self.tensor_by_name,
            node_by_name: self.node_by_name,
            model,
        })
    }

    fn define(&mut self, name: &str, kind: TensorKind) -> Result<TensorId, GraphError> {
        if name.is_empty() {
            return Err(GraphError::invalid("a tensor has no name"));
        }
        let id = TensorId(self.tensors.len() as u32);
        if self.tensor_by_name.insert(name.to_owned(), id).is_some() {
            return Err(GraphError::invalid("two tensors have this name").at_tensor(name));
        }
        self.tensors.push(TensorInfo {
            name: name.to_owned(),
            kind,
            consumers: Vec::new(),
            element_type: None,
            shape: None,
        });
        Ok(id)
    }

    fn declare(&mut self, id: TensorId, info: &ValueInfoProto) {
        let tensor = &mut self.tensors[id.0 as usize];
        if let Some((element_type, shape)) = info.r#type.as_ref().and_then(declared_tensor) {
            tensor.element_type = element_type;
            tensor.shape = shape;
        }
    }

    fn add_node(
        &mut self,
        proto: &NodeProto,
        declared: &HashMap<&str, &ValueInfoProto>,
    ) -> Result<(), GraphError> {
        let id = NodeId(self.nodes.len() as u32);
        let name = self.unique_node_name(proto, id);
        let resolve = |tensor: &str| {
            self.tensor_by_name.get(tensor).copied().ok_or_else(|| {
                GraphError::invalid(format!("reads `{tensor}`, which nothing defines")).at_node(&name)
            })
        };
        let inputs = proto
            .input
            .iter()
            .map(|tensor| if tensor.is_empty() { Ok(None) } else { resolve(tensor).map(Some) })
            .collect::<Result<Vec<_>, _>>()?;
        let captures = captured_names(proto).into_iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        let mut outputs = Vec::with_capacity(proto.output.len());
        for tensor in &proto.output {
            if tensor.is_empty() {
                outputs.push(None);
                continue;
            }
            let output =
                self.define(tensor, TensorKind::Activation(id)).map_err(|error| error.at_node(&name))?;
            if let Some(info) = declared.get(tensor.as_str()) {
                self.declare(output, info);
            }
            outputs.push(Some(output));
        }
        let node = Node { name: name.clone(), inputs, captures, outputs, proto: proto.clone() };
        for tensor in node.reads() {
            let consumers = &mut self.tensors[tensor.0 as usize].consumers;
            if consumers.last() != Some(&id) {
                consumers.push(id);
            }
        }
        self.node_by_name.insert(name, id);
        self.nodes.push(node);
        Ok(())
    }

    fn unique_node_name(&self, proto: &NodeProto, id: NodeId) -> String {
        if !proto.name().is_empty() && !self.node_by_name.contains_key(proto.name()) {
            return proto.name().to_owned();
        }
        let mut name = format!("{}_{}", proto.op_type(), id.0);
        while self.node_by_name.contains_key(&name) || self.named.contains(&name) {
            name.push('_');
        }
        name
    }
}

impl Dimension {
    fn from_extent(extent: i64) -> Self {
        u64::try_from(extent).map_or(Self::Unknown, Self::Fixed)
    }
}

pub(crate) fn declared_tensor(declared: &TypeProto) -> Option<(Option<ElementType>, Option<Vec<Dimension>>)> {
    let Some(TypeValue::TensorType(tensor)) = declared.value.as_ref() else { return None };
    let shape = tensor.shape.as_ref().map(|shape| {
        shape
            .dim
            .iter()
            .map(|dimension| match dimension.value.as_ref() {
                Some(DimensionValue::DimValue(extent)) => Dimension::from_extent(*extent),
                // Some exporters write `?` for every extent they do not know: it is no name.
                Some(DimensionValue::DimParam(symbol)) if !matches!(symbol.as_str(), "" | "?") => {
                    Dimension::Symbol(symbol.clone())
                }
                _ => Dimension::Unknown,
            })
            .collect()
    });
    Some((ElementType::from_onnx(tensor.elem_type()), shape))
}
