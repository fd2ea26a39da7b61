//! The sliced model against the whole one, at every size: the curve of AWS Lambda
//! Power Tuning, cost and time, for both.

use super::curve::{Basis, Sample, TimeCurve};
use super::handoff::{Hop, Orchestration, critical_path};
use super::month::{FunctionUse, Month, Workload, month};
use super::tariff::{cpu, size_for};
use super::verdict::{Verdict, verdict};
use serde::Serialize;
use tranche_schema::{ByteCount, MilliCpu, Millis, PriceModel, Usd};

/// A faster size is taken when it costs at most this much more than the cheapest.
const TIE: f64 = 0.01;

/// What is known of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The slice; `whole` for the unsplit model.
    pub name: String,
    /// Memory that it needs: smaller sizes run out of it.
    pub memory: ByteCount,
    /// Times of a call, measured at CPU shares.
    pub samples: Vec<Sample>,
    /// Its start at one CPU; none where it was not measured.
    pub start_up: Option<Millis>,
    /// What it reads and writes.
    pub hop: Hop,
}

/// A size, what it takes and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The size.
    pub memory_mib: u32,
    /// CPU share that comes with it.
    pub cpu_milli: MilliCpu,
    /// Where the time is from.
    pub basis: Basis,
    /// Whether what it needs fits; a size that is too small is not priced.
    pub fits: bool,
    /// One warm call, or one warm request through all slices.
    pub time_ms: Millis,
    /// Of that, starting up, when it must.
    pub start_up_ms: Option<Millis>,
    /// The month.
    pub month: Month,
    /// A million requests at the month's rates.
    pub per_million_usd: Usd,
}

/// Points by size, and the best of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// `whole`, `slices`, or a slice's name.
    pub name: String,
    /// Memory that it needs (of slices: the largest).
    pub needs_mib: u64,
    /// By size.
    pub points: Vec<Point>,
    /// Place of the best: the fastest that costs at most 1 % more than the cheapest.
    pub best: Option<usize>,
}

impl Curve {
    /// The best point.
    #[must_use]
    pub fn best(&self) -> Option<&Point> {
        self.best.and_then(|at| self.points.get(at))
    }
}

/// The slices, each at a size of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlicedPoint {
    /// Sizes in the plan's order.
    pub sizes: Vec<FunctionUse>,
    /// One warm request.
    pub time_ms: Millis,
    /// The least certain of the slices' times.
    pub basis: Basis,
    /// The month.
    pub month: Month,
    /// A million requests.
    pub per_million_usd: Usd,
}

/// The slices walked in some way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Walked {
    /// By whom.
    pub orchestration: Orchestration,
    /// The month, each slice at its own best size.
    pub month: Month,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The whole model in one function; none where only slices are known.
    pub unsplit: Option<Curve>,
    /// All slices at one size.
    pub one_size: Curve,
    /// Each slice alone.
    pub slices: Vec<Curve>,
    /// Each slice at its own best size.
    pub own_sizes: Option<SlicedPoint>,
    /// The same, under each way to walk.
    pub walks: Vec<Walked>,
    /// What comes of it.
    pub verdict: Verdict,
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The prices.
    pub prices: &'a PriceModel,
    /// The month.
    pub workload: Workload,
    /// Who walks the slices.
    pub orchestration: Orchestration,
    /// Size of an entry function, where its cost is shown beside.
    pub entry_mib: u32,
    /// Sizes to look at, in MiB; those that functions need are added.
    pub sizes: Vec<u32>,
}

/// Compares. Functions without a usable sample are an error of the caller: they get no points.
#[must_use]
pub fn compare(question: &Question<'_>, whole: Option<&Facts>, slices: &[Facts]) -> Comparison {
    let functions: Vec<Fitted<'_>> = slices.iter().filter_map(Fitted::new).collect();
    let whole = whole.and_then(Fitted::new);
    let sizes = candidates(question, &functions, whole.as_ref());
    let direct = Question { orchestration: Orchestration::Driver, ..question.clone() };
    let unsplit = whole.as_ref().map(|whole| curve(&direct, "whole", std::slice::from_ref(whole), &sizes));
    let alone: Vec<Curve> = functions
        .iter()
        .map(|function| curve(&direct, &function.facts.name, std::slice::from_ref(function), &sizes))
        .collect();
    let one_size = curve(question, "slices", &functions, &sizes);
    let own_sizes = own_sizes(question, &functions, &alone);
    let walks = own_sizes.as_ref().map_or_else(Vec::new, |own| walks(question, &functions, own));
    let verdict = verdict(question, unsplit.as_ref(), &one_size, own_sizes.as_ref(), whole.is_some());
    Comparison { unsplit, one_size, slices: alone, own_sizes, walks, verdict }
}

/// Facts with their fit.
struct Fitted<'a> {
    facts: &'a Facts,
    times: TimeCurve,
}

impl<'a> Fitted<'a> {
    fn new(facts: &'a Facts) -> Option<Self> {
        Some(Self { facts, times: TimeCurve::fit(&facts.samples)? })
    }

    fn at(&self, prices: &PriceModel, memory_mib: u32) -> (FunctionUse, Basis) {
        let share = cpu(prices, memory_mib);
        let (time_ms, basis) = self.times.at(share);
        let slower = (1000.0 / f64::from(share.0.max(1))).max(1.0);
        let start_up_ms = self.facts.start_up.map(|start_up| Millis(start_up.0 * slower));
        let name = self.facts.name.clone();
        (FunctionUse { name, memory_mib, ephemeral_mib: 0, time_ms, start_up_ms }, basis)
    }
}

fn needs(functions: &[Fitted<'_>]) -> u64 {
    functions.iter().map(|function| function.facts.memory.as_mebibytes_ceil()).max().unwrap_or(0)
}

/// The sizes asked for and, for each function, the smallest that holds it; in order.
fn candidates(question: &Question<'_>, functions: &[Fitted<'_>], whole: Option<&Fitted<'_>>) -> Vec<u32> {
    let memory = question.prices.memory;
    let least = functions
        .iter()
        .chain(whole)
        .filter_map(|function| size_for(question.prices, function.facts.memory.as_mebibytes_ceil()));
    let mut sizes: Vec<u32> = question
        .sizes
        .iter()
        .copied()
        .filter(|size| (memory.minimum_mib..=memory.maximum_mib).contains(size))
        .chain(least)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn curve(question: &Question<'_>, name: &str, functions: &[Fitted<'_>], sizes: &[u32]) -> Curve {
    let needs_mib = needs(functions);
    let points: Vec<Point> = sizes
        .iter()
        .filter(|_| !functions.is_empty())
        .map(|&size| point(question, functions, size, u64::from(size) >= needs_mib))
        .collect();
    let best = best(&points);
    Curve { name: name.to_owned(), needs_mib, points, best }
}

fn point(question: &Question<'_>, functions: &[Fitted<'_>], size: u32, fits: bool) -> Point {
    let prices = question.prices;
    let used: Vec<(FunctionUse, Basis)> =
        functions.iter().map(|function| function.at(prices, size)).collect();
    let basis = used.iter().map(|(_, basis)| *basis).max().unwrap_or(Basis::Extrapolated);
    let used: Vec<FunctionUse> = used.into_iter().map(|(used, _)| used).collect();
    let hops: Vec<Hop> = functions.iter().map(|function| function.facts.hop.clone()).collect();
    let month = if fits {
        month(prices, &used, &hops, question.orchestration, &question.workload)
    } else {
        Month::default()
    };
    Point {
        memory_mib: size,
        cpu_milli: cpu(prices, size),
        basis,
        fits,
        time_ms: path(&hops, &used),
        // Slices start at once: the slowest counts.
        start_up_ms: used.iter().filter_map(|used| used.start_up_ms).reduce(|a, b| if a < b { b } else { a }),
        per_million_usd: per_million(&month, &question.workload),
        month,
    }
}

fn path(hops: &[Hop], used: &[FunctionUse]) -> Millis {
    let times: Vec<Millis> = used.iter().map(|used| used.time_ms).collect();
    critical_path(hops, &times)
}

fn per_million(month: &Month, workload: &Workload) -> Usd {
    month.total_usd.times(1_000_000, workload.requests_per_month.max(1).into())
}

/// The fastest of those that cost at most 1 % more than the cheapest; of equally
/// fast ones the cheapest, then the smallest.
fn best(points: &[Point]) -> Option<usize> {
    let fitting = || points.iter().enumerate().filter(|(_, point)| point.fits);
    let least = fitting().map(|(_, point)| point.month.total_usd).min()?;
    let bound = least.dollars() * (1.0 + TIE);
    fitting()
        .filter(|(_, point)| point.month.total_usd == least || point.month.total_usd.dollars() <= bound)
        .min_by(|(_, a), (_, b)| {
            a.time_ms
                .0
                .total_cmp(&b.time_ms.0)
                .then(a.month.total_usd.cmp(&b.month.total_usd))
                .then(a.memory_mib.cmp(&b.memory_mib))
        })
        .map(|(at, _)| at)
}

/// Each slice at the best size of its own curve: sizes do not depend on each other,
/// as far as nothing waits for the slices that is billed.
fn own_sizes(question: &Question<'_>, functions: &[Fitted<'_>], alone: &[Curve]) -> Option<SlicedPoint> {
    let prices = question.prices;
    let chosen = functions
        .iter()
        .zip(alone)
        .map(|(function, curve)| Some(function.at(prices, curve.best()?.memory_mib)))
        .collect::<Option<Vec<_>>>()?;
    let basis = chosen.iter().map(|(_, basis)| *basis).max()?;
    let sizes: Vec<FunctionUse> = chosen.into_iter().map(|(used, _)| used).collect();
    let hops: Vec<Hop> = functions.iter().map(|function| function.facts.hop.clone()).collect();
    let month = month(prices, &sizes, &hops, question.orchestration, &question.workload);
    let per_million_usd = per_million(&month, &question.workload);
    Some(SlicedPoint { time_ms: path(&hops, &sizes), sizes, basis, month, per_million_usd })
}

fn walks(question: &Question<'_>, functions: &[Fitted<'_>], own: &SlicedPoint) -> Vec<Walked> {
    let hops: Vec<Hop> = functions.iter().map(|function| function.facts.hop.clone()).collect();
    [
        Orchestration::Driver,
        Orchestration::Workflow,
        Orchestration::Continuation,
        Orchestration::Entry { memory_mib: question.entry_mib },
    ]
    .into_iter()
    .map(|orchestration| Walked {
        orchestration,
        month: month(question.prices, &own.sizes, &hops, orchestration, &question.workload),
    })
    .collect()
}
