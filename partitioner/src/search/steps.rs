//! The steps a plan is made of: adjacent layers in one function of one size, or
//! independent branches in functions of their own that run at once.

use super::bounds::Bounds;
use super::branches::Branches;
use crate::horizontal::{Candidate, Splits};
use crate::{Costs, Segment, Stretch};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::LazyLock;

/// Largest number of layers whose steps are all kept; beyond it they are priced anew in
/// each pass.
const KEPT_LAYERS: usize = 1500;

/// A step from one position of the order to a later one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// The layer after its last.
    pub(crate) end: u32,
    /// Functions that it takes.
    pub(crate) slices: u16,
    /// Which of the ways from here to there it is.
    pub(crate) way: u16,
    /// What one request is charged.
    pub(crate) cost: f64,
    /// What it adds to a warm request.
    pub(crate) latency: f64,
    /// When its functions are started, from the arrival of a request.
    pub(crate) ready: f64,
    /// What it adds to a request that met no started function, once they are started.
    pub(crate) cold: f64,
}

impl Step {
    pub(crate) fn of(segment: &Segment, way: u16) -> Self {
        Self {
            end: segment.layers.end as u32,
            slices: 1,
            way,
            cost: segment.cost,
            latency: segment.latency.0,
            ready: segment.start_up.0,
            cold: segment.latency.0 + segment.first_run_excess.0,
        }
    }

    /// Functions that run at once: costs add up, the slowest tells when all are done.
    pub(crate) fn together(end: usize, segments: &[Segment], way: u16) -> Self {
        let slices = segments.len() as u16;
        let none = Self { end: end as u32, slices, way, cost: 0.0, latency: 0.0, ready: 0.0, cold: 0.0 };
        segments.iter().fold(none, |step, segment| {
            let one = Self::of(segment, way);
            Self {
                cost: step.cost + one.cost,
                latency: step.latency.max(one.latency),
                // Done at max over functions of max(before, ready) + cold, which this does not understate.
                ready: step.ready.max(one.ready),
                cold: step.cold.max(one.cold),
                ..step
            }
        })
    }

    /// When a cold request is done here that was done before at `finish`.
    pub(crate) fn cold_finish(&self, finish: f64) -> f64 {
        finish.max(self.ready) + self.cold
    }

    /// Whether no plan is worse for taking this instead of `other` on the same way.
    fn beats(&self, other: &Self) -> bool {
        self.slices <= other.slices
            && self.cost <= other.cost
            && self.latency <= other.latency
            && self.ready <= other.ready
            && self.cold <= other.cold
    }
}

/// All admitted steps of an order.
pub(crate) struct Steps<'a> {
    pub(crate) costs: &'a Costs<'a>,
    pub(crate) bounds: &'a Bounds,
    branches: &'a Branches,
    splits: &'a Splits<'a>,
    kept: Option<Vec<Vec<Step>>>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(costs: &'a Costs<'a>, bounds: &'a Bounds, branches: &'a Branches) -> Self {
        static NONE: LazyLock<Splits<'static>> = LazyLock::new(Splits::default);
        Self::with_splits(costs, bounds, branches, &NONE)
    }

    pub(crate) fn with_splits(
        costs: &'a Costs<'a>,
        bounds: &'a Bounds,
        branches: &'a Branches,
        splits: &'a Splits<'a>,
    ) -> Self {
        let mut steps = Self { costs, bounds, branches, splits, kept: None };
        let count = steps.count();
        if count <= KEPT_LAYERS || bounds.fixed.is_some() {
            let mut buffer = Vec::new();
            let rows = (0..count).map(|first| {
                steps.price_row(first, &mut buffer);
                buffer.clone()
            });
            steps.kept = Some(rows.collect());
        }
        steps
    }

    /// Number of layers.
    pub(crate) fn count(&self) -> usize {
        self.costs.problem().layers.len()
    }

    /// The steps from layer `first`, by rising end; `buffer` may be used to hold them.
    pub(crate) fn from<'b>(&'b self, first: usize, buffer: &'b mut Vec<Step>) -> &'b [Step] {
        match &self.kept {
            Some(rows) => &rows[first],
            None => {
                self.price_row(first, buffer);
                buffer
            }
        }
    }

    fn price_row(&self, first: usize, row: &mut Vec<Step>) {
        row.clear();
        let mut offers = Vec::new();
        if let Some(fixed) = &self.bounds.fixed {
            let stretch = fixed[first].and_then(|end| self.costs.stretch(first..end));
            if let Some(stretch) = stretch.filter(|stretch| self.bounds.admits(stretch)) {
                self.costs.offers(&stretch, &mut offers);
                self.take(&offers, row);
            }
            return;
        }
        for stretch in self.costs.row(first).filter(|stretch| self.bounds.admits(stretch)) {
            self.costs.offers(&stretch, &mut offers);
            self.take(&offers, row);
            row.extend(self.branches.steps(&stretch.layers));
            row.extend(self.splits.steps(&stretch.layers));
        }
    }

    /// Those of the offers that are not beaten by another.
    fn take(&self, offers: &[Segment], row: &mut Vec<Step>) {
        let from = row.len();
        for (way, segment) in
            offers.iter().enumerate().filter(|(_, segment)| self.bounds.admits_size(segment))
        {
            let step = Step::of(segment, way as u16);
            if row[from..].iter().any(|other| other.beats(&step)) {
                continue;
            }
            let mut kept = from;
            for place in from..row.len() {
                if !step.beats(&row[place]) {
                    row.swap(kept, place);
                    kept += 1;
                }
            }
            row.truncate(kept);
            row.push(step);
        }
    }

    /// What a step runs in which functions.
    pub(crate) fn taken(&self, first: usize, step: &Step) -> Taken {
        let layers = first..step.end as usize;
        if let Some((candidate, parts)) = self.splits.taken(&layers, step.way) {
            return Taken::Split { candidate: candidate.clone(), parts };
        }
        if let Some(branches) = self.branches.parts(&layers, step.way) {
            return Taken::Branches { layers, parts: branches };
        }
        let mut offers = Vec::new();
        if let Some(stretch) = self.costs.stretch(layers) {
            self.costs.offers(&stretch, &mut offers);
        }
        Taken::Slice(offers.swap_remove(step.way as usize))
    }
}

/// The sizes at which a stretch may be a function; none where there is no such size.
pub(crate) fn admitted(costs: &Costs<'_>, bounds: &Bounds, stretch: &Stretch<'_>) -> Option<Vec<Segment>> {
    if !bounds.admits(stretch) {
        return None;
    }
    let mut offers = Vec::new();
    costs.offers(stretch, &mut offers);
    offers.retain(|segment| bounds.admits_size(segment));
    (!offers.is_empty()).then_some(offers)
}

/// Of functions that run at once, with the sizes that each may have: all at their fastest, and all at
/// their cheapest where that is something else.
pub(crate) fn fastest_and_cheapest(offers: &[Vec<Segment>]) -> Vec<Vec<Segment>> {
    let pick = |better: fn(&Segment, &Segment) -> Ordering| -> Vec<Segment> {
        offers.iter().filter_map(|offers| offers.iter().min_by(|a, b| better(a, b)).cloned()).collect()
    };
    let cheapest = pick(|a, b| a.cost.total_cmp(&b.cost).then(a.latency.0.total_cmp(&b.latency.0)));
    let mut ways = vec![pick(|a, b| a.latency.0.total_cmp(&b.latency.0).then(a.cost.total_cmp(&b.cost)))];
    if ways.first() != Some(&cheapest) {
        ways.push(cheapest);
    }
    ways
}

/// What a step of a path is, for making the plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Taken {
    /// One function.
    Slice(Segment),
    /// Functions that run at once, each with these layers of the order.
    Branches {
        /// All layers.
        layers: Range<usize>,
        /// Those of each function, with its price.
        parts: Vec<(Vec<usize>, Segment)>,
    },
    /// Layers as parts that run at once.
    Split {
        /// The layers and the way.
        candidate: Candidate,
        /// Each part with its price.
        parts: Vec<Segment>,
    },
}

impl Taken {
    /// The priced functions.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        let (alone, branches): (&[Segment], &[(Vec<usize>, Segment)]) = match self {
            Self::Slice(segment) => (std::slice::from_ref(segment), &[]),
            Self::Branches { parts, .. } => (&[], parts),
            Self::Split { parts, .. } => (parts, &[]),
        };
        alone.iter().chain(branches.iter().map(|(_, segment)| segment))
    }
}

/// Totals of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) cost: f64,
    pub(crate) latency: f64,
    pub(crate) cold: f64,
    pub(crate) slices: usize,
}

/// Steps from the first layer to the last.
pub(crate) type Path = Vec<(usize, Step)>;

/// What the steps of a path add up to, from its first on.
pub(crate) fn totals(path: &[(usize, Step)]) -> Totals {
    let mut totals = Totals::default();
    for (_, step) in path {
        totals.cost += step.cost;
        totals.latency += step.latency;
        totals.cold = step.cold_finish(totals.cold);
        totals.slices += usize::from(step.slices);
    }
    totals
}
