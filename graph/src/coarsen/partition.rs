//! Nodes in groups, and merges that keep the graph of groups acyclic.

use super::roles::{Role, Roles};
use crate::{Graph, NodeId, TensorId};

/// A partition of the nodes into groups, whose quotient graph is acyclic always.
pub(super) struct Partition<'g> {
    pub(super) graph: &'g Graph,
    pub(super) roles: Roles<'g>,
    group_of: Vec<usize>,
    members: Vec<Vec<NodeId>>,
}

impl<'g> Partition<'g> {
    /// Each node by itself.
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            roles: Roles::new(graph),
            group_of: (0..graph.nodes().len()).collect(),
            members: graph.node_ids().map(|id| vec![id]).collect(),
        }
    }

    /// Groups in order of their first node.
    pub(super) fn groups(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|&group| !self.members[group].is_empty()).collect()
    }

    pub(super) fn group_of(&self, node: NodeId) -> usize {
        self.group_of[node.0 as usize]
    }

    /// Nodes of a group, in graph order; empty once it was merged into another.
    pub(super) fn members(&self, group: usize) -> &[NodeId] {
        &self.members[group]
    }

    /// Whether a group has no work and is not mere bookkeeping.
    pub(super) fn is_light(&self, group: usize) -> bool {
        let mut light = false;
        for &node in &self.members[group] {
            match self.roles.role(node) {
                Role::Heavy => return false,
                Role::Light => light = true,
                Role::Constant | Role::Shape => {}
            }
        }
        light
    }

    /// Whether a group only holds constants and shapes.
    pub(super) fn is_weak(&self, group: usize) -> bool {
        self.members[group].iter().all(|&node| self.roles.role(node).is_weak())
    }

    /// Groups that read what a group writes, in order.
    pub(super) fn successors(&self, group: usize) -> Vec<usize> {
        let graph = self.graph;
        let readers = self.members[group]
            .iter()
            .flat_map(|&node| graph.node(node).writes())
            .flat_map(|tensor| graph.tensor(tensor).consumers.iter().map(|&node| self.group_of(node)));
        sorted(readers.filter(|&other| other != group))
    }

    /// Groups that write what a group reads, in order.
    pub(super) fn predecessors(&self, group: usize) -> Vec<usize> {
        let graph = self.graph;
        let writers = self.members[group]
            .iter()
            .flat_map(|&node| graph.node(node).reads())
            .filter_map(|tensor| graph.producer(tensor).map(|node| self.group_of(node)));
        sorted(writers.filter(|&other| other != group))
    }

    /// Groups that read the data of what a group writes, in order.
    pub(super) fn strong_successors(&self, group: usize) -> Vec<usize> {
        let readers = self.members[group]
            .iter()
            .flat_map(|&node| self.graph.node(node).writes())
            .filter(|&tensor| self.roles.is_strong(tensor))
            .flat_map(|tensor| self.roles.strong_consumers(tensor).map(|node| self.group_of(node)));
        sorted(readers.filter(|&other| other != group))
    }

    /// Groups whose data a group reads, in order.
    pub(super) fn strong_predecessors(&self, group: usize) -> Vec<usize> {
        let writers = self.members[group]
            .iter()
            .flat_map(|&node| self.roles.strong_reads(node))
            .filter_map(|tensor| self.graph.producer(tensor).map(|node| self.group_of(node)));
        sorted(writers.filter(|&other| other != group))
    }

    /// Activations from elsewhere that only this group reads, each once.
    pub(super) fn ending(&self, group: usize) -> Vec<TensorId> {
        let reads = self.members[group].iter().flat_map(|&node| self.roles.strong_reads(node));
        let mut tensors: Vec<TensorId> = reads.filter(|&tensor| self.ends_in(tensor, group)).collect();
        tensors.sort_unstable();
        tensors.dedup();
        tensors
    }

    /// Activations that a group writes and that others or the caller read.
    pub(super) fn leaving(&self, group: usize) -> impl Iterator<Item = TensorId> + '_ {
        self.members[group].iter().flat_map(|&node| self.graph.node(node).writes()).filter(move |&tensor| {
            self.roles.is_strong(tensor)
                && (self.roles.is_given(tensor)
                    || self.roles.strong_consumers(tensor).any(|node| self.group_of(node) != group))
        })
    }

    fn ends_in(&self, tensor: TensorId, group: usize) -> bool {
        self.graph.producer(tensor).is_some_and(|producer| self.group_of(producer) != group)
            && !self.roles.is_given(tensor)
            && self.roles.strong_consumers(tensor).all(|node| self.group_of(node) == group)
    }

    /// Makes one group of several when no path leaves them and comes back; shapes
    /// and constants on such a path are taken along. Says whether it did.
    pub(super) fn merge(&mut self, groups: &[usize]) -> bool {
        let groups = sorted(groups.iter().copied());
        let between = self.between(&groups);
        if groups.len() < 2 || between.iter().any(|&group| !self.is_weak(group)) {
            return false;
        }
        let all = sorted(groups.into_iter().chain(between));
        // A group goes by its first node.
        let Some((&target, rest)) = all.split_first() else { return false };
        for &group in rest {
            let moved = std::mem::take(&mut self.members[group]);
            for node in &moved {
                self.group_of[node.0 as usize] = target;
            }
            self.members[target].extend(moved);
        }
        self.members[target].sort_unstable();
        true
    }

    /// Groups on a path that leaves `groups` and comes back.
    fn between(&self, groups: &[usize]) -> Vec<usize> {
        if let &[first, second] = groups {
            // A chain: no path can go around.
            if self.successors(first) == [second] || self.successors(second) == [first] {
                return Vec::new();
            }
        }
        let after = self.reach(groups, Self::successors);
        if after.is_empty() {
            return Vec::new();
        }
        let before = self.reach(groups, Self::predecessors);
        after.into_iter().filter(|group| before.binary_search(group).is_ok()).collect()
    }

    /// Groups reached from outside neighbours of `groups`, in order.
    fn reach(&self, groups: &[usize], neighbours: impl Fn(&Self, usize) -> Vec<usize>) -> Vec<usize> {
        let mut seen = vec![false; self.members.len()];
        let mut pending: Vec<usize> = groups.to_vec();
        for &group in groups {
            seen[group] = true;
        }
        while let Some(group) = pending.pop() {
            for next in neighbours(self, group) {
                if !std::mem::replace(&mut seen[next], true) {
                    pending.push(next);
                }
            }
        }
        (0..seen.len()).filter(|&group| seen[group] && groups.binary_search(&group).is_err()).collect()
    }
}

fn sorted(items: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut items: Vec<usize> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
