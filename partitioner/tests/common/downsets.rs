//! The cheapest of all ways to run a graph as a chain of slices: every slice a set of
//! layers whose inputs are all made before it, adjacent in some order or not.

use std::collections::HashMap;
use tranche_partitioner::{CostModel, Costs, Problem};

/// Its cost; none where nothing is admitted. Takes 3^layers at worst: a dozen layers.
pub fn best_chain(problem: &Problem, model: &CostModel) -> Option<f64> {
    let count = problem.layers.len();
    let mut before = vec![0_u32; count];
    for tensor in &problem.tensors {
        if let Some(producer) = tensor.producer {
            tensor.consumers.iter().for_each(|&consumer| before[consumer] |= 1 << producer);
        }
    }
    let closed = |set: u32| (0..count).all(|layer| set & (1 << layer) == 0 || before[layer] & !set == 0);
    let downsets: Vec<u32> = (0..1_u32 << count).filter(|&set| closed(set)).collect();
    let mut prices: HashMap<u32, Option<f64>> = HashMap::new();
    let mut best: HashMap<u32, f64> = HashMap::from([(0, 0.0)]);
    // Smaller sets have smaller numbers than those that hold them.
    for &set in &downsets[1..] {
        let mut least = f64::INFINITY;
        for (&smaller, &cost) in best.iter().filter(|(smaller, _)| **smaller & !set == 0) {
            let slice = set & !smaller;
            let price = *prices.entry(slice).or_insert_with(|| price(problem, model, slice, smaller));
            least = least.min(cost + price.unwrap_or(f64::INFINITY));
        }
        if least.is_finite() {
            best.insert(set, least);
        }
    }
    best.get(&(u32::MAX >> (32 - count))).copied()
}

/// The cheapest size of a slice of these layers, `done` before it: laid out as done,
/// slice, rest, and priced there.
fn price(problem: &Problem, model: &CostModel, slice: u32, done: u32) -> Option<f64> {
    let count = problem.layers.len();
    let of = |wanted: &dyn Fn(usize) -> bool| (0..count).filter(|&layer| wanted(layer)).collect::<Vec<_>>();
    let has = |set: u32, layer: usize| set & (1 << layer) != 0;
    let order = [
        of(&|layer| has(done, layer)),
        of(&|layer| has(slice, layer)),
        of(&|layer| !has(done | slice, layer)),
    ]
    .concat();
    let laid_out = problem.reordered(&order);
    let start = done.count_ones() as usize;
    let costs = Costs::new(&laid_out, model);
    let stretch = costs.stretch(start..start + slice.count_ones() as usize)?;
    let mut offers = Vec::new();
    costs.offers(&stretch, &mut offers);
    let admitted = stretch.outputs > 0;
    admitted.then(|| offers.iter().map(|offer| offer.cost).reduce(f64::min)).flatten()
}
