//! The problem with chosen splits in it.

use super::candidates::part_name;
use super::placed::Placed;
use super::{Basis, Horizontal, Source};
use crate::live::{own_live_bytes, passing_bytes};
use crate::{BorderTensor, PlanError, Problem, ProblemLayer, ProblemNode};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use tranche_graph::split::{Division, Names, Need, divide, emit_join, emit_part, emit_piece};
use tranche_graph::{NodeId, TensorId};
use tranche_schema::{ByteCount, Join, Millis, Patch, Split, TensorSpec};

/// Copying a mebibyte within a process, where pieces are cut and parts joined: about 4 GiB/s.
const COPY_MS_PER_MEBIBYTE: f64 = 0.25;

/// The problem with these splits in it, and the ranges of its layers that run in one function each.
///
/// # Errors
/// When a region cannot be split so after all, or nothing after it joins what its parts make.
pub(crate) fn compose(
    problem: &Problem,
    placed: &[Placed],
) -> Result<(Problem, Vec<Range<usize>>), PlanError> {
    let source = problem.horizontal.source.as_ref();
    let source = source.ok_or_else(|| {
        PlanError::InvalidProblem("splits are wanted, and the graph is not known".to_owned())
    })?;
    let mut placed = placed.to_vec();
    if matches!(placed.last(), Some(Placed::Split { .. })) {
        // A function that only joins.
        placed.push(Placed::Slice(Vec::new()));
    }
    let composer = Composer::new(problem, source, &placed)?;
    composer.compose()
}

/// A region, divided.
struct Region {
    name: String,
    seed: TensorId,
    grain: u64,
    layers: Range<usize>,
    division: Division,
}

/// Who makes a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// The caller.
    Caller,
    /// The slice at this place of what is placed.
    Slice(usize),
    /// The region at this place of what is placed: its parts.
    Region(usize),
}

/// A layer of the composed problem before tensors are known by place.
struct Draft {
    layer: ProblemLayer,
    own_live: u64,
    reads: BTreeSet<String>,
    writes: BTreeSet<String>,
}

struct Composer<'a> {
    problem: &'a Problem,
    source: &'a Source,
    placed: &'a [Placed],
    regions: BTreeMap<usize, Region>,
    /// Which of what is placed has a layer.
    home: Vec<usize>,
    layer_of_node: HashMap<NodeId, usize>,
    own_live: Vec<u64>,
    patch: Patch,
    weights: Vec<ByteCount>,
    partial: HashMap<(TensorId, Need), usize>,
    specs: HashMap<String, TensorSpec>,
}

impl<'a> Composer<'a> {
    fn new(problem: &'a Problem, source: &'a Source, placed: &'a [Placed]) -> Result<Self, PlanError> {
        let mut home = vec![usize::MAX; problem.layers.len()];
        let mut regions = BTreeMap::new();
        for (at, placed) in placed.iter().enumerate() {
            let layers: Vec<usize> = match placed {
                Placed::Slice(layers) => layers.clone(),
                Placed::Split { layers, .. } => layers.clone().collect(),
            };
            for layer in layers {
                *home.get_mut(layer).ok_or_else(|| {
                    PlanError::InvalidProblem("a layer is placed that is not there".to_owned())
                })? = at;
            }
            if let Placed::Split { layers, name, seed, join, parts, grain } = placed {
                let nodes: BTreeSet<NodeId> = source.layers()[layers.clone()]
                    .iter()
                    .flat_map(|layer| layer.nodes.iter().copied())
                    .collect();
                let division =
                    divide(source.graph(), source.facts(), &nodes, *seed, join.clone(), *parts, *grain)
                        .map_err(|refusal| PlanError::Split { split: name.clone(), refusal })?;
                let (name, seed, grain, layers) = (name.clone(), *seed, *grain, layers.clone());
                regions.insert(at, Region { name, seed, grain, layers, division });
            }
        }
        if home.contains(&usize::MAX) {
            return Err(PlanError::InvalidProblem("a layer is placed nowhere".to_owned()));
        }
        let layer_of_node = source
            .layers()
            .iter()
            .enumerate()
            .flat_map(|(place, layer)| layer.nodes.iter().map(move |&node| (node, place)))
            .collect();
        let bytes: Vec<u64> = problem.tensors.iter().map(|tensor| tensor.spec.bytes().0).collect();
        let (reads, writes) = problem.touched();
        let specs =
            problem.tensors.iter().map(|tensor| (tensor.spec.name.clone(), tensor.spec.clone())).collect();
        Ok(Self {
            own_live: own_live_bytes(problem, &bytes, &reads, &writes),
            weights: problem.weights.clone(),
            partial: HashMap::new(),
            patch: Patch::default(),
            specs,
            problem,
            source,
            placed,
            regions,
            home,
            layer_of_node,
        })
    }

    fn maker(&self, tensor: TensorId) -> Maker {
        let node = self.source.graph().producer(tensor);
        let Some(at) = node.and_then(|node| self.layer_of_node.get(&node)).map(|&layer| self.home[layer])
        else {
            return Maker::Caller;
        };
        if self.regions.contains_key(&at) { Maker::Region(at) } else { Maker::Slice(at) }
    }

    fn name(&self, tensor: TensorId) -> String {
        self.source.graph().tensor(tensor).name.clone()
    }

    /// The slice in which what parts of a region make is joined to a tensor: the first that reads it, or,
    /// where the caller gets it, the first slice after the region. None where parts alone read it.
    fn joining_slice(&self, at: usize, tensor: TensorId) -> Result<Option<usize>, PlanError> {
        let graph = self.source.graph();
        let readers = graph.tensor(tensor).consumers.iter().filter_map(|node| self.layer_of_node.get(node));
        let slices = readers.map(|&layer| self.home[layer]).filter(|home| !self.regions.contains_key(home));
        if let Some(first) = slices.min() {
            return Ok(Some(first));
        }
        if !graph.outputs().contains(&tensor) {
            return Ok(None);
        }
        let after = (at + 1..self.placed.len()).find(|at| !self.regions.contains_key(at));
        after.map(Some).ok_or_else(|| {
            PlanError::InvalidProblem(format!("nothing joins the parts of output `{}`", self.name(tensor)))
        })
    }

    fn compose(mut self) -> Result<(Problem, Vec<Range<usize>>), PlanError> {
        let mut before: BTreeMap<usize, Vec<Draft>> = BTreeMap::new();
        let mut after: BTreeMap<usize, Vec<Draft>> = BTreeMap::new();
        let mut parts: BTreeMap<usize, Vec<Draft>> = BTreeMap::new();
        let places: Vec<usize> = self.regions.keys().copied().collect();
        for &at in &places {
            let Some(region) = self.regions.remove(&at) else { continue };
            // Its own place is known to be a region all the same while it is taken out.
            let removed =
                region.division.nodes.iter().map(|&node| self.source.graph().node(node).name.clone());
            self.patch.removed.extend(removed);
            let name = region.name.clone();
            self.regions.insert(at, region);
            let mut drafts = Vec::new();
            let count = self.regions[&at].division.parts.len();
            for index in 0..count {
                let (part, cut) = self.part(at, &name, index)?;
                for (slice, draft) in cut {
                    after.entry(slice).or_default().push(draft);
                }
                drafts.push(part);
            }
            parts.insert(at, drafts);
        }
        for &at in &places {
            let joins: Vec<(TensorId, Join)> = self.regions[&at]
                .division
                .joins
                .iter()
                .map(|(tensor, join)| (*tensor, join.clone()))
                .collect();
            for (tensor, join) in joins {
                if let Some(slice) = self.joining_slice(at, tensor)? {
                    let whole = self.name(tensor);
                    let draft = self.join(
                        at,
                        tensor,
                        &join,
                        &whole,
                        format!("{}.join.{whole}", self.regions[&at].name),
                    );
                    before.entry(slice).or_default().push(draft);
                }
            }
        }
        let mut drafts = Vec::new();
        let mut cuts = Vec::new();
        for (at, placed) in self.placed.iter().enumerate() {
            match placed {
                Placed::Split { .. } => {
                    for draft in parts.remove(&at).unwrap_or_default() {
                        cuts.push(drafts.len()..drafts.len() + 1);
                        drafts.push(draft);
                    }
                }
                Placed::Slice(layers) => {
                    let start = drafts.len();
                    drafts.extend(before.remove(&at).unwrap_or_default());
                    drafts.extend(layers.iter().map(|&layer| self.kept(layer)));
                    drafts.extend(after.remove(&at).unwrap_or_default());
                    cuts.push(start..drafts.len());
                }
            }
        }
        Ok((self.assembled(drafts), cuts))
    }

    /// A layer that stays as it is.
    fn kept(&self, layer: usize) -> Draft {
        let known = &self.source.layers()[layer];
        let names = |tensors: &[TensorId]| tensors.iter().map(|&tensor| self.name(tensor)).collect();
        Draft {
            layer: self.problem.layers[layer].clone(),
            own_live: self.own_live[layer],
            reads: names(&known.inputs),
            writes: names(&known.outputs),
        }
    }

    /// Part `index` of a region as a layer, and the layers that cut its pieces, by slice.
    fn part(
        &mut self,
        at: usize,
        split: &str,
        index: usize,
    ) -> Result<(Draft, Vec<(usize, Draft)>), PlanError> {
        let (graph, facts) = (self.source.graph(), self.source.facts());
        let names = Names { split };
        let division = self.regions[&at].division.clone();
        let part = &division.parts[index];
        let mut named: BTreeMap<TensorId, String> = BTreeMap::new();
        let mut reads = BTreeSet::new();
        let mut cut = Vec::new();
        let mut own_nodes: Vec<String> = Vec::new();
        let mut extra_bytes = 0;
        for (&tensor, need) in &part.pieces {
            let whole = self.name(tensor);
            let mut source_name = whole.clone();
            let maker = self.maker(tensor);
            if let Maker::Region(made_at) = maker {
                // What parts of another region made is joined here, for this part alone.
                source_name = format!("{}.whole", names.of_part(&whole, index));
                let join = self.regions[&made_at].division.joins.get(&tensor).cloned().unwrap_or(Join::First);
                let from = self.patch.nodes.len();
                let draft = self.join(made_at, tensor, &join, &source_name, String::new());
                own_nodes.extend(self.patch.nodes[from..].iter().map(|node| node.name.clone()));
                extra_bytes += facts.byte_size(tensor).unwrap_or(0);
                reads.extend(draft.reads);
            }
            if *need == Need::Whole {
                if source_name == whole {
                    reads.insert(whole);
                }
                named.insert(tensor, source_name);
                continue;
            }
            let piece = names.of_part(&whole, index);
            let from = self.patch.nodes.len();
            emit_piece(graph, facts, tensor, need, &source_name, &piece, &mut self.patch);
            let nodes: Vec<String> = self.patch.nodes[from..].iter().map(|node| node.name.clone()).collect();
            self.learn();
            match maker {
                Maker::Slice(slice) => {
                    let bytes = self.specs.get(&piece).map_or(0, |spec| spec.bytes().0);
                    let draft =
                        self.glue(format!("{}.cut.{whole}", part_name(split, index)), &nodes, bytes, bytes);
                    let draft = Draft { reads: [whole].into(), writes: [piece.clone()].into(), ..draft };
                    cut.push((slice, draft));
                    reads.insert(piece.clone());
                }
                Maker::Caller | Maker::Region(_) => {
                    own_nodes.extend(nodes);
                    if source_name == whole {
                        extra_bytes += facts.byte_size(tensor).unwrap_or(0);
                        reads.insert(whole);
                    }
                }
            }
            named.insert(tensor, piece);
        }
        let from = self.patch.nodes.len();
        let outside = |tensor: TensorId, _: &Need| named.get(&tensor).cloned().unwrap_or_default();
        emit_part(graph, facts, &division, index, names, &outside, &mut self.patch);
        own_nodes.extend(self.patch.nodes[from..].iter().map(|node| node.name.clone()));
        self.learn();
        let writes = part.outputs.keys().map(|&tensor| names.output(&self.name(tensor), index)).collect();
        let layers = self.regions[&at].layers.clone();
        let (mut time, mut parallel) = (0.0, 0.0);
        for place in layers {
            let layer = &self.source.layers()[place];
            let own = self.problem.layers[place].time.0 * self.source.share(layer, part);
            time += own;
            parallel += own * self.problem.layers[place].parallel_share;
        }
        let weights = part.weights.iter().map(|(weight, need)| self.weight(*weight, need)).collect();
        let layer = ProblemLayer {
            name: part_name(split, index),
            kind: "part".to_owned(),
            nodes: self.nodes(&own_nodes),
            time: Millis(time),
            weights,
            peak_live: ByteCount(0),
            parallel_share: if time > 0.0 { (parallel / time).clamp(0.0, 1.0) } else { 0.0 },
            dominant: false,
        };
        let own_live = part.peak_bytes(graph, facts) + extra_bytes;
        Ok((Draft { layer, own_live, reads, writes }, cut))
    }

    /// A layer that joins what the parts of a region made of a tensor, under the name `whole`.
    fn join(&mut self, at: usize, tensor: TensorId, join: &Join, whole: &str, layer: String) -> Draft {
        let region = &self.regions[&at];
        let names = Names { split: &region.name };
        let own = self.name(tensor);
        let parts: Vec<String> = region
            .division
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.outputs.contains_key(&tensor))
            .map(|(index, _)| names.output(&own, index))
            .collect();
        let from = self.patch.nodes.len();
        emit_join(self.source.graph(), self.source.facts(), tensor, join, &parts, whole, &mut self.patch);
        let nodes: Vec<String> = self.patch.nodes[from..].iter().map(|node| node.name.clone()).collect();
        self.learn();
        let bytes = self.source.facts().byte_size(tensor).unwrap_or(0);
        let read = match join {
            Join::Sum => bytes * parts.len() as u64,
            Join::Concat { .. } | Join::First => bytes,
        };
        let draft = self.glue(layer, &nodes, read, bytes);
        Draft { reads: parts.into_iter().collect(), writes: [whole.to_owned()].into(), ..draft }
    }

    /// A layer that only moves bytes.
    fn glue(&self, name: String, nodes: &[String], read: u64, written: u64) -> Draft {
        let mebibytes = (read + written) as f64 / 2.0 / (1024.0 * 1024.0);
        Draft {
            layer: ProblemLayer {
                name,
                kind: "glue".to_owned(),
                nodes: self.nodes(nodes),
                time: Millis(mebibytes * COPY_MS_PER_MEBIBYTE),
                weights: Vec::new(),
                peak_live: ByteCount(0),
                parallel_share: 0.0,
                dominant: false,
            },
            own_live: read + written,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
        }
    }

    /// Takes in the tensors that the patch declares from here on.
    fn learn(&mut self) {
        for spec in &self.patch.tensors {
            self.specs.entry(spec.name.clone()).or_insert_with(|| spec.clone());
        }
    }

    /// Nodes of the patch, numbered after those of the graph.
    fn nodes(&self, names: &[String]) -> Vec<ProblemNode> {
        let first = self.source.graph().nodes().len();
        let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
        self.patch
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| wanted.contains(node.name.as_str()))
            .map(|(place, node)| ProblemNode { name: node.name.clone(), index: (first + place) as u32 })
            .collect()
    }

    /// The place of a weight, or of a part of one, in the composed problem's list.
    fn weight(&mut self, weight: TensorId, need: &Need) -> usize {
        if *need == Need::Whole
            && let Some(known) = self.source.weight(weight)
        {
            return known;
        }
        let bytes = self
            .source
            .facts()
            .spec(weight)
            .map_or(0, |spec| spec.element_type.byte_size(&need.shape(&spec.shape)).unwrap_or(0));
        *self.partial.entry((weight, need.clone())).or_insert_with(|| {
            self.weights.push(ByteCount(bytes));
            self.weights.len() - 1
        })
    }

    fn assembled(self, drafts: Vec<Draft>) -> Problem {
        let mut producer: HashMap<&str, usize> = HashMap::new();
        let mut consumers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, draft) in drafts.iter().enumerate() {
            for name in &draft.writes {
                producer.insert(name, place);
            }
            for name in &draft.reads {
                consumers.entry(name).or_default().push(place);
            }
        }
        let given: HashMap<&str, &BorderTensor> =
            self.problem.tensors.iter().map(|tensor| (tensor.spec.name.as_str(), tensor)).collect();
        let mut names: Vec<&str> =
            self.problem.tensors.iter().map(|tensor| tensor.spec.name.as_str()).collect();
        let added: BTreeSet<&str> = drafts
            .iter()
            .flat_map(|draft| draft.writes.iter().map(String::as_str))
            .filter(|name| !given.contains_key(name))
            .collect();
        names.extend(added);
        let tensors: Vec<BorderTensor> = names
            .into_iter()
            .filter_map(|name| {
                let own = given.get(name);
                let from = producer.get(name).copied();
                let is_input = own.is_some_and(|tensor| tensor.producer.is_none());
                let consumers = consumers.remove(name).unwrap_or_default();
                let to_caller = own.is_some_and(|tensor| tensor.to_caller);
                let alive = (from.is_some() || is_input) && (to_caller || !consumers.is_empty());
                let spec = self.specs.get(name)?.clone();
                alive.then_some(BorderTensor { spec, producer: from, consumers, to_caller })
            })
            .collect();
        let own: Vec<u64> = drafts.iter().map(|draft| draft.own_live).collect();
        let splits = self.splits();
        let basis = Basis { problem: self.problem.clone(), splits, patch: self.patch };
        let mut problem = Problem {
            layers: drafts.into_iter().map(|draft| draft.layer).collect(),
            tensors,
            weights: self.weights,
            horizontal: Horizontal { source: None, basis: Some(Arc::new(basis)) },
            ..self.problem.clone()
        };
        let bytes: Vec<u64> = problem.tensors.iter().map(|tensor| tensor.spec.bytes().0).collect();
        let (reads, writes) = problem.touched();
        let passing = passing_bytes(&problem, &bytes, &reads, &writes);
        for ((layer, own), passing) in problem.layers.iter_mut().zip(own).zip(passing) {
            layer.peak_live = ByteCount(own + passing);
        }
        problem
    }

    fn splits(&self) -> Vec<Split> {
        let facts = self.source.facts();
        self.regions
            .values()
            .map(|region| {
                let division = &region.division;
                let each = |of: &dyn Fn(&tranche_graph::split::DividedPart) -> u64| -> Vec<ByteCount> {
                    division.parts.iter().map(|part| ByteCount(of(part))).collect()
                };
                let all: f64 = division.nodes.iter().map(|&node| self.source.effort(node)).sum();
                let work = |part: &tranche_graph::split::DividedPart| {
                    part.shares.iter().map(|(&node, share)| self.source.effort(node) * share).sum::<f64>()
                        / all.max(1.0)
                };
                let mut whole: BTreeSet<usize> = BTreeSet::new();
                for layer in &self.problem.layers[region.layers.clone()] {
                    whole.extend(&layer.weights);
                }
                Split {
                    name: region.name.clone(),
                    layers: self.problem.layers[region.layers.clone()]
                        .iter()
                        .map(|layer| layer.name.clone())
                        .collect(),
                    seed: self.name(region.seed),
                    parts: division.parts.len() as u32,
                    grain: region.grain,
                    joins: division
                        .joins
                        .iter()
                        .map(|(&tensor, join)| (self.name(tensor), join.clone()))
                        .collect(),
                    work: division.parts.iter().map(work).collect(),
                    weights_bytes: each(&|part| part.weights_bytes(facts)),
                    whole_weights_bytes: whole.iter().map(|&weight| self.problem.weights[weight]).sum(),
                    scattered_bytes: each(&|part| part.scattered_bytes(facts)),
                    gathered_bytes: each(&|part| part.gathered_bytes(facts)),
                }
            })
            .collect()
    }
}
