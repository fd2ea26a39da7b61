//! Price files: what a platform charges, as its list says on a day.
//!
//! TOML, one file a platform, region and architecture. Amounts are texts, so that
//! they are read exactly. 1 GiB is what AWS's list calls a GB (1,024 MB).

use crate::{MilliCpu, Usd};
use serde::{Deserialize, Serialize};

/// A price file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceModel {
    /// [`PriceModel::FORMAT`].
    pub format: String,
    /// [`PriceModel::VERSION`].
    pub version: u32,
    /// Short name, as `aws-lambda-x86`.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Day on which the list was read, as `2026-11-25`.
    pub date: String,
    /// Region, in the platform's spelling.
    pub region: String,
    /// Architecture of the functions, in the platform's spelling.
    pub architecture: String,
    /// Where the numbers are from.
    pub sources: Vec<String>,
    /// Running functions.
    pub compute: ComputePrices,
    /// Sizes that functions may have.
    pub memory: MemorySizes,
    /// CPU by memory: points of a curve that is straight between them.
    pub cpu: Vec<CpuPoint>,
    /// Calls of functions.
    pub requests: RequestPrices,
    /// Calls that nobody waits for.
    pub events: EventPrices,
    /// `/tmp`.
    pub ephemeral_storage: EphemeralStoragePrices,
    /// Functions kept started.
    pub provisioned: ProvisionedPrices,
    /// What calls may carry.
    pub payload: PayloadLimits,
    /// What functions may be packed as.
    pub package: PackageLimits,
    /// How long functions may take.
    pub time: TimeLimits,
    /// Objects that carry what no payload takes.
    pub object_store: ObjectStorePrices,
    /// The platform's own walker of requests.
    pub workflow: WorkflowPrices,
    /// What is free every month; off unless asked for, as it is one an account.
    pub free_tier: FreeTier,
    /// Last day on which it may be planned with; none where it holds until it is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// What passing tensors takes there, as far as it is known; the planner's default without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkRates>,
}

/// What passing tensors between functions takes, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkRates {
    /// Each call: the caller waits, the function is not billed.
    pub call_us: u64,
    /// Each mebibyte in a payload, billed to the function that sends or receives it.
    pub payload_us_per_mib: u64,
    /// Each object written or read.
    pub object_us: u64,
    /// Each mebibyte of an object.
    pub object_us_per_mib: u64,
}

impl PriceModel {
    /// Value of `format`.
    pub const FORMAT: &'static str = "tranche-prices";
    /// Value of `version`; readers refuse any other.
    pub const VERSION: u32 = 1;
}

/// What running costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputePrices {
    /// Billed time is a multiple of this, rounded up.
    pub step_ms: u64,
    /// Whether the start of a function, until it takes requests, is billed as run.
    pub start_up_billed: bool,
    /// Prices by memory-time a month.
    pub tiers: Vec<Tier>,
}

/// A price up to an amount a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Memory-time of a month from its start up to which it holds; none in the last tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_gib_seconds: Option<u64>,
    /// The price.
    pub usd_per_gib_second: Usd,
}

/// Which memory sizes there are, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySizes {
    /// The smallest.
    pub minimum_mib: u32,
    /// The largest.
    pub maximum_mib: u32,
    /// From one to the next.
    pub step_mib: u32,
}

/// A point of the curve from memory to CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuPoint {
    /// Memory.
    pub mib: u32,
    /// Thousandths of a CPU at that memory.
    pub milli_cpu: MilliCpu,
}

/// What calls cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestPrices {
    /// A million calls.
    pub usd_per_million: Usd,
}

/// What large asynchronous calls cost more: a request for each further step of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventPrices {
    /// Bytes in the first request.
    pub included_bytes: u64,
    /// Bytes in each further one.
    pub step_bytes: u64,
}

/// What `/tmp` costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EphemeralStoragePrices {
    /// Free of charge.
    pub included_mib: u32,
    /// The largest.
    pub maximum_mib: u32,
    /// Beyond what is included, while the function runs.
    pub usd_per_gib_second: Usd,
}

/// What functions cost that are kept started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisionedPrices {
    /// Kept started, whether they run or not.
    pub usd_per_gib_second: Usd,
    /// Running, instead of the price of compute.
    pub usd_per_gib_second_run: Usd,
    /// Kept time is a multiple of this, rounded up.
    pub step_seconds: u64,
}

/// What calls may carry, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadLimits {
    /// Of a call that is waited for, and of its answer.
    pub call_bytes: u64,
    /// Of a call that is not waited for.
    pub event_bytes: u64,
    /// Of an answer that is streamed.
    pub streamed_bytes: u64,
}

/// What functions may be packed as, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageLimits {
    /// An archive sent with the call that makes the function.
    pub zip_inline_bytes: u64,
    /// An archive and its layers, unpacked.
    pub zip_unpacked_bytes: u64,
    /// A container image.
    pub image_bytes: u64,
}

/// How long functions may take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeLimits {
    /// One call.
    pub call_seconds: u64,
    /// The start, before it is tried again within a call's time.
    pub start_up_seconds: u64,
}

/// What objects cost. Deleting is free of charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectStorePrices {
    /// A million writes or listings.
    pub usd_per_million_writes: Usd,
    /// A million reads, heads among them.
    pub usd_per_million_reads: Usd,
}

/// What the platform's own walker of requests costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowPrices {
    /// Its name.
    pub name: String,
    /// A million requests.
    pub usd_per_million_requests: Usd,
    /// Time is a multiple of this, rounded up.
    pub step_ms: u64,
    /// Memory is a multiple of this, rounded up.
    pub step_mib: u32,
    /// What a state may pass on.
    pub payload_bytes: u64,
    /// Prices by memory-time a month.
    pub tiers: Vec<Tier>,
}

/// What is free every month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeTier {
    /// Calls.
    pub requests: u64,
    /// Memory-time.
    pub gib_seconds: u64,
}
