//! Independent branches between a fork and a join, as functions that run at once.
//!
//! In a range of adjacent layers, those that exchange no tensor with each other, directly
//! or through layers of the range, are branches. Where a layer joins branches, the longest
//! such range before it is taken: once with a function for each branch, and once with the
//! branches put into two functions of nearly equal time (longest first). Sizes are those
//! that are cheapest, or fastest, for each function alone; other combinations are not tried.

use super::bounds::Bounds;
use super::steps::{Step, admitted, fastest_and_cheapest};
use crate::{CostModel, Costs, Pricing, Problem, Segment};
use std::collections::HashMap;
use std::ops::Range;

/// Ways of a range from here on are branches.
const FIRST_WAY: u16 = 1000;
/// Longest range that is looked at, in layers.
const LONGEST: usize = 256;

type Parts = Vec<(Vec<usize>, Segment)>;

/// Ways to run ranges of an order as branches.
#[derive(Default)]
pub(crate) struct Branches(HashMap<(usize, usize), Vec<Parts>>);

impl Branches {
    /// Those of an order.
    pub(crate) fn find(problem: &Problem, model: &CostModel, bounds: &Bounds) -> Self {
        let mut found = HashMap::new();
        if bounds.fixed.is_some() {
            return Self(found);
        }
        let producers = producers(problem);
        for join in 1..=problem.layers.len() {
            let joins = producers.get(join).is_none_or(|from| from.len() > 1);
            if !joins {
                continue;
            }
            if let Some((range, branches)) = before(join, &producers) {
                let ways = ways(problem, model, bounds, &range, &branches);
                if !ways.is_empty() {
                    found.insert((range.start, range.end), ways);
                }
            }
        }
        Self(found)
    }

    /// The steps over exactly this range.
    pub(crate) fn steps(&self, range: &Range<usize>) -> impl Iterator<Item = Step> {
        let ways = self.0.get(&(range.start, range.end)).map_or(&[][..], Vec::as_slice);
        ways.iter().enumerate().map(|(index, parts)| {
            let segments: Vec<Segment> = parts.iter().map(|(_, segment)| segment.clone()).collect();
            Step::together(range.end, &segments, FIRST_WAY + index as u16)
        })
    }

    /// The functions of a way, where it is one of branches.
    pub(crate) fn parts(&self, range: &Range<usize>, way: u16) -> Option<Parts> {
        let index = usize::from(way.checked_sub(FIRST_WAY)?);
        self.0.get(&(range.start, range.end))?.get(index).cloned()
    }
}

/// Layers that each layer reads from, ascending, each once.
fn producers(problem: &Problem) -> Vec<Vec<usize>> {
    let mut producers = vec![Vec::new(); problem.layers.len()];
    for tensor in &problem.tensors {
        if let Some(producer) = tensor.producer {
            for &consumer in &tensor.consumers {
                producers[consumer].push(producer);
            }
        }
    }
    for from in &mut producers {
        from.sort_unstable();
        from.dedup();
    }
    producers
}

/// The longest range that ends before `join` and falls into branches, with them.
fn before(join: usize, producers: &[Vec<usize>]) -> Option<(Range<usize>, Vec<Vec<usize>>)> {
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    let lowest = join.saturating_sub(LONGEST);
    for (layer, from) in producers.iter().enumerate().take(join).skip(lowest) {
        for &from in from {
            readers.entry(from).or_default().push(layer);
        }
    }
    // Branches of start..join, by a representative of each layer, as start goes down.
    let mut home: HashMap<usize, usize> = HashMap::new();
    let mut count = 0_usize;
    let mut best = None;
    for start in (lowest..join).rev() {
        let mut joined: Vec<usize> =
            readers.get(&start).into_iter().flatten().map(|layer| home[layer]).collect();
        joined.sort_unstable();
        joined.dedup();
        home.insert(start, start);
        for place in home.values_mut() {
            if joined.contains(place) {
                *place = start;
            }
        }
        count = count + 1 - joined.len();
        if count == 1 && best.is_some() {
            break;
        }
        if count > 1 {
            best = Some((start, home.clone()));
        }
    }
    let (start, home) = best?;
    let mut by_home: HashMap<usize, Vec<usize>> = HashMap::new();
    for layer in start..join {
        by_home.entry(home[&layer]).or_default().push(layer);
    }
    let mut branches: Vec<Vec<usize>> = by_home.into_values().collect();
    branches.sort();
    (branches.len() > 1).then_some((start..join, branches))
}

fn ways(
    problem: &Problem,
    model: &CostModel,
    bounds: &Bounds,
    range: &Range<usize>,
    branches: &[Vec<usize>],
) -> Vec<Parts> {
    let mut groupings = vec![branches.to_vec()];
    // Of those in one function, more than it has threads would wait for each other.
    let one_each = model.at_once.map(Pricing::memory_time);
    let model = &one_each.map_or_else(|| model.clone(), |pricing| CostModel { pricing, ..model.clone() });
    if branches.len() > 2 {
        groupings.push(halves(problem, branches));
    }
    let mut ways = Vec::new();
    for grouping in groupings {
        let Some(offers) = priced(problem, model, bounds, range, &grouping) else { continue };
        let sized = fastest_and_cheapest(&offers).into_iter();
        ways.extend(sized.map(|segments| grouping.iter().cloned().zip(segments).collect::<Parts>()));
    }
    ways
}

/// The branches in two groups of nearly equal time: longest first, to the shorter group.
fn halves(problem: &Problem, branches: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let time = |layers: &Vec<usize>| layers.iter().map(|&layer| problem.layers[layer].time.0).sum::<f64>();
    let mut longest_first: Vec<&Vec<usize>> = branches.iter().collect();
    longest_first.sort_by(|a, b| time(b).total_cmp(&time(a)).then(a.cmp(b)));
    let mut groups = [(0.0, Vec::new()), (0.0, Vec::new())];
    for branch in longest_first {
        let shorter = usize::from(groups[1].0 < groups[0].0);
        groups[shorter].0 += time(branch);
        groups[shorter].1.extend(branch);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_iter().map(|(_, layers)| layers).collect();
    groups.iter_mut().for_each(|layers| layers.sort_unstable());
    groups.sort();
    groups
}

/// Admitted offers of each group, priced where its layers are adjacent; none where one has none.
fn priced(
    problem: &Problem,
    model: &CostModel,
    bounds: &Bounds,
    range: &Range<usize>,
    grouping: &[Vec<usize>],
) -> Option<Vec<Vec<Segment>>> {
    let order: Vec<usize> = (0..range.start)
        .chain(grouping.iter().flatten().copied())
        .chain(range.end..problem.layers.len())
        .collect();
    let reordered = problem.reordered(&order);
    let costs = Costs::new(&reordered, model);
    let mut start = range.start;
    let mut all = Vec::new();
    for layers in grouping {
        let end = start + layers.len();
        all.push(admitted(&costs, bounds, &costs.stretch(start..end)?)?);
        start = end;
    }
    Some(all)
}
