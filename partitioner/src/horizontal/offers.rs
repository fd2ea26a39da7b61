//! Candidates priced as functions, for the search.

use super::candidates::Candidate;
use crate::search::{Bounds, Step, admitted, fastest_and_cheapest};
use crate::{Costs, Segment};
use std::collections::HashMap;
use std::ops::Range;

/// Ways of a range from here on are splits.
pub(crate) const FIRST_WAY: u16 = 2000;

/// A candidate at chosen sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Priced {
    /// Which candidate.
    pub(crate) candidate: usize,
    /// Each part.
    pub(crate) segments: Vec<Segment>,
}

/// Ways to run ranges of the graph's order as parts.
#[derive(Default)]
pub(crate) struct Splits<'a> {
    candidates: &'a [Candidate],
    ways: HashMap<(usize, usize), Vec<Priced>>,
    /// What the driver takes for a call: it calls parts one after the other.
    driver: f64,
}

impl<'a> Splits<'a> {
    /// Those candidates whose parts all fit into functions, each once at the cheapest sizes and once at
    /// the fastest.
    pub(crate) fn price(costs: &Costs<'_>, bounds: &Bounds, candidates: &'a [Candidate]) -> Self {
        let mut ways: HashMap<(usize, usize), Vec<Priced>> = HashMap::new();
        if bounds.fixed.is_some() {
            return Self::default();
        }
        for (index, candidate) in candidates.iter().enumerate() {
            let Some(offers) = offers(costs, bounds, candidate) else { continue };
            let here = ways.entry((candidate.layers.start, candidate.layers.end)).or_default();
            let sized = fastest_and_cheapest(&offers).into_iter();
            here.extend(sized.map(|segments| Priced { candidate: index, segments }));
        }
        Self { candidates, ways, driver: costs.model().driver.0 }
    }

    /// The steps over exactly this range.
    pub(crate) fn steps(&self, range: &Range<usize>) -> impl Iterator<Item = Step> {
        let ways = self.ways.get(&(range.start, range.end)).map_or(&[][..], Vec::as_slice);
        ways.iter().enumerate().map(|(index, way)| {
            let calls = self.driver * way.segments.len().saturating_sub(1) as f64;
            let step = Step::together(range.end, &way.segments, FIRST_WAY + index as u16);
            Step { latency: step.latency + calls, cold: step.cold + calls, ..step }
        })
    }

    /// The candidate and its parts of a way, where it is one of splits.
    pub(crate) fn taken(&self, range: &Range<usize>, way: u16) -> Option<(&'a Candidate, Vec<Segment>)> {
        let index = usize::from(way.checked_sub(FIRST_WAY)?);
        let priced = self.ways.get(&(range.start, range.end))?.get(index)?;
        Some((self.candidates.get(priced.candidate)?, priced.segments.clone()))
    }
}

/// Admitted sizes of each part; none where a part has none.
fn offers(costs: &Costs<'_>, bounds: &Bounds, candidate: &Candidate) -> Option<Vec<Vec<Segment>>> {
    let parts = candidate.parts.iter();
    parts.map(|part| admitted(costs, bounds, &costs.part(&candidate.layers, part))).collect()
}
