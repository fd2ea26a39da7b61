//! What `tranche compare` finds: one model planned by several strategies.

use crate::{ByteCount, CostUnit, Digest, Document, Header, Millis, ModelIdentity, Plan};
use serde::{Deserialize, Serialize};

/// A plan in the numbers that plans are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanFigures {
    /// Number of functions.
    pub slices: u32,
    /// What `cost` is counted in.
    pub unit: CostUnit,
    /// What one request costs; memory-time where there are no prices.
    pub cost: f64,
    /// Over that of the whole model in one function at its best size.
    pub cost_over_unsplit: Option<f64>,
    /// Over what no vertical plan can go below.
    pub cost_over_lower_bound: Option<f64>,
    /// Latency of one warm request.
    pub latency_ms: Millis,
    /// Latency of a request that meets no started function; 0 where it is not known.
    pub cold_latency_ms: Millis,
    /// Latency that all but a hundredth of requests keep; 0 where it is not known.
    pub p99_ms: Millis,
    /// Largest memory limit among the functions.
    pub largest_memory_bytes: ByteCount,
}

/// Why a strategy has no plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// One strategy at the prices of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedStrategy {
    /// The strategy, as `uniform=3`.
    pub strategy: String,
    /// Name of the price file; empty without prices.
    pub prices: String,
    /// The plan in numbers; none where there is no plan.
    pub figures: Option<PlanFigures>,
    /// Why there is no plan.
    pub refusal: Option<Refusal>,
    /// The plan.
    pub plan: Option<Plan>,
}

/// What `tranche compare --json` prints, and `tranche report --compare` reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Format and version.
    pub header: Header,
    /// The model.
    pub model: ModelIdentity,
    /// Digest of the profile's JSON.
    pub profile_digest: Digest,
    /// The engine that was measured.
    pub engine: String,
    /// Strategies, file by file of prices.
    pub strategies: Vec<ComparedStrategy>,
}

impl Document for Comparison {
    const FORMAT: &'static str = "tranche-comparison";
    const VERSION: u32 = 1;
}
