//! Problems of a size and a seed, made up: times, weights and tensors as models have them.

use super::{MIB, TestLayer, border, problem};
use std::collections::BTreeSet;
use tranche_partitioner::Problem;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

fn layers(count: usize, random: &mut Random) -> (Vec<TestLayer>, Vec<u64>) {
    let layers = (0..count)
        .map(|layer| TestLayer {
            ms: 0.05 + random.below(3000) as f64 / 1000.0,
            weights: vec![layer],
            live: random.below(8) * MIB,
            parallel: 0.8,
        })
        .collect();
    let weights = (0..count).map(|_| random.below(6 * MIB)).collect();
    (layers, weights)
}

/// Each layer reads the one before.
pub fn chain_of(count: usize, seed: u64) -> Problem {
    let mut random = Random::new(seed);
    let (layers, weights) = layers(count, &mut random);
    let mut tensors = vec![border("input", None, vec![0], MIB, false)];
    for layer in 0..count {
        let last = layer + 1 == count;
        let readers = if last { Vec::new() } else { vec![layer + 1] };
        tensors.push(border(&format!("t{layer}"), Some(layer), readers, 1 + random.below(2 * MIB), last));
    }
    problem(&layers, &weights, tensors)
}

/// Blocks of four branches of one to three layers between a fork and a join, with
/// residual tensors around every other block.
pub fn graph_of(count: usize, seed: u64) -> Problem {
    let mut random = Random::new(seed);
    let (layers, weights) = layers(count, &mut random);
    let mut readers: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    let mut fork = 0;
    let mut block = 0;
    while fork + 1 < count {
        let mut next = fork + 1;
        let mut ends = Vec::new();
        for _ in 0..4 {
            let mut from = fork;
            for _ in 0..=random.below(3) {
                if next + 1 >= count {
                    break;
                }
                readers[from].insert(next);
                from = next;
                next += 1;
            }
            if from != fork {
                ends.push(from);
            }
        }
        let join = next.min(count - 1);
        for &end in &ends {
            readers[end].insert(join);
        }
        if ends.is_empty() || block % 2 == 0 {
            readers[fork].insert(join);
        }
        fork = join;
        block += 1;
    }
    tensors_of(&layers, &weights, readers, &mut random)
}

/// Each layer reads one or two of those before it.
pub fn small_graph_of(count: usize, seed: u64) -> Problem {
    let mut random = Random::new(seed.wrapping_mul(7919) + 13);
    let (mut layers, mut weights) = layers(count, &mut random);
    for (layer, weight) in layers.iter_mut().zip(&mut weights) {
        layer.ms *= 20.0;
        *weight *= 60;
    }
    let mut readers: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    for layer in 1..count {
        for _ in 0..=random.below(2) {
            readers[random.below(layer as u64) as usize].insert(layer);
        }
    }
    tensors_of(&layers, &weights, readers, &mut random)
}

fn tensors_of(
    layers: &[TestLayer],
    weights: &[u64],
    readers: Vec<BTreeSet<usize>>,
    random: &mut Random,
) -> Problem {
    let mut tensors = vec![border("input", None, vec![0], MIB, false)];
    for (layer, readers) in readers.into_iter().enumerate() {
        let to_caller = readers.is_empty();
        let bytes = 1 + random.below(2 * MIB);
        tensors.push(border(
            &format!("t{layer}"),
            Some(layer),
            readers.into_iter().collect(),
            bytes,
            to_caller,
        ));
    }
    problem(layers, weights, tensors)
}
