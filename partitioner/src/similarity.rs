//! MOPAR's vertical slicing by similarity (arXiv 2404.02445).
//!
//! The paper's abstract says that layers of similar resource use are put in one
//! slice and gives no procedure. The choices made here:
//!
//! - A layer's vector is (time, memory, parameters): its median time, the
//!   bytes of activations alive while it runs, and the bytes of its initialisers; each divided by the largest among the layers, so that every
//!   component is in 0..=1. A component that is 0 for every layer stays 0.
//! - Clusters are contiguous. Start with one cluster a layer; merge the two
//!   adjacent clusters whose merging adds least to the sum of squared distances
//!   to cluster means (Ward: `a·b/(a+b) · |mean_a − mean_b|²` with a, b the
//!   numbers of layers); on a tie the earlier pair.
//! - Stop at the number of slices asked for. Where none is asked for, the cost
//!   model picks among all the stages of merging within the constraints; on a
//!   tie the one with fewer slices.

use crate::order::Order;
use crate::search::{Bounds, Choice, is_better, sized_within};
use crate::{Costs, PlanError};
use std::ops::Range;
use tranche_schema::Constraints;

struct Cluster {
    layers: Range<usize>,
    mean: [f64; 3],
}

/// Contiguous clusters of similar layers; see the module's text.
///
/// # Errors
/// When more slices are asked for than there are layers, or no stage of merging
/// satisfies the constraints.
pub(crate) fn similarity(
    costs: &Costs<'_>,
    slices: Option<u32>,
    constraints: &Constraints,
) -> Result<Vec<Range<usize>>, PlanError> {
    let layers = costs.problem().layers.len();
    if let Some(asked) = slices {
        if asked == 0 || asked as usize > layers {
            return Err(PlanError::WrongPartCount { asked, layers });
        }
        let mut clusters = singletons(costs);
        while clusters.len() > asked as usize {
            merge_most_similar(&mut clusters);
        }
        return Ok(ranges(&clusters));
    }
    let bounds = Bounds::new(constraints, costs).map_err(PlanError::Infeasible)?;
    let mut best: Option<(Choice, Vec<Range<usize>>)> = None;
    let mut clusters = singletons(costs);
    loop {
        let path = ranges(&clusters);
        if let Ok(choice) = sized_within(costs, &bounds, Order::graph(layers), &path)
            // Later stages have fewer slices, which win ties.
            && best.as_ref().is_none_or(|(best, _)| !is_better(costs.model(), &best.totals, &choice.totals))
        {
            best = Some((choice, path));
        }
        if clusters.len() == 1 {
            break;
        }
        merge_most_similar(&mut clusters);
    }
    best.map(|(_, path)| path).ok_or_else(|| PlanError::BreaksConstraint {
        strategy: "similarity".to_owned(),
        what: "no number of clusters satisfies the constraints".to_owned(),
    })
}

fn singletons(costs: &Costs<'_>) -> Vec<Cluster> {
    let problem = costs.problem();
    let mut vectors: Vec<[f64; 3]> = problem
        .layers
        .iter()
        .map(|layer| {
            let parameters: u64 = layer.weights.iter().map(|&weight| problem.weights[weight].0).sum();
            [layer.time.0, layer.peak_live.0 as f64, parameters as f64]
        })
        .collect();
    for component in 0..3 {
        let largest = vectors.iter().map(|vector| vector[component]).fold(0.0, f64::max);
        if largest > 0.0 {
            vectors.iter_mut().for_each(|vector| vector[component] /= largest);
        }
    }
    vectors.into_iter().enumerate().map(|(layer, mean)| Cluster { layers: layer..layer + 1, mean }).collect()
}

fn merge_most_similar(clusters: &mut Vec<Cluster>) {
    let increase = |left: &Cluster, right: &Cluster| {
        let (left_count, right_count) = (left.layers.len() as f64, right.layers.len() as f64);
        let distance: f64 =
            left.mean.iter().zip(&right.mean).map(|(left, right)| (left - right) * (left - right)).sum();
        left_count * right_count / (left_count + right_count) * distance
    };
    let pairs = clusters.windows(2).enumerate().filter_map(|(index, pair)| match pair {
        [left, right] => Some((index, increase(left, right))),
        _ => None,
    });
    let Some((index, _)) = pairs.min_by(|left, right| left.1.total_cmp(&right.1)) else { return };
    let right = clusters.remove(index + 1);
    let left = &mut clusters[index];
    let (left_count, right_count) = (left.layers.len() as f64, right.layers.len() as f64);
    for (mean, other) in left.mean.iter_mut().zip(right.mean) {
        *mean = (*mean * left_count + other * right_count) / (left_count + right_count);
    }
    left.layers.end = right.layers.end;
}

fn ranges(clusters: &[Cluster]) -> Vec<Range<usize>> {
    clusters.iter().map(|cluster| cluster.layers.clone()).collect()
}
