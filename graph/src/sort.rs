//! Putting nodes into an order in which they can run.

use crate::GraphError;
use crate::onnx::{GraphProto, NodeProto};
use crate::scope::captured_names;
use crate::visit::subgraphs_mut;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Sorts the nodes of a graph and of its subgraphs so that each comes after what
/// it reads; nodes that are free to run keep the file's order, so a graph already
/// in order stays as it is. Names that no node of the graph writes are no concern
/// here.
///
/// # Errors
/// When nodes wait for each other, naming them.
pub(crate) fn sort(graph: &mut GraphProto) -> Result<(), GraphError> {
    for node in &mut graph.node {
        for subgraph in subgraphs_mut(node) {
            sort(subgraph)?;
        }
    }
    let needs = needs(&graph.node);
    let is_sorted = needs.iter().enumerate().all(|(node, needed)| needed.iter().all(|&before| before < node));
    if is_sorted {
        return Ok(());
    }
    let order = order(&needs).map_err(|cycle| cycle_error(&graph.node, &cycle))?;
    let mut nodes: Vec<Option<NodeProto>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|node| nodes.get_mut(node)?.take()).collect();
    Ok(())
}

/// For each node, the nodes that write what it reads, each once.
fn needs(nodes: &[NodeProto]) -> Vec<Vec<usize>> {
    let mut writer: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            writer.entry(name).or_insert(index);
        }
    }
    nodes
        .iter()
        .map(|node| {
            let mut needed: Vec<usize> = node
                .input
                .iter()
                .map(String::as_str)
                .chain(captured_names(node))
                .filter_map(|name| writer.get(name).copied())
                .collect();
            needed.sort_unstable();
            needed.dedup();
            needed
        })
        .collect()
}

/// The order of smallest index first, or the nodes of a cycle.
fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut readers = vec![Vec::new(); needs.len()];
    for (node, needed) in needs.iter().enumerate() {
        for &before in needed {
            readers[before].push(node);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..needs.len()).filter(|&node| waiting[node] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for &reader in &readers[node] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() == needs.len() { Ok(order) } else { Err(cycle(needs, &waiting)) }
}

/// Walks back from a node that waits, along nodes that wait, until one repeats.
fn cycle(needs: &[Vec<usize>], waiting: &[usize]) -> Vec<usize> {
    let waits = |&node: &usize| waiting[node] > 0;
    let mut path = Vec::new();
    let mut place: HashMap<usize, usize> = HashMap::new();
    let mut next = (0..needs.len()).find(waits);
    while let Some(node) = next {
        if let Some(&start) = place.get(&node) {
            let mut cycle = path.split_off(start);
            cycle.reverse();
            return cycle;
        }
        place.insert(node, path.len());
        path.push(node);
        next = needs[node].iter().copied().find(waits);
    }
    path
}

fn cycle_error(nodes: &[NodeProto], cycle: &[usize]) -> GraphError {
    const SHOWN: usize = 6;
    let name = |&index: &usize| match nodes.get(index) {
        Some(node) if !node.name().is_empty() => node.name().to_owned(),
        Some(node) => format!("{}_{index}", node.op_type()),
        None => String::new(),
    };
    let mut names: Vec<String> = cycle.iter().take(SHOWN).map(name).collect();
    if cycle.len() > SHOWN {
        names.push("…".to_owned());
    }
    let first = cycle.first().map(name).unwrap_or_default();
    names.push(first.clone());
    GraphError::invalid(format!("is on a cycle: {}", names.join(" → "))).at_node(&first)
}
