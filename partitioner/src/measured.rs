//! What was measured of slices, by the segments they are.

use crate::timing::MeasuredTimes;
use crate::{Problem, start};
use std::collections::{HashMap, HashSet};
use tranche_schema::{ByteCount, MilliCpu, SliceMeasurement, WholeProfile};

/// One segment, measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Highest resident memory.
    pub(crate) peak: ByteCount,
    /// Smallest memory limit under which it kept its speed.
    pub(crate) limit: Option<ByteCount>,
    /// Run times.
    pub(crate) times: MeasuredTimes,
    /// What it was billed beyond its run, by share.
    handoffs: Vec<(MilliCpu, f64)>,
    /// Interquartile ranges, by share.
    spreads: Vec<(MilliCpu, f64)>,
    /// Start-up at one CPU.
    pub(crate) start: Option<f64>,
    /// How much longer the first run took.
    pub(crate) first_run_excess: Option<f64>,
}

impl Measured {
    fn add(&mut self, share: MilliCpu, whole: &WholeProfile) {
        self.peak = whole.peak_memory_bytes;
        self.limit = whole.memory_limit_bytes.or(self.limit);
        for sample in &whole.shares {
            self.times.add(sample.cpu, sample.run.median_ms);
        }
        self.times.add(share, whole.run.median_ms);
        self.spreads.push((share, whole.run.spread_ms.0));
        self.start = start::start(whole).or(self.start);
        if whole.first_run_ms.0 > 0.0 {
            self.first_run_excess = Some(start::first_run_excess(whole));
        }
    }

    /// Takes in a measured slice, also as it was deployed.
    fn add_slice(&mut self, slice: &SliceMeasurement) {
        self.add(slice.cpu, &slice.whole);
        if let Some(billed) = &slice.billed {
            let run = self.times.exactly(slice.cpu).unwrap_or(slice.whole.run.median_ms.0);
            self.handoffs.retain(|(share, _)| *share != slice.cpu);
            self.spreads.push((slice.cpu, billed.spread_ms.0));
            self.handoffs.push((slice.cpu, (billed.median_ms.0 - run).max(0.0)));
        }
    }

    /// Interquartile range at a share.
    pub(crate) fn spread(&self, share: MilliCpu) -> Option<f64> {
        self.spreads.iter().rev().find(|(known, _)| *known == share).map(|(_, spread)| *spread)
    }

    /// Hand-off as billed when it was deployed, and whether that was at this share.
    pub(crate) fn handoff(&self, share: MilliCpu) -> Option<(f64, bool)> {
        let exact = self.handoffs.iter().find(|(known, _)| *known == share);
        exact.map(|(_, time)| (*time, true)).or_else(|| {
            // Below one CPU it was slower by the share.
            let (known, time) = self.handoffs.last()?;
            Some((time * (f64::from(known.0) / 1000.0).min(1.0), false))
        })
    }
}

/// Measurements by first layer and the one after the last. A slice whose layers are not
/// adjacent in the problem's order is left out; a later measurement at a share replaces an
/// earlier one.
pub(crate) fn measured_segments(problem: &Problem) -> HashMap<(usize, usize), Measured> {
    let position: HashMap<&str, usize> =
        problem.layers.iter().enumerate().map(|(index, layer)| (layer.name.as_str(), index)).collect();
    let mut measured: HashMap<(usize, usize), Measured> = HashMap::new();
    if usable(&problem.whole) && problem.horizontal.basis.is_none() {
        let entry = measured.entry((0, problem.layers.len())).or_default();
        entry.add(problem.profiled_cpu, &problem.whole);
    }
    for slice in problem.measured.iter().filter(|slice| usable(&slice.whole)) {
        let places: Option<Vec<usize>> =
            slice.layers.iter().map(|name| position.get(name.as_str()).copied()).collect();
        let Some(mut places) = places else { continue };
        places.sort_unstable();
        places.dedup();
        let (Some(&first), Some(&last)) = (places.first(), places.last()) else { continue };
        if last + 1 - first != slice.layers.len() || places.len() != slice.layers.len() {
            continue;
        }
        measured.entry((first, last + 1)).or_default().add_slice(slice);
    }
    measured.retain(|_, found| !found.times.is_empty());
    measured
}

fn usable(whole: &WholeProfile) -> bool {
    whole.run.median_ms.0 > 0.0 && whole.peak_memory_bytes.0 > 0
}

/// Measurements of single layers that are not the problem's: parts of splits, by name.
pub(crate) fn measured_layers(problem: &Problem) -> HashMap<String, Measured> {
    let known: HashSet<&str> = problem.layers.iter().map(|layer| layer.name.as_str()).collect();
    let mut measured: HashMap<String, Measured> = HashMap::new();
    for slice in problem.measured.iter().filter(|slice| usable(&slice.whole)) {
        let [layer] = slice.layers.as_slice() else { continue };
        if !known.contains(layer.as_str()) {
            measured.entry(layer.clone()).or_default().add_slice(slice);
        }
    }
    measured.retain(|_, found| !found.times.is_empty());
    measured
}
