//! The arithmetic of a price file, on whole numbers.
//!
//! Memory-time is counted in MiB·ms: sizes are whole mebibytes and billed times
//! whole milliseconds, so any number of calls adds up without an error, and an
//! amount is rounded once, to a pico-dollar, when it is priced.

use tranche_schema::{CpuPoint, MilliCpu, Millis, PriceModel, Tier, Usd};

/// MiB·ms in a GiB·s: 1,024 × 1,000.
const PER_GIB_SECOND: u128 = 1_024_000;
const MILLION: u128 = 1_000_000;

/// Memory-time as it is billed: mebibytes of a size times milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MebibyteMillis(pub u128);

impl MebibyteMillis {
    /// `mib` for `milliseconds`, `calls` times.
    #[must_use]
    pub fn of(mib: u32, milliseconds: u64, calls: u64) -> Self {
        Self(u128::from(mib).saturating_mul(u128::from(milliseconds)).saturating_mul(u128::from(calls)))
    }

    /// Whole GiB·s.
    #[must_use]
    pub fn of_gib_seconds(gib_seconds: u64) -> Self {
        Self(u128::from(gib_seconds) * PER_GIB_SECOND)
    }

    /// In GiB·s, for people.
    #[must_use]
    pub fn gib_seconds(self) -> f64 {
        self.0 as f64 / PER_GIB_SECOND as f64
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left after `other`, at least nothing.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// `time` as billed: the next multiple of `step_ms`. Nanoseconds decide: less is
/// an error of the binary fraction.
#[must_use]
pub fn billed(time: Millis, step_ms: u64) -> u64 {
    let nanos = (time.0.max(0.0) * 1e6).round() as u128;
    let step = u128::from(step_ms.max(1));
    let milliseconds = nanos.div_ceil(step * 1_000_000) * step;
    u64::try_from(milliseconds).unwrap_or(u64::MAX)
}

/// The price of memory-time in a month: each tier's part at that tier's price.
#[must_use]
pub fn tiered(tiers: &[Tier], usage: MebibyteMillis) -> Usd {
    let mut from = MebibyteMillis::default();
    let mut total = Usd::ZERO;
    for tier in tiers {
        let upper =
            tier.up_to_gib_seconds.map_or(usage, |bound| MebibyteMillis::of_gib_seconds(bound).min(usage));
        let part = upper.less(from);
        total += tier.usd_per_gib_second.times(part.0, PER_GIB_SECOND);
        from = from.max(upper);
    }
    total
}

/// The price of the next GiB·s after `usage` in a month: what one more call is
/// charged at, and what an optimiser works with.
#[must_use]
pub fn marginal(tiers: &[Tier], usage: MebibyteMillis) -> Usd {
    let holds = |tier: &&Tier| {
        tier.up_to_gib_seconds.is_none_or(|bound| usage < MebibyteMillis::of_gib_seconds(bound))
    };
    tiers.iter().find(holds).or(tiers.last()).map_or(Usd::ZERO, |tier| tier.usd_per_gib_second)
}

/// Memory-time at one price.
#[must_use]
pub fn at(price_per_gib_second: Usd, usage: MebibyteMillis) -> Usd {
    price_per_gib_second.times(usage.0, PER_GIB_SECOND)
}

/// `count` of what costs `per_million` a million.
#[must_use]
pub fn counted(per_million: Usd, count: u64) -> Usd {
    per_million.times(count.into(), MILLION)
}

/// Compute of one month, in the tiers of the price file.
#[must_use]
pub fn compute(prices: &PriceModel, usage: MebibyteMillis) -> Usd {
    tiered(&prices.compute.tiers, usage)
}

/// Ephemeral storage beyond what is included, for `milliseconds` of all calls.
#[must_use]
pub fn ephemeral_storage(prices: &PriceModel, mib: u32, milliseconds: u64, calls: u64) -> Usd {
    let beyond = mib.saturating_sub(prices.ephemeral_storage.included_mib);
    at(prices.ephemeral_storage.usd_per_gib_second, MebibyteMillis::of(beyond, milliseconds, calls))
}

/// Keeping `count` functions of `mib` started for `seconds`.
#[must_use]
pub fn provisioned(prices: &PriceModel, mib: u32, count: u64, seconds: u64) -> Usd {
    let step = prices.provisioned.step_seconds.max(1);
    let kept = seconds.div_ceil(step).saturating_mul(step);
    let usage = MebibyteMillis::of(mib, kept.saturating_mul(1000), count);
    at(prices.provisioned.usd_per_gib_second, usage)
}

/// Running kept functions.
#[must_use]
pub fn provisioned_run(prices: &PriceModel, usage: MebibyteMillis) -> Usd {
    at(prices.provisioned.usd_per_gib_second_run, usage)
}

/// How many requests an asynchronous call of `bytes` counts as.
#[must_use]
pub fn event_requests(prices: &PriceModel, bytes: u64) -> u64 {
    1 + bytes.saturating_sub(prices.events.included_bytes).div_ceil(prices.events.step_bytes.max(1))
}

/// Memory-time of one walk by the platform's workflow.
#[must_use]
pub fn workflow_usage(prices: &PriceModel, mib: u32, time: Millis) -> MebibyteMillis {
    let step = prices.workflow.step_mib.max(1);
    let memory = mib.max(1).div_ceil(step).saturating_mul(step);
    MebibyteMillis::of(memory, billed(time, prices.workflow.step_ms), 1)
}

/// CPU share of a function of `mib`: straight between the file's points, the outer
/// points' beyond them.
#[must_use]
pub fn cpu(prices: &PriceModel, mib: u32) -> MilliCpu {
    cpu_on(&prices.cpu, mib)
}

/// The same, on a curve.
#[must_use]
pub fn cpu_on(points: &[CpuPoint], mib: u32) -> MilliCpu {
    let above = points.partition_point(|point| point.mib < mib);
    match (above.checked_sub(1).and_then(|at| points.get(at)), points.get(above)) {
        (Some(low), Some(high)) => {
            let span = f64::from(high.mib - low.mib);
            let rise = f64::from(high.milli_cpu.0 - low.milli_cpu.0);
            let part = f64::from(mib - low.mib) / span;
            MilliCpu(low.milli_cpu.0 + (rise * part).round() as u32)
        }
        (Some(only), None) | (None, Some(only)) => only.milli_cpu,
        (None, None) => MilliCpu(1000),
    }
}

/// The smallest size that holds `mib`; `None` when there is none so large.
#[must_use]
pub fn size_for(prices: &PriceModel, mib: u64) -> Option<u32> {
    let memory = prices.memory;
    let wanted = u32::try_from(mib).ok()?.max(memory.minimum_mib);
    let steps = (wanted - memory.minimum_mib).div_ceil(memory.step_mib.max(1));
    let size = memory.minimum_mib.checked_add(steps.checked_mul(memory.step_mib)?)?;
    (size <= memory.maximum_mib).then_some(size)
}
