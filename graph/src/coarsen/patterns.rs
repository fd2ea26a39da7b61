//! The rules that put nodes together, strongest first.

use super::partition::Partition;
use super::roles::{RESHAPES, Role};
use crate::{NodeId, TensorId};
use std::collections::{BTreeSet, HashSet};

/// Longest run of light nodes between a tensor that forks and where it joins.
const LONGEST_REGION: usize = 32;

/// Longest way from a softmax to the products around it.
const LONGEST_SCALE: usize = 8;

/// Light regions with one way in and one way out: a tensor read by several light
/// nodes whose paths all meet in one node. This is what decomposed activations
/// (SiLU, GELU, hard swish), normalisations (layer norm, RMS norm), softmax and
/// rotary embeddings are, whatever an exporter made of them: inside of one, a cut
/// crosses more tensors than before and after it.
pub(super) fn merge_regions(partition: &mut Partition<'_>) {
    for index in 0..partition.graph.tensors().len() {
        let Some(region) = region_from(partition, TensorId(index as u32)) else { continue };
        let groups: Vec<usize> = region.iter().map(|&node| partition.group_of(node)).collect();
        partition.merge(&groups);
    }
}

/// The nodes from the readers of `start` to the first node where they all meet.
fn region_from(partition: &Partition<'_>, start: TensorId) -> Option<Vec<NodeId>> {
    let roles = &partition.roles;
    if !roles.is_strong(start) || roles.is_given(start) {
        return None;
    }
    let mut pending: BTreeSet<NodeId> = roles.strong_consumers(start).collect();
    if pending.len() < 2 {
        return None;
    }
    let mut region = Vec::new();
    while let Some(node) = pending.pop_first() {
        if roles.role(node) != Role::Light || region.len() == LONGEST_REGION {
            return None;
        }
        region.push(node);
        if pending.is_empty() {
            return Some(region);
        }
        for tensor in partition.graph.node(node).writes() {
            if roles.is_given(tensor) {
                return None;
            }
            pending.extend(roles.strong_consumers(tensor));
        }
    }
    None
}

/// The two products around each softmax, with scale, mask and reshapes between
/// and before them; gives the nodes between the products, both included.
pub(super) fn merge_attention(partition: &mut Partition<'_>) -> Vec<NodeId> {
    let mut found = Vec::new();
    for node in partition.graph.node_ids() {
        if !matches!(partition.graph.node(node).operator(), "Softmax" | "LogSoftmax") {
            continue;
        }
        let softmax = partition.group_of(node);
        let (Some(mut groups), Some(after)) = (
            way_to_product(partition, softmax, LONGEST_SCALE, true),
            way_to_product(partition, softmax, LONGEST_SCALE, false),
        ) else {
            continue;
        };
        groups.extend(after);
        let nodes: Vec<NodeId> =
            groups.iter().flat_map(|&group| partition.members(group).iter().copied()).collect();
        if partition.merge(&groups) {
            absorb_reshapes(partition, node);
            found.extend(nodes);
        }
    }
    found
}

/// Groups from `group` to a product of two activations, both included, through
/// light groups that lead nowhere else.
fn way_to_product(
    partition: &Partition<'_>,
    group: usize,
    steps: usize,
    backwards: bool,
) -> Option<Vec<usize>> {
    let alone = |group: usize| partition.strong_successors(group).len() == 1;
    let next = if backwards {
        partition.strong_predecessors(group)
    } else if alone(group) {
        partition.strong_successors(group)
    } else {
        return None;
    };
    for other in next {
        if backwards && !alone(other) {
            continue;
        }
        if is_product(partition, other) {
            return Some(vec![group, other]);
        }
        if steps > 0
            && partition.is_light(other)
            && let Some(mut way) = way_to_product(partition, other, steps - 1, backwards)
        {
            way.push(group);
            return Some(way);
        }
    }
    None
}

fn is_product(partition: &Partition<'_>, group: usize) -> bool {
    match partition.members(group) {
        &[node] => {
            matches!(partition.graph.node(node).operator(), "MatMul" | "Einsum")
                && partition.roles.strong_reads(node).count() == 2
        }
        _ => false,
    }
}

/// Takes in the reshapes and scales that feed a group only.
fn absorb_reshapes(partition: &mut Partition<'_>, within: NodeId) {
    loop {
        let group = partition.group_of(within);
        let feeding = partition.strong_predecessors(group).into_iter().find(|&other| {
            partition.strong_successors(other) == [group]
                && partition.is_light(other)
                && partition.leaving(other).all(|tensor| !partition.roles.is_given(tensor))
                && partition.members(other).iter().all(|&node| reshapes_or_scales(partition, node))
        });
        match feeding {
            Some(other) if partition.merge(&[group, other]) => {}
            _ => return,
        }
    }
}

fn reshapes_or_scales(partition: &Partition<'_>, id: NodeId) -> bool {
    let operator = partition.graph.node(id).operator();
    partition.roles.role(id).is_weak()
        || RESHAPES.contains(&operator)
        || operator == "Expand"
        || (matches!(operator, "Mul" | "Div") && partition.roles.strong_reads(id).count() == 1)
}

/// Light groups join the work before or after them wherever the border between
/// can never be the better place to cut: a group joins what is before it when it
/// writes no more than it uses up, and the one group after it when it uses up no
/// more than it writes. (Other tensors cross both borders alike.)
pub(super) fn merge_light(partition: &mut Partition<'_>) {
    loop {
        let mut changed = false;
        for group in partition.groups() {
            if !partition.is_light(group) {
                continue;
            }
            changed |= join_before(partition, group) || join_after(partition, group);
        }
        if !changed {
            return;
        }
    }
}

fn total(partition: &Partition<'_>, tensors: impl IntoIterator<Item = TensorId>) -> u64 {
    tensors.into_iter().map(|tensor| partition.roles.size(tensor)).sum()
}

/// Activations that leave a group for others; what only the caller reads crosses
/// no border that matters.
fn leaving_for_others(partition: &Partition<'_>, group: usize) -> Vec<TensorId> {
    let read_outside = |&tensor: &TensorId| {
        partition.roles.strong_consumers(tensor).any(|node| partition.group_of(node) != group)
    };
    partition.leaving(group).filter(read_outside).collect()
}

fn join_before(partition: &mut Partition<'_>, group: usize) -> bool {
    let ending = partition.ending(group);
    let leaving = leaving_for_others(partition, group);
    if total(partition, leaving.iter().copied()) > total(partition, ending.iter().copied()) {
        return false;
    }
    let mut producers: Vec<usize> = ending
        .iter()
        .filter_map(|&tensor| partition.graph.producer(tensor))
        .map(|node| partition.group_of(node))
        .collect();
    producers.sort_unstable();
    producers.dedup();
    if producers.is_empty() && leaving.is_empty() {
        // Only the caller reads it: beside what it was made from.
        producers = partition.strong_predecessors(group);
    }
    if producers.len() > 1 && concatenates(partition, group) {
        // The branches that it brings together stay apart from each other.
        return false;
    }
    // Engines fuse with the operand computed last.
    producers.sort_by_key(|&producer| std::cmp::Reverse(partition.members(producer).last().copied()));
    producers.into_iter().any(|producer| partition.merge(&[producer, group]))
}

fn join_after(partition: &mut Partition<'_>, group: usize) -> bool {
    let &[successor] = partition.strong_successors(group).as_slice() else { return false };
    let ending = partition.ending(group);
    let leaving = leaving_for_others(partition, group);
    total(partition, ending) <= total(partition, leaving) && partition.merge(&[group, successor])
}

fn concatenates(partition: &Partition<'_>, group: usize) -> bool {
    partition.members(group).iter().any(|&node| partition.graph.node(node).operator() == "Concat")
}

/// Constants and shapes join the layer that uses them, else the one that writes
/// the tensor whose shape is asked for, so that a few bytes cross and not the tensor.
pub(super) fn merge_weak(partition: &mut Partition<'_>) {
    for node in (0..partition.graph.nodes().len() as u32).rev().map(NodeId) {
        if !partition.roles.role(node).is_weak() {
            continue;
        }
        let group = partition.group_of(node);
        if partition.is_weak(group) {
            join_user(partition, node, group);
        }
    }
    // What is still by itself joins any neighbour that allows it.
    for group in partition.groups() {
        if !partition.members(group).is_empty() && partition.is_weak(group) {
            let mut neighbours = partition.successors(group);
            neighbours.extend(partition.predecessors(group));
            let _ = neighbours.into_iter().any(|other| partition.merge(&[group, other]));
        }
    }
}

fn join_user(partition: &mut Partition<'_>, node: NodeId, group: usize) {
    let users = partition.successors(group);
    let sources = partition.predecessors(group);
    let candidates: Vec<usize> = match users.as_slice() {
        &[user] if !asks_from_afar(partition, node, user) => vec![user],
        _ if partition.roles.role(node) == Role::Constant => users,
        _ => sources.into_iter().rev().chain(users).collect(),
    };
    let _ = candidates.into_iter().any(|other| partition.merge(&[group, other]));
}

/// Whether joining `user` would make a tensor cross a border only for its shape.
fn asks_from_afar(partition: &Partition<'_>, node: NodeId, user: usize) -> bool {
    let reads: HashSet<TensorId> =
        partition.members(user).iter().flat_map(|&member| partition.roles.strong_reads(member)).collect();
    partition.graph.node(node).reads().any(|tensor| {
        partition.graph.producer(tensor).is_some_and(|producer| {
            partition.roles.is_strong(tensor)
                && partition.group_of(producer) != user
                && !reads.contains(&tensor)
        })
    })
}
