//! The verifier.

use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
};
use crate::onnx::{TypeProto, ValueInfoProto, type_proto::Value as TypeValue};
use crate::tensor_data::plausible_bytes;
use crate::visit::{initializer_names, subgraphs, try_tensors};
use crate::{Dimension, Graph, GraphError};
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use tranche_schema::ElementType;

const IR_VERSIONS: RangeInclusive<i64> = 3..=12;
const OPERATOR_SET_VERSIONS: RangeInclusive<i64> = 7..=23;

impl Graph {
    /// Checks every invariant of a graph, after loading or a rewrite.
    ///
    /// [`Graph::new`] has already made sure that, in the main graph:
    /// - every tensor and every listed input has a name, and each name is defined once
    ///   (by an input, an initialiser or a node);
    /// - nodes are in an order in which they can run, so there is no cycle, also in
    ///   subgraphs;
    /// - every input of a node, and every outer name that its subgraphs read at any
    ///   depth, is defined before it; likewise for reads inside subgraphs;
    /// - node names are unique (missing and repeated ones are replaced);
    /// - every output of the graph is defined.
    ///
    /// This checks that:
    /// - the IR version is 3 to 12, and the standard operator set 7 to 23;
    /// - no operator set is imported twice in different versions;
    /// - every node has an operator, whose domain is imported (or which is a local
    ///   function), at any depth;
    /// - no node has two attributes of a name; an attribute holds a value of the type
    ///   it says and of no other; none refers to a function's attribute outside of one;
    /// - inside each subgraph each name is defined once;
    /// - every stored tensor (initialiser, sparse part, attribute; at any depth) has a
    ///   known element type and no negative extent, its shape does not overflow, and
    ///   its data has as many bytes as shape and type ask; external data is inside of
    ///   the model's folder, there, and long enough;
    /// - a sparse initialiser has one-dimensional values, as many indices, and a shape;
    /// - declared types (inputs, outputs, values) have known element types, and a fully
    ///   fixed declared shape does not overflow;
    /// - an input of the graph that is no initialiser has a type; one that is an
    ///   initialiser has its element type;
    /// - local functions that are left (see [`Graph::load`], which inlines them) are
    ///   each defined once, and import the domains of their nodes.
    ///
    /// # Errors
    /// The first that does not hold, naming the node or tensor.
    pub fn verify(&self) -> Result<(), GraphError> {
        let proto = self.proto();
        let version = proto.ir_version();
        if !IR_VERSIONS.contains(&version) {
            return Err(GraphError::unsupported(format!(
                "IR version {version}; supported are {} to {}",
                IR_VERSIONS.start(),
                IR_VERSIONS.end()
            )));
        }
        let imported = imports(&proto.opset_import)?;
        let functions = functions(&proto.functions)?;
        for function in &proto.functions {
            let own = imports(&function.opset_import)?;
            let scope = Scope { imported: &own, functions: &functions, in_function: true };
            for node in &function.node {
                scope.node(node).map_err(|error| error.at_function(function.name()))?;
            }
        }
        Scope { imported: &imported, functions: &functions, in_function: false }.graph(self.source())?;
        for (node, proto) in self.nodes().iter().zip(&self.source().node) {
            for subgraph in subgraphs(proto) {
                defined_once(subgraph).map_err(|error| error.at_node(&node.name))?;
            }
        }
        try_tensors(self.source(), &mut |tensor| self.model().check_tensor(tensor))?;
        for sparse in &self.source().sparse_initializer {
            check_sparse(sparse)?;
        }
        self.verify_inputs()
    }

    fn verify_inputs(&self) -> Result<(), GraphError> {
        for &id in self.inputs() {
            let tensor = self.tensor(id);
            let info = self.source().input.iter().find(|info| info.name() == tensor.name);
            let value = info.and_then(|info| info.r#type.as_ref()?.value.as_ref());
            let is_typed = match value {
                Some(TypeValue::TensorType(_)) => tensor.element_type.is_some(),
                Some(_) => true,
                None => false,
            };
            if !is_typed {
                return Err(
                    GraphError::invalid("is an input without an element type").at_tensor(&tensor.name)
                );
            }
        }
        let stored: HashMap<&str, i32> = self
            .source()
            .initializer
            .iter()
            .map(|initializer| (initializer.name(), initializer.data_type()))
            .collect();
        for info in &self.source().input {
            let declared = info.r#type.as_ref().and_then(crate::graph::declared_tensor);
            if let (Some(&code), Some((Some(declared), _))) = (stored.get(info.name()), declared)
                && declared.to_onnx() != code
            {
                let stored = ElementType::from_onnx(code).map_or("unknown", ElementType::name);
                return Err(GraphError::invalid(format!(
                    "is declared as {declared}, but stored as {stored}"
                ))
                .at_tensor(info.name()));
            }
        }
        Ok(())
    }
}

fn standard(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn imports(opset_import: &[OperatorSetIdProto]) -> Result<HashSet<&str>, GraphError> {
    let mut versions: HashMap<&str, i64> = HashMap::new();
    for import in opset_import {
        let (domain, version) = (standard(import.domain()), import.version());
        let shown = if domain.is_empty() { "ai.onnx" } else { domain };
        if let Some(other) = versions.insert(domain, version).filter(|&other| other != version) {
            return Err(GraphError::invalid(format!(
                "operator set `{shown}` is imported in versions {other} and {version}"
            )));
        }
        if domain.is_empty() && !OPERATOR_SET_VERSIONS.contains(&version) {
            return Err(GraphError::unsupported(format!(
                "version {version} of the standard operator set; supported are {} to {}",
                OPERATOR_SET_VERSIONS.start(),
                OPERATOR_SET_VERSIONS.end()
            )));
        }
    }
    Ok(versions.into_keys().collect())
}

type FunctionKey<'a> = (&'a str, &'a str, &'a str);

fn functions(functions: &[FunctionProto]) -> Result<HashSet<FunctionKey<'_>>, GraphError> {
    let mut keys = HashSet::new();
    for function in functions {
        if !keys.insert((standard(function.domain()), function.name(), function.overload())) {
            return Err(GraphError::invalid("is defined twice").at_function(function.name()));
        }
    }
    Ok(keys)
}

/// What the nodes of a graph or a function may refer to.
struct Scope<'a> {
    imported: &'a HashSet<&'a str>,
    functions: &'a HashSet<FunctionKey<'a>>,
    in_function: bool,
}

impl Scope<'_> {
    fn graph(&self, graph: &GraphProto) -> Result<(), GraphError> {
        for info in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
            check_declaration(info)?;
        }
        graph.node.iter().try_for_each(|node| self.node(node))
    }

    fn node(&self, node: &NodeProto) -> Result<(), GraphError> {
        self.check(node).map_err(|error| {
            let name = if node.name().is_empty() {
                node.output.iter().find(|name| !name.is_empty()).map_or(node.op_type(), String::as_str)
            } else {
                node.name()
            };
            error.at_node(name)
        })
    }

    fn check(&self, node: &NodeProto) -> Result<(), GraphError> {
        if node.op_type().is_empty() {
            return Err(GraphError::invalid("has no operator"));
        }
        let domain = standard(node.domain());
        let is_local = self.functions.contains(&(domain, node.op_type(), node.overload()));
        if !is_local && !self.imported.contains(domain) {
            let shown = if domain.is_empty() { "ai.onnx" } else { domain };
            return Err(GraphError::invalid(format!(
                "is `{}` of operator set `{shown}`, which the model does not import",
                node.op_type()
            )));
        }
        let mut names = HashSet::new();
        for attribute in &node.attribute {
            if !names.insert(attribute.name()) {
                return Err(GraphError::invalid(format!("has two attributes `{}`", attribute.name())));
            }
            self.attribute(attribute)?;
        }
        subgraphs(node).try_for_each(|subgraph| self.graph(subgraph))
    }

    fn attribute(&self, attribute: &AttributeProto) -> Result<(), GraphError> {
        let name = attribute.name();
        if !attribute.ref_attr_name().is_empty() {
            return if self.in_function {
                Ok(())
            } else {
                Err(GraphError::invalid(format!(
                    "attribute `{name}` refers to `{}` of a function, but is in none",
                    attribute.ref_attr_name()
                )))
            };
        }
        let code = attribute.r#type.unwrap_or_default();
        let Ok(said) = AttributeType::try_from(code) else {
            return Err(GraphError::invalid(format!("attribute `{name}` has unknown type {code}")));
        };
        let held = held_types(attribute);
        let is_wrong = match said {
            AttributeType::Undefined => held.len() > 1,
            AttributeType::Tensor
            | AttributeType::Graph
            | AttributeType::SparseTensor
            | AttributeType::TypeProto => held != [said],
            // Zero and empty values are left out by some writers.
            _ => held.iter().any(|&held| held != said),
        };
        if is_wrong {
            let held: Vec<&str> = held.iter().map(AttributeType::as_str_name).collect();
            let held = if held.is_empty() { "nothing".to_owned() } else { held.join(", ") };
            return Err(GraphError::invalid(format!(
                "attribute `{name}` is said to be {}, but holds {held}",
                said.as_str_name()
            )));
        }
        Ok(())
    }
}

fn held_types(attribute: &AttributeProto) -> Vec<AttributeType> {
    [
        (AttributeType::Float, attribute.f.is_some_and(|value| value != 0.0)),
        (AttributeType::Int, attribute.i.is_some_and(|value| value != 0)),
        (AttributeType::String, attribute.s.as_ref().is_some_and(|value| !value.is_empty())),
        (AttributeType::Tensor, attribute.t.is_some()),
        (AttributeType::Graph, attribute.g.is_some()),
        (AttributeType::SparseTensor, attribute.sparse_tensor.is_some()),
        (AttributeType::TypeProto, attribute.tp.is_some()),
        (AttributeType::Floats, !attribute.floats.is_empty()),
        (AttributeType::Ints, !attribute.ints.is_empty()),
        (AttributeType::Strings, !attribute.strings.is_empty()),
        (AttributeType::Tensors, !attribute.tensors.is_empty()),
        (AttributeType::Graphs, !attribute.graphs.is_empty()),
        (AttributeType::SparseTensors, !attribute.sparse_tensors.is_empty()),
        (AttributeType::TypeProtos, !attribute.type_protos.is_empty()),
    ]
    .into_iter()
    .filter_map(|(kind, is_held)| is_held.then_some(kind))
    .collect()
}

/// Each name of a subgraph is defined once in it, at every depth; hiding an outer
/// name is left to the engines.
fn defined_once(graph: &GraphProto) -> Result<(), GraphError> {
    let twice =
        |name: &str| Err(GraphError::invalid("two tensors of a subgraph have this name").at_tensor(name));
    let mut listed: HashSet<&str> = HashSet::new();
    for input in &graph.input {
        if !listed.insert(input.name()) {
            return twice(input.name());
        }
    }
    let mut defined = HashSet::new();
    for name in initializer_names(graph) {
        // An initialiser may be listed as an input too.
        listed.remove(name);
        if !defined.insert(name) {
            return twice(name);
        }
    }
    defined.extend(listed);
    for node in &graph.node {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if !defined.insert(name) {
                return twice(name);
            }
        }
        subgraphs(node).try_for_each(defined_once)?;
    }
    Ok(())
}

fn check_sparse(sparse: &SparseTensorProto) -> Result<(), GraphError> {
    let name = sparse.values.as_ref().map_or("", |values| values.name());
    let invalid = |message: &str| Err(GraphError::invalid(message).at_tensor(name));
    let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
        return invalid("a sparse tensor without values or indices");
    };
    let &[count] = values.dims.as_slice() else {
        return invalid("the values of a sparse tensor are not one-dimensional");
    };
    let rank = sparse.dims.len() as i64;
    if indices.dims != [count] && indices.dims != [count, rank] {
        return invalid("a sparse tensor has not as many indices as values");
    }
    let elements = sparse
        .dims
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(u64::try_from(extent).ok()?));
    match elements {
        Some(elements) if u64::try_from(count).is_ok_and(|count| count <= elements) => Ok(()),
        Some(_) => invalid("a sparse tensor has more values than its shape"),
        None => invalid("a sparse tensor has a shape that cannot be"),
    }
}

fn check_declaration(info: &ValueInfoProto) -> Result<(), GraphError> {
    info.r#type.as_ref().map_or(Ok(()), check_type).map_err(|error| error.at_tensor(info.name()))
}

fn check_type(declared: &TypeProto) -> Result<(), GraphError> {
    let known = |code: i32| {
        // 0 says that the type is not known.
        if code == 0 || ElementType::from_onnx(code).is_some() {
            Ok(())
        } else {
            Err(GraphError::invalid(format!("is declared with unknown element type {code}")))
        }
    };
    match &declared.value {
        Some(TypeValue::TensorType(tensor)) => {
            known(tensor.elem_type())?;
            let Some((Some(element_type), Some(shape))) = crate::graph::declared_tensor(declared) else {
                return Ok(());
            };
            let fixed: Option<Vec<u64>> = shape
                .iter()
                .map(|dimension| match dimension {
                    Dimension::Fixed(extent) => Some(*extent),
                    Dimension::Symbol(_) | Dimension::Unknown => None,
                })
                .collect();
            match fixed {
                Some(shape) if plausible_bytes(element_type, &shape).is_none() => {
                    Err(GraphError::invalid(format!("declared shape {shape:?} is too large to exist")))
                }
                _ => Ok(()),
            }
        }
        Some(TypeValue::SparseTensorType(tensor)) => known(tensor.elem_type()),
        Some(TypeValue::SequenceType(sequence)) => sequence.elem_type.as_deref().map_or(Ok(()), check_type),
        Some(TypeValue::OptionalType(optional)) => optional.elem_type.as_deref().map_or(Ok(()), check_type),
        Some(TypeValue::MapType(map)) => {
            known(map.key_type())?;
            map.value_type.as_deref().map_or(Ok(()), check_type)
        }
        Some(TypeValue::OpaqueType(_)) | None => Ok(()),
    }
}
