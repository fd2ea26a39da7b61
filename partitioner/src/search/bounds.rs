//! Constraints in the form that the search takes.

use crate::{Costs, Infeasible, Segment, Stretch};
use tranche_schema::{ByteCount, Constraints, Millis};

/// What a plan must keep within.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Fewest slices, at least 1.
    pub(crate) least: usize,
    /// Most slices; `None` where all layer counts are allowed.
    pub(crate) most: Option<usize>,
    /// Largest memory limit.
    pub(crate) memory: Option<ByteCount>,
    /// Longest latency.
    pub(crate) latency: Option<Millis>,
    /// Longest latency of a request that meets no started function.
    pub(crate) cold: Option<Millis>,
    /// Most bytes of weights of a slice.
    pub(crate) weights: Option<ByteCount>,
    /// Most bytes in a call, where nothing else takes what is beyond.
    pub(crate) payload: Option<ByteCount>,
    /// Where the cuts are given: the end of the segment that starts at each layer, if one does.
    pub(crate) fixed: Option<Vec<Option<usize>>>,
}

impl Bounds {
    /// For the layers of `costs`; limits of the prices included.
    ///
    /// # Errors
    /// When the bounds on the number of slices exclude each other, or there are
    /// fewer layers than slices wanted.
    pub(crate) fn new(constraints: &Constraints, costs: &Costs<'_>) -> Result<Self, Infeasible> {
        let layers = costs.problem().layers.len();
        let pricing = &costs.model().pricing;
        let least = constraints.min_slices.unwrap_or(1).max(1);
        let most = [constraints.max_slices, pricing.functions].into_iter().flatten().min();
        if let Some(most) = most
            && most < least
        {
            return Err(Infeasible::SliceBounds { least, most });
        }
        if least as usize > layers {
            return Err(Infeasible::MinSlices { asked: least, possible: layers as u32 });
        }
        let largest = pricing.largest_memory();
        let memory = constraints.max_memory_bytes.unwrap_or(largest).min(largest);
        let smaller = |own: Option<ByteCount>, limit: Option<u64>| match (own, limit.map(ByteCount)) {
            (Some(own), Some(limit)) => Some(own.min(limit)),
            (own, limit) => own.or(limit),
        };
        Ok(Self {
            least: least as usize,
            most: most.map(|most| most as usize).filter(|&most| most < layers),
            memory: (memory.0 < u64::MAX).then_some(memory),
            latency: constraints.latency_ms,
            cold: constraints.cold_latency_ms,
            weights: smaller(constraints.max_weights_bytes, pricing.package_bytes),
            payload: if costs.model().object.is_some() { None } else { pricing.call_bytes.map(ByteCount) },
            fixed: None,
        })
    }

    /// The same without bounds on the number of slices.
    pub(crate) fn any_count(&self) -> Self {
        Self { least: 1, most: None, ..self.clone() }
    }

    /// The same with cuts where these ranges, which follow each other, end.
    pub(crate) fn with_cuts(&self, ends: impl IntoIterator<Item = usize>, layers: usize) -> Self {
        let mut fixed = vec![None; layers];
        let mut start = 0;
        for end in ends {
            if let Some(place) = fixed.get_mut(start) {
                *place = Some(end);
            }
            start = end;
        }
        Self { fixed: Some(fixed), ..self.clone() }
    }

    /// Whether a stretch can be a slice at some size: it keeps within the bounds, and
    /// somebody reads what it computes (an ONNX model without outputs is invalid).
    pub(crate) fn admits(&self, stretch: &Stretch<'_>) -> bool {
        stretch.outputs > 0
            && self.memory.is_none_or(|most| stretch.need <= most)
            && self.weights.is_none_or(|most| stretch.weights <= most)
            && self.payload.is_none_or(|most| stretch.payload <= most)
    }

    /// Whether a size is within the bound on memory.
    pub(crate) fn admits_size(&self, segment: &Segment) -> bool {
        self.memory.is_none_or(|most| segment.memory <= most)
    }

    /// States of the slice count: exact up to the upper bound, or saturating at
    /// the lower bound where there is no upper one.
    pub(crate) fn states(&self) -> usize {
        self.most.unwrap_or(self.least) + 1
    }

    /// The state after `slices` more.
    pub(crate) fn advance(&self, state: usize, slices: usize) -> Option<usize> {
        let last = self.states() - 1;
        match state + slices {
            after if after <= last => Some(after),
            _ => self.most.is_none().then_some(last),
        }
    }
}
