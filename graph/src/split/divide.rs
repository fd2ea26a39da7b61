//! From what parts give out backwards to what they need.

use super::part::{Part, Rewrite};
use super::{Need, Ranges, Refusal, even_bounds, rules, shape_of};
use crate::shapes::TensorFacts;
use crate::{Graph, Node, NodeId, TensorId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tranche_schema::{ElementType, Join};

/// A region as parts.
#[derive(Clone, Debug)]
pub struct Division {
    /// Its nodes.
    pub nodes: BTreeSet<NodeId>,
    /// How what is read beyond it is made of the parts' outputs.
    pub joins: BTreeMap<TensorId, Join>,
    /// The parts.
    pub parts: Vec<DividedPart>,
}

/// One part of a region.
#[derive(Clone, Debug, Default)]
pub struct DividedPart {
    /// What it reads of tensors made outside of the region, by tensor.
    pub pieces: BTreeMap<TensorId, Need>,
    /// What it gives out, by tensor.
    pub outputs: BTreeMap<TensorId, Need>,
    /// Weights that it holds.
    pub weights: BTreeSet<(TensorId, Need)>,
    /// Its share of each node's work; nodes that it leaves out are not there.
    pub shares: BTreeMap<NodeId, f64>,
    /// Most bytes of activations that one of its nodes reads and writes.
    pub busiest: u64,
    /// What it makes of tensors of the region.
    pub(super) made: HashMap<TensorId, Need>,
    /// Nodes, in an order in which they can run, with what is wanted of their outputs.
    pub(super) rewrites: Vec<(NodeId, Rewrite, Vec<Option<Need>>)>,
}

impl DividedPart {
    /// Bytes of the weights that it holds, each once.
    #[must_use]
    pub fn weights_bytes(&self, facts: &TensorFacts) -> u64 {
        self.weights.iter().map(|(weight, need)| bytes_of(facts, *weight, need)).sum()
    }

    /// Bytes that come to it.
    #[must_use]
    pub fn scattered_bytes(&self, facts: &TensorFacts) -> u64 {
        self.pieces.iter().map(|(tensor, need)| bytes_of(facts, *tensor, need)).sum()
    }

    /// Bytes that it gives out.
    #[must_use]
    pub fn gathered_bytes(&self, facts: &TensorFacts) -> u64 {
        self.outputs.iter().map(|(tensor, need)| bytes_of(facts, *tensor, need)).sum()
    }

    /// Highest sum of the tensors that are alive while one of its nodes runs: what it was sent to the
    /// last reader, what it makes from its writer to the last reader, what it gives out to the end.
    #[must_use]
    pub fn peak_bytes(&self, graph: &Graph, facts: &TensorFacts) -> u64 {
        let mut last: HashMap<TensorId, usize> = HashMap::new();
        for (place, (id, rewrite, _)) in self.rewrites.iter().enumerate() {
            for (tensor, _) in read(graph.node(*id), rewrite) {
                last.insert(tensor, place);
            }
        }
        for tensor in self.outputs.keys() {
            last.insert(*tensor, self.rewrites.len());
        }
        let held = |tensor: TensorId| {
            let need = self.made.get(&tensor).or_else(|| self.pieces.get(&tensor));
            need.map_or(0, |need| bytes_of(facts, tensor, need))
        };
        let mut alive: u64 = self.pieces.keys().map(|&tensor| held(tensor)).sum();
        let mut peak = alive;
        for (place, (id, rewrite, wanted)) in self.rewrites.iter().enumerate() {
            let node = graph.node(*id);
            let made = || node.outputs.iter().zip(wanted).filter(|(_, wanted)| wanted.is_some());
            alive += made().filter_map(|(tensor, _)| *tensor).map(held).sum::<u64>();
            peak = peak.max(alive);
            let mut ended: BTreeSet<TensorId> = read(node, rewrite).map(|(tensor, _)| tensor).collect();
            ended
                .extend(made().filter_map(|(tensor, _)| *tensor).filter(|tensor| !last.contains_key(tensor)));
            for tensor in ended {
                if last.get(&tensor).is_none_or(|&last| last == place) && !graph.is_initializer(tensor) {
                    alive = alive.saturating_sub(held(tensor));
                }
            }
        }
        peak
    }
}

/// Bytes of what is needed of a tensor; 0 where its size is not known.
pub(super) fn bytes_of(facts: &TensorFacts, tensor: TensorId, need: &Need) -> u64 {
    facts.spec(tensor).map_or(0, |spec| spec.element_type.byte_size(&need.shape(&spec.shape)).unwrap_or(0))
}

/// What a rewrite reads, and what of it.
fn read<'r>(node: &'r Node, rewrite: &'r Rewrite) -> impl Iterator<Item = (TensorId, &'r Need)> {
    node.inputs.iter().zip(&rewrite.needs).filter_map(|(tensor, need)| Some(((*tensor)?, need.as_ref()?)))
}

/// Divides a region that grows backwards, node by node.
pub struct Divider<'a> {
    graph: &'a Graph,
    facts: &'a TensorFacts,
    grain: u64,
    /// The tensor that the split is said of, and its join.
    seed: (TensorId, Join),
    nodes: BTreeSet<NodeId>,
    joins: BTreeMap<TensorId, Join>,
    parts: Vec<DividedPart>,
}

impl<'a> Divider<'a> {
    /// An empty region before a tensor of which `count` parts make the shares that `join` says.
    /// Contracted axes are divided into multiples of `grain` places.
    #[must_use]
    pub fn new(
        graph: &'a Graph,
        facts: &'a TensorFacts,
        seed: TensorId,
        join: Join,
        count: usize,
        grain: u64,
    ) -> Self {
        Self {
            graph,
            facts,
            grain,
            seed: (seed, join),
            nodes: BTreeSet::new(),
            joins: BTreeMap::new(),
            parts: vec![DividedPart::default(); count],
        }
    }

    /// Takes a node into the region. All nodes of the region that read what it makes must be in it
    /// already; what others read is given out by the parts.
    ///
    /// # Errors
    /// When no rule divides the node this way. The divider is of no use then.
    pub fn take(&mut self, id: NodeId) -> Result<(), Refusal> {
        let node = self.graph.node(id);
        let refuse = |reason: String| Refusal {
            node: node.name.clone(),
            operator: node.operator().to_owned(),
            reason,
            grain: None,
        };
        if !node.captures.is_empty() {
            return Err(refuse("its body reads tensors from outside".to_owned()));
        }
        for &tensor in node.outputs.iter().flatten() {
            if self.is_read_outside(tensor) {
                let join = self.join_of(tensor).map_err(refuse)?;
                // ONNX operators, Sum: reals alone.
                let kind = self.facts.spec(tensor).map(|spec| spec.element_type);
                if join == Join::Sum && kind.is_some_and(|kind| !is_real(kind)) {
                    return Err(refuse("sums of integers are not joined".to_owned()));
                }
                for (index, part) in self.parts.iter_mut().enumerate() {
                    let Some(need) = share(&join, index) else { continue };
                    merge(&mut part.made, tensor, need.clone(), self.facts)
                        .map_err(|()| refuse("a summand of it is wanted beside the whole".to_owned()))?;
                    part.outputs.insert(tensor, need);
                }
                self.joins.insert(tensor, join);
            }
        }
        let mut parts = std::mem::take(&mut self.parts);
        let count = parts.len();
        for (index, part) in parts.iter_mut().enumerate() {
            self.take_in(id, index, count, part)?;
        }
        self.parts = parts;
        self.nodes.insert(id);
        Ok(())
    }

    fn take_in(
        &self,
        id: NodeId,
        index: usize,
        count: usize,
        state: &mut DividedPart,
    ) -> Result<(), Refusal> {
        let node = self.graph.node(id);
        let wanted: Vec<Option<Need>> = node
            .outputs
            .iter()
            .map(|output| {
                let tensor = (*output)?;
                let need = state.made.get(&tensor)?.clone();
                Some(shape_of(self.facts, tensor).map_or(need.clone(), |shape| need.normal(shape)))
            })
            .collect();
        if wanted.iter().all(Option::is_none) {
            return Ok(());
        }
        let can_sum = |tensor: TensorId| self.can_sum(tensor);
        let part = Part {
            graph: self.graph,
            facts: self.facts,
            node,
            wanted: &wanted,
            index,
            count,
            grain: self.grain,
            can_sum: &can_sum,
        };
        let is_whole = wanted.iter().flatten().all(|need| *need == Need::Whole);
        let mut rewrite = if is_whole && !rules::narrows(node, &wanted) {
            Rewrite::whole(&part)
        } else {
            rules::rewrite(&part)?
        };
        for (tensor, need) in node.inputs.iter().zip(&mut rewrite.needs) {
            let (Some(tensor), Some(asked)) = (tensor, need.as_mut()) else { continue };
            if let Some(shape) = shape_of(self.facts, *tensor) {
                *asked = asked.clone().normal(shape);
            }
            if self.graph.is_initializer(*tensor) {
                if *asked == Need::Summand {
                    return Err(part.refuse("a summand of a stored weight is wanted"));
                }
                state.weights.insert((*tensor, asked.clone()));
            } else {
                merge(&mut state.made, *tensor, asked.clone(), self.facts)
                    .map_err(|()| part.refuse("a summand of what it reads is wanted beside the whole"))?;
            }
        }
        state.shares.insert(id, rewrite.work.clamp(0.0, 1.0));
        let activations = read(node, &rewrite).filter(|(tensor, _)| !self.graph.is_initializer(*tensor));
        let read: u64 = activations.map(|(tensor, need)| bytes_of(self.facts, tensor, need)).sum();
        let written =
            node.outputs.iter().zip(&wanted).filter_map(|(tensor, need)| Some(((*tensor)?, need.as_ref()?)));
        let written: u64 = written.map(|(tensor, need)| bytes_of(self.facts, tensor, need)).sum();
        state.busiest = state.busiest.max(read + written);
        // Kept from the last to the first while the region grows.
        state.rewrites.push((id, rewrite, wanted));
        Ok(())
    }

    /// Whether the region as it is can be replaced: no part would have to be sent a summand.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.nodes.is_empty()
            && self.joins.contains_key(&self.seed.0)
            && self.parts.iter().all(|part| {
                part.made.iter().all(|(tensor, need)| *need != Need::Summand || self.is_inside(*tensor))
            })
    }

    /// The parts as they are: what they need of tensors made outside is among what they make.
    #[must_use]
    pub fn parts(&self) -> &[DividedPart] {
        &self.parts
    }

    /// Bytes of each weight that a part holds.
    #[must_use]
    pub fn weights_of(&self, part: &DividedPart) -> Vec<u64> {
        part.weights.iter().map(|(weight, need)| bytes_of(self.facts, *weight, need)).collect()
    }

    /// Bytes of each tensor that a part is sent, by tensor.
    #[must_use]
    pub fn pieces_of(&self, part: &DividedPart) -> Vec<u64> {
        let outside = part.made.iter().filter(|(tensor, _)| !self.is_inside(**tensor));
        let pieces: BTreeMap<TensorId, u64> =
            outside.map(|(tensor, need)| (*tensor, bytes_of(self.facts, *tensor, need))).collect();
        pieces.into_values().collect()
    }

    /// Bytes of each tensor that a part gives out, by tensor.
    #[must_use]
    pub fn outputs_of(&self, part: &DividedPart) -> Vec<u64> {
        part.outputs.iter().map(|(tensor, need)| bytes_of(self.facts, *tensor, need)).collect()
    }

    fn is_inside(&self, tensor: TensorId) -> bool {
        self.graph.producer(tensor).is_some_and(|node| self.nodes.contains(&node))
    }

    /// The region as it is.
    #[must_use]
    pub fn division(&self) -> Division {
        let mut parts = self.parts.clone();
        for part in &mut parts {
            part.rewrites.reverse();
            let (inside, outside): (HashMap<_, _>, HashMap<_, _>) =
                part.made.drain().partition(|(tensor, _)| self.is_inside(*tensor));
            part.made = inside;
            part.pieces = outside.into_iter().collect();
        }
        Division { nodes: self.nodes.clone(), joins: self.joins.clone(), parts }
    }

    fn is_read_outside(&self, tensor: TensorId) -> bool {
        tensor == self.seed.0
            || self.graph.outputs().contains(&tensor)
            || self.graph.tensor(tensor).consumers.iter().any(|reader| !self.nodes.contains(reader))
    }

    /// How a tensor that is read beyond the region is made: as asked for, or along the axis that the
    /// parts make it along anyway.
    fn join_of(&self, tensor: TensorId) -> Result<Join, String> {
        let (seed, join) = &self.seed;
        if tensor == *seed {
            return Ok(join.clone());
        }
        let shape = shape_of(self.facts, tensor).ok_or("the shape of what it makes is not known")?;
        let needs: Vec<&Need> = self.parts.iter().filter_map(|part| part.made.get(&tensor)).collect();
        let along = needs.iter().find_map(|need| match need {
            Need::Along { axis, .. } => Some(*axis),
            _ => None,
        });
        let axis = match along {
            Some(axis) => axis,
            None if needs.iter().any(|need| **need == Need::Summand) => {
                return Err("what it makes is a summand and is read beyond the region".to_owned());
            }
            None if !needs.is_empty() => return Ok(Join::First),
            None => match join {
                Join::Concat { axis, .. } if (*axis as usize) < shape.len() => *axis as usize,
                // It has nothing to do with the split: one part makes it.
                Join::Concat { .. } | Join::Sum | Join::First => return Ok(Join::First),
            },
        };
        let extent = shape.get(axis).copied().unwrap_or(0);
        // Where every part makes ranges that meet end to end, those; else as even as can be.
        let bounds = meeting(&needs, extent).unwrap_or_else(|| even_bounds(extent, self.parts.len()));
        if bounds.len() != self.parts.len() + 1 || bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(format!("an axis of {extent} is too short for {} parts", self.parts.len()));
        }
        Ok(Join::Concat { axis: axis as u32, bounds })
    }

    /// Whether parts can make a tensor as summands with nothing passed between them: linear work
    /// alone lies between it and a contraction, and nobody else reads what is between.
    fn can_sum(&self, tensor: TensorId) -> bool {
        let mut tensor = tensor;
        loop {
            let readers = &self.graph.tensor(tensor).consumers;
            if readers.len() != 1 || self.graph.outputs().contains(&tensor) {
                return false;
            }
            let Some(producer) = self.graph.producer(tensor) else { return false };
            let node = self.graph.node(producer);
            if rules::contracts(self.graph, node) {
                return true;
            }
            let next = rules::linear_inputs(node)
                .filter_map(|place| node.inputs.get(place).copied().flatten())
                .find(|&input| !self.graph.is_initializer(input));
            match next {
                // A sum is shared when one of its terms is: the walk follows the first that is computed here.
                Some(input) if node.operator() != "Add" => tensor = input,
                _ if node.operator() == "Add" => {
                    return rules::linear_inputs(node)
                        .filter_map(|place| node.inputs.get(place).copied().flatten())
                        .any(|input| self.can_sum(input));
                }
                _ => return false,
            }
        }
    }
}

fn is_real(kind: ElementType) -> bool {
    matches!(kind, ElementType::Float16 | ElementType::BFloat16 | ElementType::Float32 | ElementType::Float64)
}

/// Bounds where the ranges of the parts, one after the other, meet end to end over the whole axis.
fn meeting(needs: &[&Need], extent: u64) -> Option<Vec<u64>> {
    let mut bounds = vec![0];
    for need in needs {
        let Need::Along { ranges, .. } = need else { return None };
        let (start, end) = ranges.single()?;
        if bounds.last() != Some(&start) {
            return None;
        }
        bounds.push(end);
    }
    (bounds.last() == Some(&extent)).then_some(bounds)
}

fn merge(
    needs: &mut HashMap<TensorId, Need>,
    tensor: TensorId,
    need: Need,
    facts: &TensorFacts,
) -> Result<(), ()> {
    let merged = match needs.remove(&tensor) {
        Some(known) => known.merged(need).ok_or(())?,
        None => need,
    };
    let merged = shape_of(facts, tensor).map_or_else(|| merged.clone(), |shape| merged.clone().normal(shape));
    needs.insert(tensor, merged);
    Ok(())
}

/// What part `index` gives out of a tensor; none where it gives nothing.
fn share(join: &Join, index: usize) -> Option<Need> {
    match join {
        Join::Concat { axis, bounds } => {
            let (&start, &end) = bounds.get(index).zip(bounds.get(index + 1))?;
            Some(Need::Along { axis: *axis as usize, ranges: Ranges::new(start, end)? })
        }
        Join::Sum => Some(Need::Summand),
        Join::First => (index == 0).then_some(Need::Whole),
    }
}

/// Divides these nodes into parts that make `seed` as `join` says.
///
/// # Errors
/// When a node cannot be divided so, or a part would have to be sent a summand.
pub fn divide(
    graph: &Graph,
    facts: &TensorFacts,
    nodes: &BTreeSet<NodeId>,
    seed: TensorId,
    join: Join,
    count: usize,
    grain: u64,
) -> Result<Division, Refusal> {
    let mut divider = Divider::new(graph, facts, seed, join, count, grain);
    for &node in nodes.iter().rev() {
        divider.take(node)?;
    }
    if divider.is_complete() {
        return Ok(divider.division());
    }
    let node = nodes.first().map(|&id| graph.node(id));
    Err(Refusal {
        node: node.map(|node| node.name.clone()).unwrap_or_default(),
        operator: node.map(|node| node.operator().to_owned()).unwrap_or_default(),
        reason: "a part would have to be sent a summand, or nothing of the region is given out".to_owned(),
        grain: None,
    })
}
