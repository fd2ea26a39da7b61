//! What runs next to what: slices and splits in the order of a plan.

use super::candidates::{Candidate, part_name};
use crate::{PlanError, Problem};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use tranche_graph::TensorId;
use tranche_schema::{Join, Plan, SlicePlan};

/// What runs next to what, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Placed {
    /// Layers in one function, as places in graph order.
    Slice(Vec<usize>),
    /// Adjacent layers as parts.
    Split {
        /// The layers, as places in graph order.
        layers: Range<usize>,
        /// Name of the split.
        name: String,
        /// The tensor that it is said of.
        seed: TensorId,
        /// How that is made of what parts make.
        join: Join,
        /// How many parts.
        parts: usize,
        /// See [`Candidate::grain`].
        grain: u64,
    },
}

impl Placed {
    pub(crate) fn split(candidate: &Candidate) -> Self {
        Self::Split {
            layers: candidate.layers.clone(),
            name: candidate.name.clone(),
            seed: candidate.seed,
            join: candidate.join.clone(),
            parts: candidate.parts.len(),
            grain: candidate.grain,
        }
    }
}

/// The layers that a slice runs as one model, or each of its members.
fn runs(slice: &SlicePlan) -> Vec<(&SlicePlan, &[String])> {
    match slice.members.as_slice() {
        [] => vec![(slice, slice.layers.as_slice())],
        members => members.iter().map(|member| (slice, member.layers.as_slice())).collect(),
    }
}

/// What a plan with splits runs next to what.
///
/// # Errors
/// When its layers or splits are not those of the problem.
pub(crate) fn placed_of(problem: &Problem, plan: &Plan) -> Result<Vec<Placed>, PlanError> {
    let source = problem.horizontal.source.as_ref();
    let source = source.ok_or_else(|| {
        PlanError::InvalidProblem("the plan has splits, and the graph is not known".to_owned())
    })?;
    let place: HashMap<&str, usize> =
        problem.layers.iter().enumerate().map(|(place, layer)| (layer.name.as_str(), place)).collect();
    let mut begun: HashSet<&str> = HashSet::new();
    let mut placed = Vec::new();
    for (slice, layers) in plan.slices.iter().flat_map(runs) {
        let other = || PlanError::OtherLayers { slice: slice.name.clone() };
        let part_of = layers.first().and_then(|layer| {
            plan.splits
                .iter()
                .find(|split| (0..split.parts as usize).any(|part| part_name(&split.name, part) == **layer))
        });
        let Some(split) = part_of else {
            let own: Vec<usize> =
                layers.iter().filter_map(|layer| place.get(layer.as_str()).copied()).collect();
            placed.push(Placed::Slice(own));
            continue;
        };
        if !begun.insert(&split.name) {
            continue;
        }
        let layers: Option<Vec<usize>> =
            split.layers.iter().map(|layer| place.get(layer.as_str()).copied()).collect();
        let layers =
            layers.filter(|layers| layers.windows(2).all(|pair| pair[0] + 1 == pair[1])).ok_or_else(other)?;
        let (Some(&first), Some(&last)) = (layers.first(), layers.last()) else { return Err(other()) };
        let seed = source.graph().find_tensor(&split.seed).ok_or_else(other)?;
        let join = split.joins.get(&split.seed).cloned().ok_or_else(other)?;
        placed.push(Placed::Split {
            layers: first..last + 1,
            name: split.name.clone(),
            seed,
            join,
            parts: split.parts as usize,
            grain: split.grain,
        });
    }
    Ok(placed)
}
