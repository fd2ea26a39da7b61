//! Node times from the engine, gathered into layers.

use crate::{ProfilerError, timing};
use std::collections::{BTreeMap, HashMap};
use tranche_engine::Session;
use tranche_schema::{TensorSpec, TensorView, Timing};

/// What profiled runs told.
#[derive(Clone, Debug, Default)]
pub struct LayerTimes {
    /// One entry a layer, in the order given.
    pub layers: Vec<Timing>,
    /// Type and concrete shape of every tensor that the engine told of.
    pub tensors: BTreeMap<String, TensorSpec>,
}

/// Times each layer over `repeats` profiled runs after `warmup` unmeasured ones.
///
/// A layer's time in one run is the sum of its nodes' times. `progress` is
/// called after each run with the number of runs done.
///
/// # Errors
/// When the engine fails.
pub fn time_layers(
    session: &mut dyn Session,
    inputs: &[TensorView<'_>],
    layers: &[Vec<&str>],
    warmup: u32,
    repeats: u32,
    progress: &mut dyn FnMut(u32),
) -> Result<LayerTimes, ProfilerError> {
    let layer_of: HashMap<&str, usize> = layers
        .iter()
        .enumerate()
        .flat_map(|(index, nodes)| nodes.iter().map(move |&node| (node, index)))
        .collect();
    let mut samples = vec![Vec::new(); layers.len()];
    let mut tensors = BTreeMap::new();
    let runs = session.profile_runs(inputs, warmup as usize, repeats.max(1) as usize, &mut |done| {
        progress(u32::try_from(done).unwrap_or(u32::MAX));
    })?;
    for nodes in runs {
        let mut sums = vec![0.0_f64; layers.len()];
        for node in nodes {
            if let Some(&layer) = layer_of.get(node.node.as_str()) {
                sums[layer] += node.time.as_secs_f64() * 1000.0;
            }
            tensors.extend(node.outputs.into_iter().map(|spec| (spec.name.clone(), spec)));
        }
        for (values, sum) in samples.iter_mut().zip(sums) {
            values.push(sum);
        }
    }
    Ok(LayerTimes { layers: samples.iter().map(|values| timing(values)).collect(), tensors })
}
