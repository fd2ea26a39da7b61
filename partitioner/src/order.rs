//! Orders in which layers can run, and problems in another order.
//!
//! Cuts are made between adjacent layers, so the order decides what may be in one slice:
//!
//! - `graph`: as the model lists them.
//! - `branches`: depth first; a branch is followed to its join before the next is begun.
//! - `small-cuts`: of the layers that can run, the one after which the fewest bytes are
//!   alive; the earlier on a tie.
//! - `light-first`: of the layers that can run, the one with the fewest bytes of weights, so
//!   that light and heavy layers come together as far as they may; the earlier on a tie.

use crate::Problem;
use crate::live::{own_live_bytes, passing_bytes};
use std::collections::BTreeSet;
use tranche_schema::ByteCount;

/// An order by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) name: &'static str,
    /// Places in the problem, in the order's order.
    pub(crate) layers: Vec<usize>,
}

impl Order {
    /// The name of an order as a plan has it; that of the graph for one that is not known.
    pub(crate) fn known_name(name: &str) -> &'static str {
        ["branches", "small-cuts", "light-first"].into_iter().find(|known| *known == name).unwrap_or("graph")
    }

    pub(crate) fn graph(layers: usize) -> Self {
        Self { name: "graph", layers: (0..layers).collect() }
    }
}

/// The orders to try, each once.
pub(crate) fn orders(problem: &Problem) -> Vec<Order> {
    let links = Links::of(problem);
    let mut orders = vec![Order::graph(problem.layers.len())];
    for order in [
        Order { name: "branches", layers: links.depth_first() },
        Order { name: "small-cuts", layers: links.small_cuts(problem) },
        Order { name: "light-first", layers: links.light_first(problem) },
    ] {
        if orders.iter().all(|known| known.layers != order.layers) {
            orders.push(order);
        }
    }
    orders
}

impl Problem {
    /// The same problem with its layers in another order: `order` holds each place once,
    /// writers before readers. Bytes alive while a layer runs follow the order.
    #[must_use]
    pub fn reordered(&self, order: &[usize]) -> Self {
        let mut place = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let bytes: Vec<u64> = self.tensors.iter().map(|tensor| tensor.spec.bytes().0).collect();
        let (reads, writes) = self.touched();
        let own = own_live_bytes(self, &bytes, &reads, &writes);
        let mut tensors = self.tensors.clone();
        for tensor in &mut tensors {
            tensor.producer = tensor.producer.map(|producer| place[producer]);
            for consumer in &mut tensor.consumers {
                *consumer = place[*consumer];
            }
            tensor.consumers.sort_unstable();
        }
        let layers = order.iter().map(|&old| self.layers[old].clone()).collect();
        let mut problem = Self { layers, tensors, ..self.clone() };
        let (reads, writes) = problem.touched();
        let passing = passing_bytes(&problem, &bytes, &reads, &writes);
        for (new, layer) in problem.layers.iter_mut().enumerate() {
            layer.peak_live = ByteCount(own[order[new]] + passing[new]);
        }
        problem
    }

    /// Border tensors that each layer reads, and that it writes.
    pub(crate) fn touched(&self) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
        let count = self.layers.len();
        let (mut reads, mut writes) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (index, tensor) in self.tensors.iter().enumerate() {
            if let Some(producer) = tensor.producer {
                writes[producer].push(index);
            }
            for &consumer in &tensor.consumers {
                reads[consumer].push(index);
            }
        }
        (reads, writes)
    }
}

struct Links {
    /// Layers that wait for each layer.
    after: Vec<Vec<usize>>,
    /// Number of layers that each layer waits for.
    waits: Vec<usize>,
}

impl Links {
    fn of(problem: &Problem) -> Self {
        let count = problem.layers.len();
        let mut after = vec![BTreeSet::new(); count];
        for tensor in &problem.tensors {
            if let Some(producer) = tensor.producer {
                after[producer].extend(tensor.consumers.iter().copied());
            }
        }
        let mut waits = vec![0; count];
        for &consumer in after.iter().flatten() {
            waits[consumer] += 1;
        }
        Self { after: after.into_iter().map(|set| set.into_iter().collect()).collect(), waits }
    }

    /// Kahn's algorithm with a stack: what a layer sets free runs next.
    fn depth_first(&self) -> Vec<usize> {
        let mut waits = self.waits.clone();
        let mut ready: Vec<usize> = (0..waits.len()).rev().filter(|&layer| waits[layer] == 0).collect();
        let mut order = Vec::with_capacity(waits.len());
        while let Some(layer) = ready.pop() {
            order.push(layer);
            for &next in self.after[layer].iter().rev() {
                waits[next] -= 1;
                if waits[next] == 0 {
                    ready.push(next);
                }
            }
        }
        order
    }

    fn light_first(&self, problem: &Problem) -> Vec<usize> {
        let weights = |layer: usize| -> u64 {
            problem.layers[layer].weights.iter().map(|&weight| problem.weights[weight].0).sum()
        };
        let mut waits = self.waits.clone();
        let mut ready: BTreeSet<(u64, usize)> = (0..waits.len())
            .filter(|&layer| waits[layer] == 0)
            .map(|layer| (weights(layer), layer))
            .collect();
        let mut order = Vec::with_capacity(waits.len());
        while let Some((_, layer)) = ready.pop_first() {
            order.push(layer);
            for &next in &self.after[layer] {
                waits[next] -= 1;
                if waits[next] == 0 {
                    ready.insert((weights(next), next));
                }
            }
        }
        order
    }

    fn small_cuts(&self, problem: &Problem) -> Vec<usize> {
        let (reads, writes) = problem.touched();
        let mut readers_left: Vec<usize> = problem
            .tensors
            .iter()
            .map(|tensor| tensor.consumers.len() + usize::from(tensor.to_caller))
            .collect();
        let bytes: Vec<i128> =
            problem.tensors.iter().map(|tensor| i128::from(tensor.spec.bytes().0)).collect();
        let mut waits = self.waits.clone();
        let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|&layer| waits[layer] == 0).collect();
        let mut order = Vec::with_capacity(waits.len());
        let growth = |layer: usize, readers_left: &[usize]| -> i128 {
            let written: i128 = writes[layer].iter().map(|&tensor| bytes[tensor]).sum();
            let ended: i128 = reads[layer]
                .iter()
                .filter(|&&tensor| readers_left[tensor] == 1)
                .map(|&tensor| bytes[tensor])
                .sum();
            written - ended
        };
        while let Some(&layer) = ready.iter().min_by_key(|&&layer| (growth(layer, &readers_left), layer)) {
            ready.remove(&layer);
            order.push(layer);
            for &tensor in &reads[layer] {
                readers_left[tensor] -= 1;
            }
            for &next in &self.after[layer] {
                waits[next] -= 1;
                if waits[next] == 0 {
                    ready.insert(next);
                }
            }
        }
        order
    }
}
