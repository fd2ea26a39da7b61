//! What passing tensors from slice to slice takes: requests and objects, by who
//! walks the request.
//!
//! - **driver**: a caller outside calls each slice and waits; nothing that waits is
//!   billed. Tensors travel in payloads (base64, 4 bytes for 3), the largest of a
//!   payload that is beyond the limit as objects.
//! - **workflow** (Step Functions Express): as the driver, billed by time in its own
//!   steps; every tensor is an object, since a state passes on only 256 KiB.
//! - **continuation**: each slice calls the next and does not wait. Every tensor is
//!   an object, and so are metrics, claims and the answer (docs/formats/lambda.md).
//! - **entry**: the driver is a function itself, and is billed while it waits.

use super::MebibyteMillis;
use super::tariff::{billed, counted, event_requests, tiered, workflow_usage};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tranche_schema::{Millis, PriceModel, Usd};

/// Bytes of a payload beside its tensors: names, shapes, checksums, JSON.
const PAYLOAD_OVERHEAD: u64 = 1024;
/// Bytes of an event that names its tensors: itinerary and keys.
const EVENT_BYTES: u64 = 4096;
/// Memory of a workflow that passes references on: one step of its price.
const WORKFLOW_MIB: u32 = 64;

/// Who walks a request through the slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Orchestration {
    /// A caller outside of the platform.
    Driver,
    /// The platform's workflow.
    Workflow,
    /// The slices themselves.
    Continuation,
    /// A function that waits for the slices.
    Entry {
        /// Its size.
        memory_mib: u32,
    },
}

impl fmt::Display for Orchestration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver => formatter.pad("driver outside"),
            Self::Workflow => formatter.pad("Step Functions Express"),
            Self::Continuation => formatter.pad("continuation"),
            Self::Entry { memory_mib } => formatter.pad(&format!("entry function of {memory_mib} MB")),
        }
    }
}

/// A tensor's name and coded bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedBytes {
    /// Name in the model.
    pub name: String,
    /// Bytes as they travel.
    pub bytes: u64,
}

/// What one slice reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Read.
    pub inputs: Vec<NamedBytes>,
    /// Written for other slices or the caller.
    pub outputs: Vec<NamedBytes>,
}

/// What one request takes beside the slices' own run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Calls that are billed as requests: of slices, of the entry function, and what
    /// large events count more.
    pub requests: u64,
    /// Objects written.
    pub writes: u64,
    /// Objects read, heads among them.
    pub reads: u64,
    /// Requests to the workflow.
    pub workflow_requests: u64,
}

/// What one request takes. A plan of one slice needs nobody to walk it: it is called
/// directly, whatever `orchestration` says.
#[must_use]
pub fn operations(prices: &PriceModel, hops: &[Hop], orchestration: Orchestration) -> Operations {
    let calls = hops.len() as u64;
    if calls < 2 {
        return by_payload(prices, hops);
    }
    match orchestration {
        Orchestration::Driver => by_payload(prices, hops),
        Orchestration::Entry { .. } => {
            let inner = by_payload(prices, hops);
            Operations { requests: inner.requests + 1, ..inner }
        }
        Orchestration::Workflow => {
            let (writes, reads) = all_stored(hops);
            Operations { requests: calls, writes, reads, workflow_requests: 1 }
        }
        Orchestration::Continuation => continued(prices, hops),
    }
}

/// Tensors in payloads; what does not fit, largest first, as objects.
fn by_payload(prices: &PriceModel, hops: &[Hop]) -> Operations {
    let limit = prices.payload.call_bytes;
    let mut stored: BTreeSet<&str> = BTreeSet::new();
    for tensors in hops.iter().flat_map(|hop| [&hop.inputs, &hop.outputs]) {
        let mut inline: Vec<&NamedBytes> =
            tensors.iter().filter(|tensor| !stored.contains(tensor.name.as_str())).collect();
        inline.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        let mut size: u64 = inline.iter().map(|tensor| encoded(tensor.bytes)).sum::<u64>() + PAYLOAD_OVERHEAD;
        for tensor in inline {
            if size <= limit {
                break;
            }
            size -= encoded(tensor.bytes);
            stored.insert(&tensor.name);
        }
    }
    let (writes, reads) = objects(hops, |name| stored.contains(name));
    Operations { requests: hops.len() as u64, writes, reads, workflow_requests: 0 }
}

/// Bytes in base64.
fn encoded(bytes: u64) -> u64 {
    bytes.div_ceil(3) * 4
}

fn all_stored(hops: &[Hop]) -> (u64, u64) {
    objects(hops, |_| true)
}

/// Each stored tensor is written once and read by each slice that reads it, and by
/// the caller when no slice does.
fn objects(hops: &[Hop], is_stored: impl Fn(&str) -> bool) -> (u64, u64) {
    let mut readers: BTreeMap<&str, u64> = BTreeMap::new();
    for hop in hops {
        for tensor in &hop.outputs {
            readers.entry(&tensor.name).or_default();
        }
        for tensor in &hop.inputs {
            *readers.entry(&tensor.name).or_default() += 1;
        }
    }
    let stored = readers.iter().filter(|(name, _)| is_stored(name));
    stored.fold((0, 0), |(writes, reads), (_, readers)| (writes + 1, reads + (*readers).max(1)))
}

/// docs/formats/lambda.md: each slice writes its metrics; each slice that writes an
/// input of another looks whether all of that one's inputs are there and claims it;
/// the last looks for all outputs and writes the answer. The caller reads answer and
/// metrics.
fn continued(prices: &PriceModel, hops: &[Hop]) -> Operations {
    let (mut writes, mut reads) = all_stored(hops);
    let calls = hops.len() as u64;
    writes += calls;
    reads += calls;
    let written_by = |hop: &Hop, name: &str| hop.outputs.iter().any(|output| output.name == name);
    let mut chains = 0;
    for stop in hops {
        let writers =
            hops.iter().filter(|hop| stop.inputs.iter().any(|input| written_by(hop, &input.name))).count()
                as u64;
        reads += writers * stop.inputs.len() as u64;
        writes += writers;
        chains += u64::from(writers > 0);
    }
    let read: BTreeSet<&str> =
        hops.iter().flat_map(|hop| &hop.inputs).map(|input| input.name.as_str()).collect();
    let unread = |hop: &&Hop| hop.outputs.iter().any(|output| !read.contains(output.name.as_str()));
    let outputs: u64 = hops
        .iter()
        .flat_map(|hop| &hop.outputs)
        .filter(|output| !read.contains(output.name.as_str()))
        .count() as u64;
    reads += hops.iter().filter(unread).count() as u64 * outputs + 1;
    writes += 1;
    let more = event_requests(prices, EVENT_BYTES) - 1;
    Operations { requests: calls + more * chains, writes, reads, workflow_requests: 0 }
}

/// Time from the first slice's start to the last one's end: slices that do not wait
/// for each other run at once. `times` are the slices', in the order of `hops`.
#[must_use]
pub fn critical_path(hops: &[Hop], times: &[Millis]) -> Millis {
    let mut ready: BTreeMap<&str, f64> = BTreeMap::new();
    let mut last = 0.0_f64;
    for (hop, time) in hops.iter().zip(times) {
        let start = hop
            .inputs
            .iter()
            .filter_map(|input| ready.get(input.name.as_str()))
            .fold(0.0_f64, |latest, at| latest.max(*at));
        let end = start + time.0;
        for output in &hop.outputs {
            ready.insert(&output.name, end);
        }
        last = last.max(end);
    }
    Millis(last)
}

/// What the workflow charges for walking `requests` requests of `latency` each in a month.
#[must_use]
pub fn workflow_month(prices: &PriceModel, latency: Millis, requests: u64) -> (Usd, MebibyteMillis, Usd) {
    let one = workflow_usage(prices, WORKFLOW_MIB, latency);
    let usage = MebibyteMillis(one.0.saturating_mul(requests.into()));
    let calls = counted(prices.workflow.usd_per_million_requests, requests);
    (calls, usage, tiered(&prices.workflow.tiers, usage))
}

/// Memory-time for which an entry function waits.
#[must_use]
pub fn waiting(prices: &PriceModel, memory_mib: u32, latency: Millis, requests: u64) -> MebibyteMillis {
    MebibyteMillis::of(memory_mib, billed(latency, prices.compute.step_ms), requests)
}
