//! A month: what functions and hand-off cost at a number of requests.

use super::MebibyteMillis;
use super::handoff::{self, Hop, Orchestration};
use super::tariff::{billed, compute, counted, ephemeral_storage};
use serde::Serialize;
use tranche_schema::{Millis, PriceModel, Usd};

/// Seconds in a month of 730 hours, as AWS's calculator counts.
pub const SECONDS_A_MONTH: f64 = 2_628_000.0;

/// What is asked of the model in a month.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// Requests.
    pub requests_per_month: u64,
    /// Share of the calls of each function that start it first, 0 to 1.
    pub cold_fraction: f64,
    /// Whether the account's free tier is left for it.
    pub free_tier: bool,
}

impl Workload {
    /// Calls of a function that start it first, in a month.
    #[must_use]
    pub fn cold_calls(&self) -> u64 {
        (self.requests_per_month as f64 * self.cold_fraction.clamp(0.0, 1.0)).round() as u64
    }
}

/// One function as it runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionUse {
    /// The slice.
    pub name: String,
    /// Its size.
    pub memory_mib: u32,
    /// Its `/tmp`.
    pub ephemeral_mib: u32,
    /// One call, warm.
    pub time_ms: Millis,
    /// From its start until it takes requests; none where it is not known.
    pub start_up_ms: Option<Millis>,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineKind {
    /// Running functions.
    Compute,
    /// Starting them.
    StartUp,
    /// An entry function that waits for the slices: time that is billed twice.
    Waiting,
    /// Calls.
    Requests,
    /// `/tmp`.
    EphemeralStorage,
    /// Objects written.
    ObjectWrites,
    /// Objects read.
    ObjectReads,
    /// Requests to the workflow.
    WorkflowRequests,
    /// The workflow's memory-time.
    WorkflowTime,
}

impl LineKind {
    /// In words, with the unit of its quantity.
    #[must_use]
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Compute => ("compute", "GB-s"),
            Self::StartUp => ("start-up", "GB-s"),
            Self::Waiting => ("entry function waiting (billed twice)", "GB-s"),
            Self::Requests => ("requests", "calls"),
            Self::EphemeralStorage => ("ephemeral storage", "GB-s"),
            Self::ObjectWrites => ("S3 writes", "objects"),
            Self::ObjectReads => ("S3 reads", "objects"),
            Self::WorkflowRequests => ("workflow requests", "requests"),
            Self::WorkflowTime => ("workflow duration", "GB-s"),
        }
    }
}

/// A line of a month's bill.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Line {
    /// What for.
    pub kind: LineKind,
    /// How much of it.
    pub quantity: f64,
    /// What it costs.
    pub usd: Usd,
}

/// A month's bill.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Month {
    /// Lines that are not nothing.
    pub lines: Vec<Line>,
    /// Their sum.
    pub total_usd: Usd,
}

impl Month {
    /// What one kind costs.
    #[must_use]
    pub fn of(&self, kind: LineKind) -> Usd {
        self.lines.iter().filter(|line| line.kind == kind).map(|line| line.usd).sum()
    }

    fn add(&mut self, kind: LineKind, quantity: f64, usd: Usd) {
        if quantity > 0.0 {
            self.lines.push(Line { kind, quantity, usd });
            self.total_usd += usd;
        }
    }
}

/// What functions cost that run one after the other or at once, each once a request.
///
/// Compute, start-up and waiting share the tiers of the price file (and the free tier)
/// in that order: running first. A call that starts its function is billed for both
/// together, rounded up once.
#[must_use]
pub fn month(
    prices: &PriceModel,
    functions: &[FunctionUse],
    hops: &[Hop],
    orchestration: Orchestration,
    workload: &Workload,
) -> Month {
    let requests = workload.requests_per_month;
    let step = prices.compute.step_ms;
    let mut run = MebibyteMillis::default();
    let mut start_up = MebibyteMillis::default();
    let mut storage = (MebibyteMillis::default(), Usd::ZERO);
    for function in functions {
        let warm = billed(function.time_ms, step);
        let cold = match function.start_up_ms.filter(|_| prices.compute.start_up_billed) {
            Some(start_up) => billed(function.time_ms + start_up, step),
            None => warm,
        };
        let started = cold.saturating_sub(warm);
        run = run.plus(MebibyteMillis::of(function.memory_mib, warm, requests));
        start_up = start_up.plus(MebibyteMillis::of(function.memory_mib, started, workload.cold_calls()));
        let beyond = function.ephemeral_mib.saturating_sub(prices.ephemeral_storage.included_mib);
        for (milliseconds, calls) in [(warm, requests), (started, workload.cold_calls())] {
            storage.0 = storage.0.plus(MebibyteMillis::of(beyond, milliseconds, calls));
            storage.1 += ephemeral_storage(prices, function.ephemeral_mib, milliseconds, calls);
        }
    }
    let times: Vec<Millis> = functions.iter().map(|function| function.time_ms).collect();
    let latency = handoff::critical_path(hops, &times);
    let walked = functions.len() > 1;
    let waiting = match orchestration {
        Orchestration::Entry { memory_mib } if walked => {
            handoff::waiting(prices, memory_mib, latency, requests)
        }
        _ => MebibyteMillis::default(),
    };
    let free = if workload.free_tier { prices.free_tier.gib_seconds } else { 0 };
    let mut month = Month::default();
    let mut before = MebibyteMillis::default();
    for (kind, usage) in
        [(LineKind::Compute, run), (LineKind::StartUp, start_up), (LineKind::Waiting, waiting)]
    {
        let after = before.plus(usage);
        let free = MebibyteMillis::of_gib_seconds(free);
        let usd = compute(prices, after.less(free)) - compute(prices, before.less(free));
        month.add(kind, usage.gib_seconds(), usd);
        before = after;
    }
    let each = handoff::operations(prices, hops, orchestration);
    let times = |count: u64| count.saturating_mul(requests);
    let free_calls = if workload.free_tier { prices.free_tier.requests } else { 0 };
    let calls = times(each.requests);
    let paid = calls.saturating_sub(free_calls);
    month.add(LineKind::Requests, calls as f64, counted(prices.requests.usd_per_million, paid));
    month.add(LineKind::EphemeralStorage, storage.0.gib_seconds(), storage.1);
    let store = prices.object_store;
    for (kind, count, price) in [
        (LineKind::ObjectWrites, each.writes, store.usd_per_million_writes),
        (LineKind::ObjectReads, each.reads, store.usd_per_million_reads),
    ] {
        month.add(kind, times(count) as f64, counted(price, times(count)));
    }
    if each.workflow_requests > 0 {
        let (calls, usage, time) = handoff::workflow_month(prices, latency, requests);
        month.add(LineKind::WorkflowRequests, requests as f64, calls);
        month.add(LineKind::WorkflowTime, usage.gib_seconds(), time);
    }
    month
}
