//! What a layer is called by: the patterns its nodes follow.

use super::roles::{RESHAPES, Role, Roles, is_activation, is_elementwise};
use crate::{Graph, NodeId, TensorId};

/// A decomposed pattern: what it computes, and its operators in graph order.
struct Decomposition {
    kind: &'static str,
    /// Whether a product in it takes the tensor that its first operator reads, as
    /// gated activations do: `x * sigmoid(x)`.
    gated: bool,
    /// `|` separates alternatives, `?` marks an operator that may be missing.
    operators: &'static [&'static str],
}

const fn gated(kind: &'static str, operators: &'static [&'static str]) -> Decomposition {
    Decomposition { kind, gated: true, operators }
}

const fn plain(kind: &'static str, operators: &'static [&'static str]) -> Decomposition {
    Decomposition { kind, gated: false, operators }
}

/// As exporters write them; reshapes and casts between are skipped.
const DECOMPOSITIONS: &[Decomposition] = &[
    gated("silu", &["Sigmoid", "Mul"]),
    gated("hard-swish", &["HardSigmoid", "Mul"]),
    gated("hard-swish", &["Add", "Clip|Relu", "Min?", "Mul|Div", "Mul|Div"]),
    gated("mish", &["Softplus", "Tanh", "Mul"]),
    gated("gelu", &["Div|Mul", "Erf", "Add", "Mul", "Mul?"]),
    gated("gelu", &["Mul", "Div|Mul", "Erf", "Add", "Mul"]),
    gated("gelu-tanh", &["Mul?", "Pow|Mul", "Mul?", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul?"]),
    gated("gelu-tanh", &["Pow|Mul", "Mul?", "Mul", "Add", "Mul", "Tanh", "Mul", "Add", "Mul"]),
    gated("gelu-tanh", &["Pow|Mul", "Mul?", "Mul", "Add", "Mul", "Mul", "Tanh", "Add", "Mul"]),
    plain(
        "layer-norm",
        &["ReduceMean", "Sub", "Pow|Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul?", "Add?"],
    ),
    plain("rms-norm", &["Pow|Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul?"]),
    plain("rms-norm", &["Pow|Mul", "ReduceMean", "Add", "Sqrt", "Reciprocal|Div", "Mul", "Mul?"]),
    plain("softmax", &["ReduceMax", "Sub", "Exp", "ReduceSum", "Div"]),
    plain("softmax", &["Exp", "ReduceSum", "Div"]),
    plain("rotary", &["Mul", "Slice", "Slice", "Neg", "Concat", "Mul", "Add"]),
    plain("rotary", &["Slice", "Slice", "Neg", "Concat", "Mul", "Mul", "Add"]),
    plain("rotary", &["Split?", "Mul", "Split?", "Neg", "Concat", "Mul", "Add"]),
];

/// How many of `operators`, from the first, a pattern covers; the longest way it fits.
fn fit(pattern: &[&str], operators: &[&str]) -> Option<usize> {
    let Some((&expected, pattern_rest)) = pattern.split_first() else { return Some(0) };
    let (alternatives, optional) = match expected.strip_suffix('?') {
        Some(alternatives) => (alternatives, true),
        None => (expected, false),
    };
    let taken = operators
        .split_first()
        .filter(|(operator, _)| alternatives.split('|').any(|alternative| alternative == **operator))
        .and_then(|(_, rest)| fit(pattern_rest, rest))
        .map(|length| length + 1);
    let skipped = if optional { fit(pattern_rest, operators) } else { None };
    taken.max(skipped)
}

/// The pattern that starts with the first of `nodes`, and how many nodes it has.
fn decomposition(graph: &Graph, nodes: &[NodeId]) -> Option<(&'static str, usize)> {
    let operators: Vec<&str> = nodes.iter().map(|&id| graph.node(id).operator()).collect();
    DECOMPOSITIONS
        .iter()
        .filter_map(|known| {
            let length = fit(known.operators, &operators)?;
            (!known.gated || is_gated(graph, nodes.get(..length)?)).then_some((known.kind, length))
        })
        .max_by_key(|&(_, length)| length)
}

fn is_gated(graph: &Graph, nodes: &[NodeId]) -> bool {
    let Some((&first, rest)) = nodes.split_first() else { return false };
    let inputs: Vec<TensorId> =
        graph.node(first).reads().filter(|&tensor| !graph.is_initializer(tensor)).collect();
    rest.iter().any(|&id| {
        let node = graph.node(id);
        matches!(node.operator(), "Mul" | "Div") && node.reads().any(|tensor| inputs.contains(&tensor))
    })
}

/// The kind of a layer: the patterns and operators that do something in it, each
/// once, in order, joined by `-`. `in_attention` says of each node of the graph
/// whether it is part of one.
pub(super) fn layer_kind(
    graph: &Graph,
    roles: &Roles<'_>,
    nodes: &[NodeId],
    in_attention: &[bool],
) -> String {
    let working: Vec<NodeId> = nodes.iter().copied().filter(|&id| !roles.role(id).is_weak()).collect();
    let telling: Vec<NodeId> =
        working.iter().copied().filter(|&id| !RESHAPES.contains(&graph.node(id).operator())).collect();
    let mut tags: Vec<String> = Vec::new();
    let mut rest = telling.as_slice();
    while let Some((&id, after)) = rest.split_first() {
        let (tag, next) = if in_attention[id.0 as usize] {
            (Some("attention".to_owned()), after)
        } else if let Some((kind, length)) = decomposition(graph, rest) {
            (Some(kind.to_owned()), rest.get(length..).unwrap_or_default())
        } else {
            (tag(graph, roles, id, &tags), after)
        };
        rest = next;
        if let Some(tag) = tag.filter(|tag| !tags.contains(tag)) {
            tags.push(tag);
        }
    }
    let only_glue = tags.iter().all(|tag| matches!(tag.as_str(), "elementwise" | "activation"));
    match (telling.as_slice(), working.first()) {
        (_, None) => "constant".to_owned(),
        (&[alone], _) if only_glue => graph.node(alone).operator().to_lowercase(),
        (_, Some(&first)) if tags.is_empty() => graph.node(first).operator().to_lowercase(),
        _ => tags.join("-"),
    }
}

fn tag(graph: &Graph, roles: &Roles<'_>, id: NodeId, before: &[String]) -> Option<String> {
    let node = graph.node(id);
    let tag = match node.operator() {
        "BatchNormalization" => "batch-norm",
        "LayerNormalization" | "SkipLayerNormalization" => "layer-norm",
        "RMSNormalization" | "SimplifiedLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            "rms-norm"
        }
        "InstanceNormalization" => "instance-norm",
        "GroupNormalization" => "group-norm",
        "Softmax" | "LogSoftmax" => "softmax",
        "ConvTranspose" => "conv-transpose",
        "QuantizeLinear" | "DynamicQuantizeLinear" => "quantise",
        "DequantizeLinear" => "dequantise",
        "Gelu" | "FastGelu" => "gelu",
        "Concat" => "concat",
        "Resize" | "Upsample" => "resize",
        "Add" if roles.strong_reads(id).count() >= 2 => "add",
        "Add" if !before.is_empty() => "bias",
        _ if is_activation(node) => "activation",
        _ if is_elementwise(node) => "elementwise",
        operator => {
            let heavy = roles.role(id) == Role::Heavy;
            return heavy.then(|| operator.to_lowercase());
        }
    };
    Some(tag.to_owned())
}
