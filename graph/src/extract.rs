//! Cutting a set of nodes out of a graph as a model of its own.

use crate::onnx::{
    GraphProto, ModelProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use crate::visit::{initializer_names, subgraphs};
use crate::{Dimension, Graph, GraphError, Model, NodeId, TensorId, TensorInfo, TensorKind};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tranche_schema::{ElementType, TensorSpec};

/// A part of a graph as a model of its own.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// The model; its weights are shared with the graph it was cut from.
    pub model: Model,
    /// Activations and model inputs that it reads, in order of first use.
    pub inputs: Vec<String>,
    /// Activations that it writes and that other nodes or the caller read, in
    /// order of production.
    pub outputs: Vec<String>,
}

impl Graph {
    /// Cuts these nodes out as a valid model, with the types and shapes that the
    /// graph knows. See [`Graph::extract_with`].
    ///
    /// # Errors
    /// As [`Graph::extract_with`].
    pub fn extract(&self, nodes: &[NodeId], name: &str) -> Result<Extracted, GraphError> {
        self.extract_with(nodes, name, &BTreeMap::new())
    }

    /// Cuts these nodes out as a valid model named `name`.
    ///
    /// Inputs are the activations and model inputs that the nodes (and their
    /// subgraphs) read from outside, outputs the activations that others or the
    /// caller read. Only initialisers in use come along. Nodes are in graph order
    /// and carry their unique names. `specs` tells element types and concrete
    /// shapes known better than the file does, by tensor name. A part with
    /// subgraphs is declared with the file's own extents all the same: a branch
    /// that is not taken may be invalid for the concrete ones, and engines infer
    /// shapes in every branch. Opset imports, IR version, metadata, functions and
    /// quantisation annotations are kept.
    ///
    /// # Errors
    /// When a node is not of this graph, the set is empty or computes nothing that
    /// anyone reads, or the type of a tensor on its border is not known.
    pub fn extract_with(
        &self,
        nodes: &[NodeId],
        name: &str,
        specs: &BTreeMap<String, TensorSpec>,
    ) -> Result<Extracted, GraphError> {
        let nodes: BTreeSet<NodeId> = nodes.iter().copied().collect();
        if let Some(stranger) = nodes.iter().find(|id| id.0 as usize >= self.nodes().len()) {
            return Err(GraphError::invalid(format!("node {} is not of this graph", stranger.0)));
        }
        let border = Border::of(self, &nodes);
        if border.outputs.is_empty() {
            return Err(GraphError::invalid(format!("part `{name}` computes nothing that anyone reads")));
        }
        let branches = nodes.iter().any(|&id| subgraphs(&self.node(id).proto).next().is_some());
        let declarations = Declarations { keeps_extents: branches, ..Declarations::of(self, specs) };
        let inputs =
            border.inputs.iter().map(|&id| declarations.border(id)).collect::<Result<Vec<_>, _>>()?;
        let outputs =
            border.outputs.iter().map(|&id| declarations.border(id)).collect::<Result<Vec<_>, _>>()?;
        let source = self.source();
        let names = |ids: &[TensorId]| ids.iter().map(|&id| self.tensor(id).name.clone()).collect::<Vec<_>>();
        let (input_names, output_names) = (names(&border.inputs), names(&border.outputs));

        let present: HashSet<&str> = border.tensors.iter().map(|&id| self.tensor(id).name.as_str()).collect();
        let annotations: Vec<_> = source
            .quantization_annotation
            .iter()
            .filter(|annotation| present.contains(annotation.tensor_name()))
            .cloned()
            .collect();
        let mut weights: HashSet<&str> = present.clone();
        weights.extend(
            annotations
                .iter()
                .flat_map(|annotation| &annotation.quant_parameter_tensor_names)
                .map(|entry| entry.value()),
        );
        let on_border: HashSet<&str> = input_names.iter().chain(&output_names).map(String::as_str).collect();
        let graph = GraphProto {
            name: Some(name.to_owned()),
            node: nodes
                .iter()
                .map(|&id| {
                    let node = self.node(id);
                    let mut proto = node.proto.clone();
                    proto.name = Some(node.name.clone());
                    proto
                })
                .collect(),
            initializer: source
                .initializer
                .iter()
                .filter(|weight| weights.contains(weight.name()))
                .cloned()
                .collect(),
            sparse_initializer: source
                .sparse_initializer
                .iter()
                .filter(|sparse| sparse.values.as_ref().is_some_and(|values| weights.contains(values.name())))
                .cloned()
                .collect(),
            input: inputs.into_iter().chain(self.listed_weights(&weights)).collect(),
            output: outputs,
            value_info: source
                .value_info
                .iter()
                .filter(|info| present.contains(info.name()) && !on_border.contains(info.name()))
                .map(|info| declarations.interior(info))
                .collect(),
            quantization_annotation: annotations.clone(),
            doc_string: source.doc_string.clone(),
            metadata_props: source.metadata_props.clone(),
        };
        let whole = self.proto();
        let proto = ModelProto {
            ir_version: whole.ir_version,
            opset_import: whole.opset_import.clone(),
            producer_name: whole.producer_name.clone(),
            producer_version: whole.producer_version.clone(),
            domain: whole.domain.clone(),
            model_version: whole.model_version,
            doc_string: whole.doc_string.clone(),
            graph: Some(graph),
            metadata_props: whole.metadata_props.clone(),
            training_info: Vec::new(),
            functions: whole.functions.clone(),
            configuration: whole.configuration.clone(),
        };
        let model = Model { proto, folder: self.model().folder.clone() };
        Ok(Extracted { model, inputs: input_names, outputs: output_names })
    }

    /// Below IR version 4 every initialiser must be listed as an input too; above
    /// it that would make a constant into something that callers may replace.
    fn listed_weights(&self, weights: &HashSet<&str>) -> Vec<ValueInfoProto> {
        if self.proto().ir_version() >= 4 {
            return Vec::new();
        }
        let source = self.source();
        let stored: HashSet<&str> = initializer_names(source).collect();
        source
            .input
            .iter()
            .filter(|info| weights.contains(info.name()) && stored.contains(info.name()))
            .cloned()
            .collect()
    }
}

/// What a set of nodes shares with the rest of the graph.
struct Border {
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    /// Every tensor that the nodes read or write.
    tensors: HashSet<TensorId>,
}

impl Border {
    fn of(graph: &Graph, nodes: &BTreeSet<NodeId>) -> Self {
        let given_out: HashSet<TensorId> = graph.outputs().iter().copied().collect();
        let mut border = Self { inputs: Vec::new(), outputs: Vec::new(), tensors: HashSet::new() };
        for &id in nodes {
            let node = graph.node(id);
            for tensor in node.reads() {
                let is_new = border.tensors.insert(tensor);
                let from_outside = match graph.tensor(tensor).kind {
                    TensorKind::Input => true,
                    TensorKind::Activation(producer) => !nodes.contains(&producer),
                    TensorKind::Initializer(_) | TensorKind::SparseInitializer(_) => false,
                };
                if is_new && from_outside {
                    border.inputs.push(tensor);
                }
            }
            for tensor in node.writes() {
                border.tensors.insert(tensor);
                let read_outside =
                    graph.tensor(tensor).consumers.iter().any(|consumer| !nodes.contains(consumer));
                if read_outside || given_out.contains(&tensor) {
                    border.outputs.push(tensor);
                }
            }
        }
        border
    }
}

/// What is known of each tensor's type.
struct Declarations<'a> {
    graph: &'a Graph,
    declared: HashMap<&'a str, &'a ValueInfoProto>,
    specs: &'a BTreeMap<String, TensorSpec>,
    /// Whether concrete shapes are left out where the file has others.
    keeps_extents: bool,
}

impl<'a> Declarations<'a> {
    fn of(graph: &'a Graph, specs: &'a BTreeMap<String, TensorSpec>) -> Self {
        let source = graph.source();
        let declared = source
            .value_info
            .iter()
            .chain(&source.output)
            .chain(&source.input)
            .map(|info| (info.name(), info))
            .collect();
        Self { graph, declared, specs, keeps_extents: false }
    }

    /// The declaration of a tensor on the border, whose type must be known.
    fn border(&self, id: TensorId) -> Result<ValueInfoProto, GraphError> {
        let tensor = self.graph.tensor(id);
        let mut info = self.declared.get(tensor.name.as_str()).map_or_else(
            || ValueInfoProto { name: Some(tensor.name.clone()), ..ValueInfoProto::default() },
            |&info| info.clone(),
        );
        if let Some(spec) = self.specs.get(&tensor.name) {
            let extents = self.extents(spec, &info);
            set_type(&mut info, spec.element_type, Some(extents));
            return Ok(info);
        }
        let is_known = match info.r#type.as_ref().and_then(|declared| declared.value.as_ref()) {
            Some(type_proto::Value::TensorType(tensor)) => tensor.elem_type() != 0,
            Some(_) => true,
            None => false,
        };
        if !is_known {
            let element_type = tensor.element_type.ok_or_else(|| unknown_type(tensor))?;
            set_type(&mut info, element_type, tensor.shape.as_deref().map(shape));
        }
        Ok(info)
    }

    /// The declaration of a tensor inside, as the file says it or as is known better.
    fn interior(&self, info: &ValueInfoProto) -> ValueInfoProto {
        let mut info = info.clone();
        if let Some(spec) = self.specs.get(info.name()) {
            let extents = self.extents(spec, &info);
            set_type(&mut info, spec.element_type, Some(extents));
        }
        info
    }

    /// The shape to declare where `spec` is known and the file says `info`.
    fn extents(&self, spec: &TensorSpec, info: &ValueInfoProto) -> TensorShapeProto {
        let declared = match info.r#type.as_ref().and_then(|declared| declared.value.as_ref()) {
            Some(type_proto::Value::TensorType(tensor)) => tensor.shape.clone(),
            _ => None,
        };
        match declared.filter(|shape| shape.dim.len() == spec.shape.len()) {
            _ if !self.keeps_extents => fixed(&spec.shape),
            Some(shape) => shape,
            None => shape(&vec![Dimension::Unknown; spec.shape.len()]),
        }
    }
}

/// The declaration of a tensor of which type and shape are known.
pub(crate) fn declaration(spec: &TensorSpec) -> ValueInfoProto {
    let mut info = ValueInfoProto { name: Some(spec.name.clone()), ..ValueInfoProto::default() };
    set_type(&mut info, spec.element_type, Some(fixed(&spec.shape)));
    info
}

fn unknown_type(tensor: &TensorInfo) -> GraphError {
    GraphError::invalid(
        "lies on the border of a part, but its element type is not declared; infer or measure it first",
    )
    .at_tensor(&tensor.name)
}

fn set_type(info: &mut ValueInfoProto, element_type: ElementType, shape: Option<TensorShapeProto>) {
    let denotation = info.r#type.take().and_then(|declared| declared.denotation);
    let tensor = type_proto::Tensor { elem_type: Some(element_type.to_onnx()), shape };
    info.r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation });
}

fn fixed(extents: &[u64]) -> TensorShapeProto {
    shape(&extents.iter().map(|&extent| Dimension::Fixed(extent)).collect::<Vec<_>>())
}

fn shape(dimensions: &[Dimension]) -> TensorShapeProto {
    use tensor_shape_proto::dimension::Value;
    let dim = dimensions
        .iter()
        .map(|dimension| tensor_shape_proto::Dimension {
            value: match dimension {
                Dimension::Fixed(extent) => i64::try_from(*extent).ok().map(Value::DimValue),
                Dimension::Symbol(symbol) => Some(Value::DimParam(symbol.clone())),
                Dimension::Unknown => None,
            },
            denotation: None,
        })
        .collect();
    TensorShapeProto { dim }
}
