//! Which regions of adjacent layers can be split, along which axis, into how many parts.
//!
//! A region ends at a tensor that the rest of the model reads. Backwards from there it grows, layer
//! by layer, as long as each layer can be divided and the parts do not all do the same: a region
//! that reaches further pays for passing tensors once. Regions without a layer that stands out
//! from its neighbours, and with less than a fiftieth of the model's time, are left out: there
//! is too little in them to be shared.

use super::Source;
use super::uneven::levelled;
use crate::Problem;
use std::ops::Range;
use tranche_graph::TensorId;
use tranche_graph::split::{Divider, even_bounds};
use tranche_schema::{ByteCount, Digest, Join};

/// Numbers of parts that are tried.
const PARTS: [usize; 5] = [2, 3, 4, 6, 8];
/// Longest region, in layers.
const LONGEST: usize = 48;
/// A layer of which every part does more than this ends a region, unless it is light.
const REPEATED: f64 = 0.8;
/// A layer is light that takes less than this share of the region's time.
const LIGHT: f64 = 0.02;
/// Share of the model's time above which a region is looked at whatever layers it has.
const WORTH: f64 = 0.02;
/// Ways that are kept for the same layers and number of parts.
const KEPT: usize = 3;

/// A region that can be split.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Name of the split.
    pub(crate) name: String,
    /// The layers, as places in graph order.
    pub(crate) layers: Range<usize>,
    /// The tensor that the split is said of.
    pub(crate) seed: TensorId,
    /// How it is made of what parts make.
    pub(crate) join: Join,
    /// Parts make summands of multiples of this many places of a contracted axis.
    pub(crate) grain: u64,
    /// What each part is.
    pub(crate) parts: Vec<PartNeeds>,
}

/// What a part of a candidate takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PartNeeds {
    /// Name of the layer that it becomes.
    pub(crate) name: String,
    /// Its share of each layer's work, 0 to 1, by place in the region.
    pub(crate) shares: Vec<f64>,
    /// Bytes of the weights that it holds.
    pub(crate) weights: u64,
    /// Bytes of the largest of them.
    pub(crate) largest: u64,
    /// Most bytes of activations that one of its nodes reads and writes.
    pub(crate) busiest: u64,
    /// Bytes of each tensor that it is sent.
    pub(crate) receives: Vec<ByteCount>,
    /// Bytes of each tensor that it gives out.
    pub(crate) sends: Vec<ByteCount>,
}

/// What is said of an axis of a tensor with this many.
pub(crate) fn axis_name(axis: u32, rank: usize) -> String {
    match (rank, axis) {
        (3.., 0) => "batch".to_owned(),
        (4 | 5, 1) => "channels".to_owned(),
        (5, 2) => "depth".to_owned(),
        (4, 2) | (5, 3) => "height".to_owned(),
        (4, 3) | (5, 4) => "width".to_owned(),
        (2, 0) | (3, 1) => "rows".to_owned(),
        (2, 1) | (3, 2) => "columns".to_owned(),
        _ => format!("axis{axis}"),
    }
}

/// Every candidate with at most `most` parts, in the order of where they end.
pub(crate) fn candidates(problem: &Problem, source: &Source, most: usize) -> Vec<Candidate> {
    let mut found = Vec::new();
    let count = problem.layers.len().min(source.layers().len());
    for end in 1..=count {
        let Some(seed) = seed(source, end) else { continue };
        let Some(spec) = source.facts().spec(seed) else { continue };
        if !spec.element_type.is_float() {
            continue;
        }
        let rank = spec.shape.len();
        let axes = (0..rank).map(|axis| (Some(axis), spec.shape[axis]));
        for (axis, extent) in axes.chain([(None, u64::MAX)]) {
            for parts in PARTS.into_iter().filter(|&parts| parts <= most && parts as u64 <= extent) {
                let join = match axis {
                    Some(axis) => Join::Concat { axis: axis as u32, bounds: even_bounds(extent, parts) },
                    None => Join::Sum,
                };
                let before = found.len();
                Growing { problem, source, end, seed, parts }.grow(&join, &mut found);
                if found.len() == before {
                    // More parts are no easier.
                    break;
                }
            }
        }
    }
    let mut kept = thin(found);
    let levelled: Vec<Candidate> =
        kept.iter().filter_map(|candidate| levelled(problem, source, candidate)).collect();
    kept.extend(levelled);
    kept.sort_by_key(|candidate| (candidate.layers.end, candidate.layers.start));
    kept
}

/// The largest tensor that the layer before `end` gives to later ones.
fn seed(source: &Source, end: usize) -> Option<TensorId> {
    let layer = source.layers().get(end.checked_sub(1)?)?;
    let bytes = |tensor: &TensorId| source.facts().byte_size(*tensor).unwrap_or(0);
    layer.outputs.iter().copied().max_by_key(bytes)
}

/// What a region that grows is made by.
pub(super) struct Growing<'a> {
    pub(super) problem: &'a Problem,
    pub(super) source: &'a Source,
    pub(super) end: usize,
    pub(super) seed: TensorId,
    pub(super) parts: usize,
}

impl Growing<'_> {
    /// Every region that can be split so, the shortest first; once more with borders at multiples
    /// where that is what stopped it.
    fn grow(&self, join: &Join, found: &mut Vec<Candidate>) {
        let Some(grain) = self.grow_with(join, 1, found).filter(|&grain| grain > 1) else { return };
        match join {
            Join::Sum => {
                self.grow_with(join, grain, found);
            }
            Join::Concat { axis, bounds } => {
                let extent = bounds.last().copied().unwrap_or(0);
                if extent.is_multiple_of(grain) && extent / grain >= self.parts as u64 {
                    let bounds =
                        even_bounds(extent / grain, self.parts).iter().map(|bound| bound * grain).collect();
                    self.grow_with(&Join::Concat { axis: *axis, bounds }, grain, found);
                }
            }
            Join::First => {}
        }
    }

    /// Gives the grain that the region would need to reach further, if that is what ended it.
    fn grow_with(&self, join: &Join, grain: u64, found: &mut Vec<Candidate>) -> Option<u64> {
        let (source, end) = (self.source, self.end);
        let mut divider =
            Divider::new(source.graph(), source.facts(), self.seed, join.clone(), self.parts, grain);
        // By layer, the last first.
        let mut shares: Vec<Vec<f64>> = vec![Vec::new(); self.parts];
        let total: f64 = self.problem.layers.iter().map(|layer| layer.time.0).sum();
        let mut time = 0.0;
        let mut dominant = false;
        for first in (end.saturating_sub(LONGEST)..end).rev() {
            let (layer, planned) = (source.layers().get(first)?, self.problem.layers.get(first)?);
            for &node in layer.nodes.iter().rev() {
                if let Err(refusal) = divider.take(node) {
                    return refusal.grain;
                }
            }
            let own: Vec<f64> = divider.parts().iter().map(|part| source.share(layer, part)).collect();
            time += planned.time.0;
            let least = own.iter().copied().fold(f64::INFINITY, f64::min);
            if least > REPEATED && planned.time.0 > LIGHT * time {
                return None;
            }
            for (shares, own) in shares.iter_mut().zip(own) {
                shares.push(own);
            }
            dominant |= planned.dominant;
            if (dominant || time > WORTH * total) && divider.is_complete() {
                let in_order: Vec<Vec<f64>> =
                    shares.iter().map(|shares| shares.iter().rev().copied().collect()).collect();
                if is_shared(self.problem, first, &in_order) {
                    found.push(self.candidate(&divider, first..end, join, grain, in_order));
                }
            }
        }
        None
    }

    /// The region of exactly these layers, where it can be split so.
    pub(super) fn exactly(&self, layers: Range<usize>, join: &Join, grain: u64) -> Option<Candidate> {
        let source = self.source;
        let mut divider =
            Divider::new(source.graph(), source.facts(), self.seed, join.clone(), self.parts, grain);
        let mut shares: Vec<Vec<f64>> = vec![Vec::new(); self.parts];
        for layer in source.layers().get(layers.clone())?.iter().rev() {
            for &node in layer.nodes.iter().rev() {
                divider.take(node).ok()?;
            }
            for (shares, part) in shares.iter_mut().zip(divider.parts()) {
                shares.insert(0, source.share(layer, part));
            }
        }
        let is_split = divider.is_complete() && is_shared(self.problem, layers.start, &shares);
        is_split.then(|| self.candidate(&divider, layers, join, grain, shares))
    }

    fn candidate(
        &self,
        divider: &Divider<'_>,
        layers: Range<usize>,
        join: &Join,
        grain: u64,
        shares: Vec<Vec<f64>>,
    ) -> Candidate {
        let name = split_name(self.problem, self.source, &layers, self.seed, join, self.parts, grain);
        let parts = divider
            .parts()
            .iter()
            .zip(shares)
            .enumerate()
            .map(|(index, (part, shares))| {
                let weights = divider.weights_of(part);
                PartNeeds {
                    name: part_name(&name, index),
                    shares,
                    weights: weights.iter().sum(),
                    largest: weights.iter().copied().max().unwrap_or(0),
                    busiest: part.busiest,
                    receives: divider.pieces_of(part).into_iter().map(ByteCount).collect(),
                    sends: divider.outputs_of(part).into_iter().map(ByteCount).collect(),
                }
            })
            .collect();
        Candidate { name, layers, seed: self.seed, join: join.clone(), grain, parts }
    }
}

/// Name of the layer that part `index` of a split is.
pub(crate) fn part_name(split: &str, index: usize) -> String {
    format!("{split}.{index}")
}

/// Name of a split, which tells it from every other of the model.
pub(crate) fn split_name(
    problem: &Problem,
    source: &Source,
    layers: &Range<usize>,
    seed: TensorId,
    join: &Join,
    parts: usize,
    grain: u64,
) -> String {
    let rank = source.facts().spec(seed).map_or(0, |spec| spec.shape.len());
    let kind = match join {
        Join::Concat { axis, .. } => axis_name(*axis, rank),
        Join::Sum | Join::First => "sum".to_owned(),
    };
    let names: Vec<&str> = problem.layers[layers.clone()].iter().map(|layer| layer.name.as_str()).collect();
    let seed = &source.graph().tensor(seed).name;
    let said = format!("{}\n{seed}\n{join:?}\n{grain}", names.join("\n"));
    let digest = Digest::of(said.as_bytes()).to_string();
    let hash = digest.rsplit(':').next().unwrap_or_default().get(..8).unwrap_or_default().to_owned();
    format!("{kind}{parts}-{hash}")
}

/// Whether the slowest part takes notably less than the whole.
fn is_shared(problem: &Problem, first: usize, shares: &[Vec<f64>]) -> bool {
    let time = |place: usize| problem.layers.get(first + place).map_or(0.0, |layer| layer.time.0);
    let of =
        |shares: &Vec<f64>| shares.iter().enumerate().map(|(place, share)| time(place) * share).sum::<f64>();
    let whole: f64 = shares.first().map_or(0.0, |shares| (0..shares.len()).map(time).sum());
    let slowest = shares.iter().map(of).fold(0.0, f64::max);
    slowest < REPEATED * whole
}

/// Of the ways to split the same layers into as many parts, those with the least work of the
/// slowest part, then the fewest bytes held and passed.
fn thin(mut found: Vec<Candidate>) -> Vec<Candidate> {
    let key = |candidate: &Candidate| (candidate.layers.end, candidate.layers.start, candidate.parts.len());
    let slowest = |candidate: &Candidate| {
        let of = |part: &PartNeeds| part.shares.iter().sum::<f64>();
        candidate.parts.iter().map(of).fold(0.0, f64::max)
    };
    let bytes = |candidate: &Candidate| {
        let of = |part: &PartNeeds| {
            part.weights + part.receives.iter().chain(&part.sends).map(|bytes| bytes.0).sum::<u64>()
        };
        candidate.parts.iter().map(of).sum::<u64>()
    };
    found.sort_by(|a, b| {
        key(a).cmp(&key(b)).then(slowest(a).total_cmp(&slowest(b))).then(bytes(a).cmp(&bytes(b)))
    });
    let mut kept: Vec<Candidate> = Vec::new();
    let mut same = 0;
    for candidate in found {
        same = if kept.last().is_some_and(|last| key(last) == key(&candidate)) { same + 1 } else { 0 };
        // A way that holds less is kept however it shares the work.
        let lighter = kept.iter().rev().take(same).all(|other| bytes(&candidate) < bytes(other));
        if same < KEPT || lighter {
            kept.push(candidate);
        }
    }
    kept
}
