//! Graph networks over an edge list.

use crate::builder::{Attribute, Builder, Value, bytes_of};
use crate::layers::Activation;
use tranche_graph::Model;
use tranche_graph::onnx::TensorProto;
use tranche_schema::ElementType;

/// Nodes, edges and features of the Cora citation graph.
pub(crate) const CORA_NODES: u64 = 2708;
pub(crate) const CORA_EDGES: u64 = 10_556;
const CORA_FEATURES: i64 = 1433;
const CORA_CLASSES: i64 = 7;

/// Source and target node of each edge, and the number of nodes as a vector.
struct Edges {
    source: Value,
    target: Value,
    nodes: Value,
}

impl Edges {
    fn new(builder: &Builder, features: &Value, edges: &Value) -> Self {
        let source = builder.select(edges, 0, 0);
        let target = builder.select(edges, 1, 0);
        let nodes = builder.unsqueeze(&builder.extent(features, 0), &[0]);
        Self { source, target, nodes }
    }

    /// The shape [nodes, `trailing`…].
    fn shape(&self, builder: &Builder, trailing: &[i64]) -> Value {
        builder.concat(&[&self.nodes, &builder.integers(trailing)], 0)
    }
}

/// The graph convolutional network (arXiv 1609.02907) with two layers, for Cora.
pub(crate) fn gcn_cora() -> Model {
    graph_convolution("gcn_cora", &[CORA_FEATURES, 16, CORA_CLASSES])
}

/// A graph convolutional network with four wide layers.
pub(crate) fn gcn_wide() -> Model {
    graph_convolution("gcn_wide", &[602, 1024, 512, 256, 41])
}

/// Layers of these widths; the caller normalises the adjacency (`edge_norm`, one real for each edge).
#[expect(clippy::cast_precision_loss, reason = "a fan is small")]
fn graph_convolution(name: &str, widths: &[i64]) -> Model {
    let builder = Builder::new(name);
    let (first, last) = (widths.first().copied().unwrap_or(0), widths.last().copied().unwrap_or(0));
    let mut x = builder.input("x", ElementType::Float32, &format!("V,{first}"));
    let edge_index = builder.input("edge_index", ElementType::Int64, "2,E");
    let edge_norm = builder.input("edge_norm", ElementType::Float32, "E");
    let edges = Edges::new(&builder, &x, &edge_index);
    let norm = builder.unsqueeze(&edge_norm, &[1]);
    let add = [("reduction", Attribute::Text("add"))];
    for (layer, pair) in widths.windows(2).enumerate() {
        let &[from, to] = pair else { continue };
        x = builder.matrix_multiply(&x, &builder.weight(&[from, to], from as f64, 1.41));
        let messages = builder.multiply(&builder.gather(&x, &edges.source), &norm);
        let zero = builder.node("ConstantOfShape", &[&edges.shape(&builder, &[to])], &[]);
        let index = builder.unsqueeze(&edges.target, &[1]);
        x = builder.node("ScatterND", &[&zero, &index, &messages], &add);
        x = builder.add(&x, &builder.bias(to));
        if layer + 2 < widths.len() {
            x = builder.activate(x, Activation::Relu);
        }
    }
    builder.output(&x, "logits", &format!("V,{last}"));
    builder.finish()
}

/// The graph attention network (arXiv 1710.10903) for Cora: eight heads of eight
/// features, then one head for the classes.
pub(crate) fn gat_cora() -> Model {
    let builder = Builder::new("gat_cora");
    let input = builder.input("x", ElementType::Float32, &format!("V,{CORA_FEATURES}"));
    let edge_index = builder.input("edge_index", ElementType::Int64, "2,E");
    let edges = Edges::new(&builder, &input, &edge_index);
    let hidden = attention_layer(&builder, &edges, &input, [CORA_FEATURES, 8, 8]);
    let hidden = builder.node("Elu", &[&hidden], &[]);
    let logits = attention_layer(&builder, &edges, &hidden, [64, 1, CORA_CLASSES]);
    builder.output(&logits, "logits", &format!("V,{CORA_CLASSES}"));
    builder.finish()
}

/// `heads` attention heads of `features` each, side by side, over the edges into each node.
#[expect(clippy::cast_precision_loss, reason = "a fan is small")]
fn attention_layer(builder: &Builder, edges: &Edges, x: &Value, [width, heads, features]: [i64; 3]) -> Value {
    let projected = builder.projection(x, width, heads * features, 1.0);
    let nodes = builder.reshape(&projected, &[-1, heads, features]);
    let score = || {
        let weight = builder.weight(&[1, heads, features], features as f64, 1.0);
        let product = builder.multiply(&nodes, &weight);
        let axis = builder.integers(&[-1]);
        builder.node("ReduceSum", &[&product, &axis], &[("keepdims", Attribute::Integer(0))])
    };
    let from_source = builder.gather(&score(), &edges.source);
    let from_target = builder.gather(&score(), &edges.target);
    let sum = builder.add(&from_source, &from_target);
    let scores = builder.node("LeakyRelu", &[&sum], &[("alpha", Attribute::Real(0.2))]);

    // Softmax over the edges into each node; the maximum keeps the exponentials finite.
    let shape = edges.shape(builder, &[heads]);
    let index = expand_to(builder, &builder.unsqueeze(&edges.target, &[1]), &scores);
    let lowest =
        builder.node("ConstantOfShape", &[&shape], &[("value", Attribute::Tensor(Box::new(lowest_score())))]);
    let maximum = builder.gather(&scatter(builder, &lowest, &index, &scores, "max"), &edges.target);
    let exponentials = builder.node("Exp", &[&builder.subtract(&scores, &maximum)], &[]);
    let zero = builder.node("ConstantOfShape", &[&shape], &[]);
    let sums = builder.gather(&scatter(builder, &zero, &index, &exponentials, "add"), &edges.target);
    let attention = builder.divide(&exponentials, &sums);

    let values = builder.gather(&nodes, &edges.source);
    let messages = builder.multiply(&values, &builder.unsqueeze(&attention, &[2]));
    let index = expand_to(builder, &builder.unsqueeze(&edges.target, &[1, 2]), &messages);
    let zero = builder.node("ConstantOfShape", &[&edges.shape(builder, &[heads, features])], &[]);
    let gathered = scatter(builder, &zero, &index, &messages, "add");
    builder.reshape(&gathered, &[-1, heads * features])
}

fn expand_to(builder: &Builder, x: &Value, like: &Value) -> Value {
    builder.node("Expand", &[x, &builder.node("Shape", &[like], &[])], &[])
}

fn scatter(
    builder: &Builder,
    data: &Value,
    index: &Value,
    updates: &Value,
    reduction: &'static str,
) -> Value {
    let attributes = [("axis", Attribute::Integer(0)), ("reduction", Attribute::Text(reduction))];
    builder.node("ScatterElements", &[data, index, updates], &attributes)
}

/// Below every score of an edge.
fn lowest_score() -> TensorProto {
    TensorProto {
        dims: vec![1],
        data_type: Some(ElementType::Float32.to_onnx()),
        raw_data: Some(bytes_of(&[-1e30_f32]).freeze()),
        ..TensorProto::default()
    }
}
