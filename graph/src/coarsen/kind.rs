//! What a layer is called by: the patterns its nodes follow.

use super::roles::{Roles, is_activation, is_elementwise};
use crate::{Graph, NodeId};

/// Decomposed patterns: a kind and the operators that its region has in graph
/// order. `|` separates alternatives; a last `?` marks an operator that may be missing.
/// The first that fits names the region.
const REGIONS: &[(&str, &[&str])] = &[
    ("silu", &["Sigmoid", "Mul"]),
    ("hard-swish", &["HardSigmoid", "Mul"]),
    ("hard-swish", &["Add", "Clip|Relu", "Min?", "Mul|Div", "Mul|Div"]),
    ("mish", &["Softplus", "Tanh", "Mul"]),
    ("gelu", &["Div|Mul", "Erf", "Add", "Mul", "Mul?"]),
    ("gelu", &["Mul", "Div|Mul", "Erf", "Add", "Mul"]),
    ("gelu-tanh", &["Pow|Mul", "Mul?", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul?"]),
    ("gelu-tanh", &["Mul", "Pow", "Mul", "Add", "Mul", "Tanh", "Add", "Mul"]),
    ("layer-norm", &["ReduceMean", "Sub", "Cast?", "Pow|Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul?", "Add?"]),
    ("rms-norm", &["Cast?", "Pow|Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul?", "Cast?", "Mul?"]),
    ("rms-norm", &["Pow|Mul", "ReduceMean", "Add", "Sqrt", "Reciprocal", "Mul", "Mul?"]),
    ("softmax", &["ReduceMax", "Sub", "Exp", "ReduceSum", "Div"]),
    ("softmax", &["Exp", "ReduceSum", "Div"]),
    ("rotary", &["Mul", "Slice", "Slice", "Neg", "Concat", "Mul", "Add"]),
    ("rotary", &["Slice", "Slice", "Neg", "Concat", "Mul", "Mul", "Add"]),
    ("rotary", &["Mul", "Split", "Neg", "Concat", "Mul", "Add"]),
];

/// The kind of a region with these operators.
pub(super) fn region_kind(operators: &[&str]) -> Option<&'static str> {
    REGIONS.iter().find(|(_, pattern)| fits(pattern, operators)).map(|&(kind, _)| kind)
}

fn fits(pattern: &[&str], operators: &[&str]) -> bool {
    let Some((&expected, pattern_rest)) = pattern.split_first() else { return operators.is_empty() };
    let (alternatives, optional) = match expected.strip_suffix('?') {
        Some(alternatives) => (alternatives, true),
        None => (expected, false),
    };
    let taken = operators.split_first().is_some_and(|(&operator, rest)| {
        alternatives.split('|').any(|alternative| alternative == operator) && fits(pattern_rest, rest)
    });
    taken || (optional && fits(pattern_rest, operators))
}

/// The kind of a layer: the patterns and operators that do something in it, each
/// once, in order, joined by `-`. `labels` has the pattern of each node in one.
pub(super) fn layer_kind(
    graph: &Graph,
    roles: &Roles<'_>,
    nodes: &[NodeId],
    labels: &[Option<&'static str>],
) -> String {
    let working: Vec<NodeId> = nodes.iter().copied().filter(|&id| !roles.role(id).is_weak()).collect();
    let mut tags: Vec<String> = Vec::new();
    for &id in &working {
        let tag = match labels[id.0 as usize] {
            Some(label) => Some(label.to_owned()),
            None => tag(graph, roles, id, &tags),
        };
        if let Some(tag) = tag.filter(|tag| !tags.contains(tag)) {
            tags.push(tag);
        }
    }
    let only_glue = tags.iter().all(|tag| matches!(tag.as_str(), "elementwise" | "activation"));
    match (working.as_slice(), only_glue) {
        (&[alone], true) => graph.node(alone).operator().to_lowercase(),
        (&[first, ..], true) if tags.is_empty() => graph.node(first).operator().to_lowercase(),
        (&[], _) => "constant".to_owned(),
        _ => tags.join("-"),
    }
}

fn tag(graph: &Graph, roles: &Roles<'_>, id: NodeId, before: &[String]) -> Option<String> {
    let node = graph.node(id);
    let tag = match node.operator() {
        "BatchNormalization" => "batch-norm",
        "LayerNormalization" | "SkipLayerNormalization" => "layer-norm",
        "RMSNormalization" | "SimplifiedLayerNormalization" | "SkipSimplifiedLayerNormalization" => "rms-norm",
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
            let heavy = roles.role(id) == super::roles::Role::Heavy;
            return heavy.then(|| operator.to_lowercase());
        }
    };
    Some(tag.to_owned())
}
