//! ONNX Runtime's profile: one JSON event a node and run.

use crate::NodeTime;
use crate::skeleton::Skeleton;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tranche_schema::{ElementType, TensorSpec};

#[derive(Deserialize)]
struct Event {
    cat: String,
    name: String,
    /// Microseconds.
    dur: u64,
    /// Microseconds since the session began.
    ts: u64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    op_name: String,
    #[serde(default)]
    output_type_shape: Vec<BTreeMap<String, Vec<u64>>>,
}

/// Node times of each run, in order.
pub(super) fn parse(json: &str, skeleton: &Skeleton) -> Result<Vec<Vec<NodeTime>>, String> {
    let events: Vec<Event> =
        serde_json::from_str(json).map_err(|error| format!("its profile cannot be read: {error}"))?;
    let (mut runs, mut run) = (Vec::new(), Vec::new());
    for event in events {
        if event.cat == "Session" && event.name == "model_run" {
            runs.push(node_times(&std::mem::take(&mut run), skeleton));
        } else if event.cat == "Node" && event.name.ends_with("_kernel_time") {
            if matches!(event.args.op_name.as_str(), "If" | "Loop" | "Scan") {
                // Events of its body came before it, and its own time holds theirs.
                run.retain(|inner: &Event| inner.ts < event.ts);
            }
            run.push(event);
        }
    }
    Ok(runs)
}

fn node_times(events: &[Event], skeleton: &Skeleton) -> Vec<NodeTime> {
    let mut nodes: Vec<NodeTime> = skeleton
        .nodes
        .iter()
        .map(|node| NodeTime { node: node.name.clone(), time: Duration::ZERO, outputs: Vec::new() })
        .collect();
    let by_name: HashMap<&str, usize> =
        skeleton.nodes.iter().enumerate().map(|(index, node)| (node.runtime_name.as_str(), index)).collect();
    let mut elsewhere = Duration::ZERO;
    for event in events {
        let time = Duration::from_micros(event.dur);
        let index = event.name.strip_suffix("_kernel_time").and_then(|name| by_name.get(name).copied());
        let entry = index.and_then(|index| Some((nodes.get_mut(index)?, skeleton.nodes.get(index)?)));
        if let Some((entry, node)) = entry {
            entry.time += time;
            entry.outputs = outputs(&node.outputs, &event.args.output_type_shape);
        } else {
            elsewhere += time;
        }
    }
    if !elsewhere.is_zero() {
        nodes.push(NodeTime { node: String::new(), time: elsewhere, outputs: Vec::new() });
    }
    nodes
}

/// The event lists the tensors among the outputs; where others (sequences) are left
/// out, which is which is not known.
fn outputs(names: &[String], shapes: &[BTreeMap<String, Vec<u64>>]) -> Vec<TensorSpec> {
    if names.len() != shapes.len() {
        return Vec::new();
    }
    let specs = names.iter().zip(shapes).filter_map(|(name, typed)| {
        let (element_type, shape) = typed.first_key_value()?;
        Some(TensorSpec {
            name: name.clone(),
            element_type: element_type_of(element_type)?,
            shape: shape.clone(),
        })
    });
    specs.collect()
}

/// ONNX Runtime's word for a type is ONNX's but for the two floats.
fn element_type_of(word: &str) -> Option<ElementType> {
    match word {
        "float" => Some(ElementType::Float32),
        "double" => Some(ElementType::Float64),
        _ => ElementType::from_name(word),
    }
}
