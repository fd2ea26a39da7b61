//! A graph as text for people, and as a drawing for Graphviz.

use crate::bind::shape_text;
use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use crate::tensor_data::{Declared, is_external};
use crate::visit::subgraphs;
use crate::{Dimension, Graph, Model, NodeId, TensorId, TensorKind};
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use tranche_schema::{ByteCount, ElementType};

/// Longer constants and attribute lists are elided.
const SHOWN_ELEMENTS: usize = 8;
/// Longer texts are elided.
const SHOWN_CHARACTERS: usize = 60;

impl fmt::Display for Graph {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let imports: Vec<String> = self
            .proto()
            .opset_import
            .iter()
            .map(|import| match import.domain() {
                "" => format!("ai.onnx {}", import.version()),
                domain => format!("{domain} {}", import.version()),
            })
            .collect();
        writeln!(
            formatter,
            "graph `{}` (IR {}, operators {})",
            self.source().name(),
            self.proto().ir_version(),
            imports.join(", ")
        )?;
        writeln!(formatter, "inputs:")?;
        for &id in self.inputs() {
            writeln!(formatter, "  {}", self.typed(id))?;
        }
        if self
            .tensors()
            .iter()
            .any(|tensor| !matches!(tensor.kind, TensorKind::Input | TensorKind::Activation(_)))
        {
            writeln!(formatter, "weights:")?;
        }
        for initializer in &self.source().initializer {
            writeln!(formatter, "  {}", weight(self.model(), initializer))?;
        }
        for sparse in &self.source().sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |values| values.name());
            writeln!(formatter, "  {name}: sparse {:?}", sparse.dims)?;
        }
        writeln!(formatter, "nodes:")?;
        for node in self.nodes() {
            let outputs: Vec<String> = node
                .outputs
                .iter()
                .map(|output| output.map_or_else(|| "_".to_owned(), |id| self.typed(id)))
                .collect();
            write_node(formatter, self.model(), &outputs.join(", "), &node.proto, 1)?;
        }
        writeln!(formatter, "outputs:")?;
        for &id in self.outputs() {
            writeln!(formatter, "  {}", self.typed(id))?;
        }
        Ok(())
    }
}

impl Graph {
    /// A tensor as `name: type[shape]`, as far as known.
    fn typed(&self, id: TensorId) -> String {
        let tensor = self.tensor(id);
        match (&tensor.element_type, &tensor.shape) {
            (None, None) => tensor.name.clone(),
            (element_type, shape) => {
                format!("{}: {}", tensor.name, type_text(*element_type, shape.as_deref()))
            }
        }
    }

    /// The graph in Graphviz's language, nodes drawn in these named clusters (or
    /// in none). Weights are left out, edges carry shapes.
    #[must_use]
    pub fn to_dot(&self, clusters: Option<&[(String, Vec<NodeId>)]>) -> String {
        let mut text = String::from(
            "digraph model {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n",
        );
        let mut cluster_of: HashMap<NodeId, usize> = HashMap::new();
        for (index, (name, nodes)) in clusters.into_iter().flatten().enumerate() {
            let _ = writeln!(text, "  subgraph cluster_{index} {{\n    label={};", quoted(name));
            for &id in nodes.iter().filter(|id| (id.0 as usize) < self.nodes().len()) {
                if cluster_of.insert(id, index).is_none() {
                    let _ = writeln!(text, "    {}", self.dot_node(id));
                }
            }
            text.push_str("  }\n");
        }
        for id in self.node_ids().filter(|id| !cluster_of.contains_key(id)) {
            let _ = writeln!(text, "  {}", self.dot_node(id));
        }
        for &id in self.inputs() {
            let _ = writeln!(text, "  t{} [shape=ellipse, label={}];", id.0, quoted(&self.typed(id)));
        }
        for (index, &id) in self.outputs().iter().enumerate() {
            let _ = writeln!(text, "  o{index} [shape=ellipse, label={}];", quoted(&self.typed(id)));
        }
        self.dot_edges(&mut text);
        text.push_str("}\n");
        text
    }

    fn dot_edges(&self, text: &mut String) {
        for (index, tensor) in self.tensors().iter().enumerate() {
            let Some(source) = self.dot_source(TensorId(index as u32)) else { continue };
            let label = tensor.shape.as_deref().map(shape_text).unwrap_or_default();
            for consumer in &tensor.consumers {
                let _ = writeln!(text, "  {source} -> n{} [label={}];", consumer.0, quoted(&label));
            }
        }
        for (index, &id) in self.outputs().iter().enumerate() {
            if let Some(source) = self.dot_source(id) {
                let _ = writeln!(text, "  {source} -> o{index};");
            }
        }
    }

    fn dot_source(&self, id: TensorId) -> Option<String> {
        match self.tensor(id).kind {
            TensorKind::Input => Some(format!("t{}", id.0)),
            TensorKind::Activation(node) => Some(format!("n{}", node.0)),
            TensorKind::Initializer(_) | TensorKind::SparseInitializer(_) => None,
        }
    }

    fn dot_node(&self, id: NodeId) -> String {
        let node = self.node(id);
        format!("n{} [label={}];", id.0, quoted(&format!("{}\n{}", node.operator(), node.name)))
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

fn type_text(element_type: Option<ElementType>, shape: Option<&[Dimension]>) -> String {
    let element_type = element_type.map_or("?", ElementType::name);
    match shape {
        Some(shape) => format!("{element_type}[{}]", shape_text(shape)),
        None => element_type.to_owned(),
    }
}

fn write_node(
    formatter: &mut fmt::Formatter<'_>,
    model: &Model,
    outputs: &str,
    node: &NodeProto,
    depth: usize,
) -> fmt::Result {
    let inputs: Vec<&str> =
        node.input.iter().map(|name| if name.is_empty() { "_" } else { name.as_str() }).collect();
    let operator = match node.domain() {
        "" | "ai.onnx" => node.op_type().to_owned(),
        domain => format!("{domain}.{}", node.op_type()),
    };
    write!(formatter, "{:indent$}{outputs} = {operator}({})", "", inputs.join(", "), indent = 2 * depth)?;
    let attributes: Vec<String> =
        node.attribute.iter().map(|attribute| attribute_text(model, attribute)).collect();
    if attributes.is_empty() {
        writeln!(formatter)?;
    } else {
        writeln!(formatter, " {{{}}}", attributes.join(", "))?;
    }
    for subgraph in subgraphs(node) {
        write_subgraph(formatter, model, subgraph, depth + 1)?;
    }
    Ok(())
}

fn write_subgraph(
    formatter: &mut fmt::Formatter<'_>,
    model: &Model,
    graph: &GraphProto,
    depth: usize,
) -> fmt::Result {
    let indent = 2 * depth;
    let names =
        |infos: &[ValueInfoProto]| infos.iter().map(ValueInfoProto::name).collect::<Vec<_>>().join(", ");
    writeln!(
        formatter,
        "{:indent$}`{}` ({}) -> ({}):",
        "",
        graph.name(),
        names(&graph.input),
        names(&graph.output)
    )?;
    for initializer in &graph.initializer {
        writeln!(formatter, "{:indent$}  {}", "", weight(model, initializer))?;
    }
    for node in &graph.node {
        let outputs: Vec<&str> =
            node.output.iter().map(|name| if name.is_empty() { "_" } else { name.as_str() }).collect();
        write_node(formatter, model, &outputs.join(", "), node, depth + 1)?;
    }
    Ok(())
}

fn weight(model: &Model, tensor: &TensorProto) -> String {
    format!("{}: {}", tensor.name(), tensor_text(model, tensor))
}

/// Type and shape, then the elements when they are few, else the size.
fn tensor_text(model: &Model, tensor: &TensorProto) -> String {
    let Ok(declared) = Declared::of(tensor) else {
        return format!("type {} {:?} (invalid)", tensor.data_type(), tensor.dims);
    };
    let head = format!("{}{:?}", declared.element_type, tensor.dims);
    let is_short = declared.elements <= SHOWN_ELEMENTS as u64 && !is_external(tensor);
    let values = is_short.then(|| model.tensor_bytes(tensor).ok()).flatten();
    match values.and_then(|bytes| values_text(declared.element_type, &bytes)) {
        Some(values) if tensor.dims.is_empty() => format!("{head} = {values}"),
        Some(values) => format!("{head} = [{values}]"),
        None => declared.bytes.map_or_else(|| head.clone(), |bytes| format!("{head} ({})", ByteCount(bytes))),
    }
}

fn values_text(element_type: ElementType, bytes: &[u8]) -> Option<String> {
    fn list<const N: usize, T: fmt::Display>(bytes: &[u8], read: fn([u8; N]) -> T) -> String {
        let values: Vec<String> =
            bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk).to_string()).collect();
        values.join(", ")
    }
    Some(match element_type {
        ElementType::Float32 => list(bytes, f32::from_le_bytes),
        ElementType::Float64 => list(bytes, f64::from_le_bytes),
        ElementType::Float16 => list(bytes, half::f16::from_le_bytes),
        ElementType::BFloat16 => list(bytes, half::bf16::from_le_bytes),
        ElementType::Int64 => list(bytes, i64::from_le_bytes),
        ElementType::Int32 => list(bytes, i32::from_le_bytes),
        ElementType::Int16 => list(bytes, i16::from_le_bytes),
        ElementType::Int8 => list(bytes, i8::from_le_bytes),
        ElementType::UInt64 => list(bytes, u64::from_le_bytes),
        ElementType::UInt32 => list(bytes, u32::from_le_bytes),
        ElementType::UInt16 => list(bytes, u16::from_le_bytes),
        ElementType::UInt8 => list(bytes, u8::from_le_bytes),
        ElementType::Bool => list(bytes, |[byte]: [u8; 1]| byte != 0),
        _ => return None,
    })
}

fn attribute_text(model: &Model, attribute: &AttributeProto) -> String {
    fn list<T: ToString>(values: &[T]) -> String {
        let shown: Vec<String> = values.iter().take(SHOWN_ELEMENTS).map(T::to_string).collect();
        let rest = values.len().saturating_sub(SHOWN_ELEMENTS);
        let tail = if rest > 0 { format!(", … {rest} more") } else { String::new() };
        format!("[{}{tail}]", shown.join(", "))
    }
    fn text(bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        if text.chars().count() <= SHOWN_CHARACTERS {
            return format!("{text:?}");
        }
        format!("{:?}…", text.chars().take(SHOWN_CHARACTERS).collect::<String>())
    }
    let value = match attribute.r#type() {
        AttributeType::Float => attribute.f().to_string(),
        AttributeType::Int => attribute.i().to_string(),
        AttributeType::String => text(attribute.s()),
        AttributeType::Tensor => {
            attribute.t.as_ref().map_or_else(String::new, |tensor| tensor_text(model, tensor))
        }
        AttributeType::Graph => format!("`{}`", attribute.g.as_ref().map_or("", |graph| graph.name())),
        AttributeType::Floats => list(&attribute.floats),
        AttributeType::Ints => list(&attribute.ints),
        AttributeType::Strings => {
            list(&attribute.strings.iter().map(|bytes| text(bytes)).collect::<Vec<_>>())
        }
        AttributeType::Graphs => {
            list(&attribute.graphs.iter().map(|graph| format!("`{}`", graph.name())).collect::<Vec<_>>())
        }
        AttributeType::Tensors => {
            list(&attribute.tensors.iter().map(|tensor| tensor_text(model, tensor)).collect::<Vec<_>>())
        }
        AttributeType::Undefined
        | AttributeType::SparseTensor
        | AttributeType::SparseTensors
        | AttributeType::TypeProto
        | AttributeType::TypeProtos => "…".to_owned(),
    };
    format!("{}={value}", attribute.name())
}
