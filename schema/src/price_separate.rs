//! Price files of platforms that sell memory and CPU apart, or by the node.

use crate::{
    Billing, CostUnit, LinkRates, MemorySizes, MilliCpu, ObjectStorePrices, PriceModel, RequestPrices,
    TimeLimits, Usd,
};
use serde::{Deserialize, Serialize};

/// A price file with `kind = "separate"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeparatePrices {
    /// [`PriceModel::FORMAT`].
    pub format: String,
    /// [`PriceModel::VERSION`].
    pub version: u32,
    /// [`SeparatePrices::KIND`].
    pub kind: String,
    /// Short name, as `openfaas`.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Day on which the list was read, as `2026-11-25`.
    pub date: String,
    /// Last day on which it may be planned with; none where it holds until it is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Region, in the platform's spelling; `any` where there is none.
    pub region: String,
    /// Architecture of the functions, in the platform's spelling; `any` where it does not matter.
    pub architecture: String,
    /// Where the numbers are from.
    pub sources: Vec<String>,
    /// What costs are counted in; `gib-seconds` takes no price of memory or CPU.
    pub unit: CostUnit,
    /// What may be paid for; the first is meant unless another is asked for.
    pub billing: Vec<Billing>,
    /// Running functions.
    pub compute: SeparateCompute,
    /// Memory limits that functions may have.
    pub memory: MemorySizes,
    /// CPU shares that functions may have.
    pub cpu: CpuShares,
    /// Calls of functions.
    pub requests: RequestPrices,
    /// How many functions and replicas there may be.
    pub scale: ScaleLimits,
    /// What calls may carry and functions be packed as; none where nothing bounds it.
    #[serde(default)]
    pub limits: SeparateLimits,
    /// How long functions may take.
    pub time: TimeLimits,
    /// Objects that carry what no payload takes; none where there is no store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStorePrices>,
    /// What passing tensors takes there, as far as it is known; the planner's default without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkRates>,
}

impl SeparatePrices {
    /// Value of `kind`.
    pub const KIND: &'static str = "separate";
}

/// What running costs where memory and CPU have prices of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeparateCompute {
    /// Billed time is a multiple of this, rounded up; 0 bills time as it is.
    pub step_ms: u64,
    /// Whether the start of a function is billed as run.
    pub start_up_billed: bool,
    /// A GiB for a second.
    #[serde(default)]
    pub usd_per_gib_second: Usd,
    /// A CPU for a second.
    #[serde(default)]
    pub usd_per_cpu_second: Usd,
}

/// CPU shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuShares {
    /// Shares to choose among, ascending, in thousandths of a CPU; empty takes the share asked for.
    #[serde(default)]
    pub milli_cpu: Vec<MilliCpu>,
    /// The largest memory that a share may have, in MiB for each whole CPU; none where any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_mib_per_cpu: Option<u32>,
}

/// How many functions and replicas there may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleLimits {
    /// Functions of one plan; none where nothing bounds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<u32>,
    /// Replicas of one function; none where nothing bounds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Share of its time that a replica may be busy before another is needed, 0 to 1.
    pub utilisation: f64,
}

/// Bounds in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeparateLimits {
    /// Of a call, and of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_bytes: Option<u64>,
    /// Of a function's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_bytes: Option<u64>,
}

/// A price file of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Prices {
    /// CPU comes with memory (AWS Lambda).
    WithMemory(Box<PriceModel>),
    /// Memory and CPU are chosen apart.
    Separate(Box<SeparatePrices>),
}

impl Prices {
    /// Short name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::WithMemory(prices) => &prices.name,
            Self::Separate(prices) => &prices.name,
        }
    }

    /// Day on which the list was read.
    #[must_use]
    pub fn date(&self) -> &str {
        match self {
            Self::WithMemory(prices) => &prices.date,
            Self::Separate(prices) => &prices.date,
        }
    }
}
