//! What a function is charged, as the search needs it: a size and a billed time in, an
//! amount out.
//!
//! In one unit throughout: GiB·s where no price is put on memory-time, else US dollars.
//!
//! - **Per request** ([`Billing::PerRequest`]): `billed · (memory · price of memory + CPU ·
//!   price of CPU) + fee of the request`, billed time rounded up to the list's step. A
//!   start is billed by the share of requests that meet one, where the list bills starts.
//! - **Always on** ([`Billing::AlwaysOn`]): replicas are paid whether requests come or
//!   not. At `rate` requests a second a function of billed time `t` has
//!   `max(1, ⌈rate · t / utilisation⌉)` replicas; one request is charged
//!   `replicas · (memory · price + CPU · price) / rate`.

use crate::price::PriceError;
use crate::price::tariff::MebibyteMillis;
use crate::price::tariff::{cpu, marginal};
use tranche_schema::{
    Billing, ByteCount, CostUnit, CpuPoint, LinkRates, MilliCpu, Millis, PlanPricing, PlanWorkload,
    PriceModel, Prices, SeparatePrices,
};

/// A size is taken for its speed when it costs at most this much more than the cheapest,
/// as prices and times are not known better.
pub const TIE_OF_PRICES: f64 = 0.01;

/// Bytes of a payload that are not tensors: names, shapes, the request's identity.
const PAYLOAD_OVERHEAD: u64 = 4096;

/// Requests a second that always-on functions are planned for where no rate is given.
pub const DEFAULT_RATE: f64 = 1.0;

/// Charges and sizes of a platform; see the module's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Pricing {
    /// As the plan names it.
    pub identity: PlanPricing,
    /// Most functions of one plan.
    pub functions: Option<u32>,
    /// Most raw tensor bytes of one call or answer.
    pub call_bytes: Option<u64>,
    /// Charge of an object written, and of one read; none where there is no store.
    pub object: Option<(f64, f64)>,
    /// Most bytes of a function's package.
    pub package_bytes: Option<u64>,
    /// Longest billed time of a call.
    pub longest_call: Option<Millis>,
    /// Longest start.
    pub longest_start: Option<Millis>,
    /// Whether functions share a host, and so can map the same files.
    pub one_host: bool,
    /// What passing tensors takes there.
    pub link: Option<LinkRates>,
    /// Relative difference of charges below which the faster plan is taken.
    pub tie: f64,
    sizes: Sizes,
    gib_millisecond: f64,
    cpu_millisecond: f64,
    request: f64,
    step_ms: u64,
    start_up_billed: bool,
    replicas: Option<Replicas>,
}

#[derive(Clone, Debug, PartialEq)]
struct Replicas {
    rate: f64,
    utilisation: f64,
    most: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Sizes {
    /// Each share with any memory on a grid.
    Apart { grid: Grid, shares: Vec<MilliCpu>, most_mib_per_cpu: Option<u32> },
    /// CPU by memory; `steps` are the least memories of whole CPUs and the largest memory.
    WithMemory { grid: Grid, curve: Vec<CpuPoint>, steps: Vec<(ByteCount, MilliCpu)> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Grid {
    minimum: ByteCount,
    maximum: ByteCount,
    step: ByteCount,
}

impl Grid {
    fn of(sizes: tranche_schema::MemorySizes) -> Self {
        let mebibytes = |count: u32| ByteCount::mebibytes(count.into());
        Self {
            minimum: mebibytes(sizes.minimum_mib),
            maximum: mebibytes(sizes.maximum_mib),
            step: mebibytes(sizes.step_mib.max(1)),
        }
    }

    fn round_up(&self, bytes: ByteCount) -> ByteCount {
        let step = self.step.0.max(1);
        ByteCount(bytes.0.max(self.minimum.0).div_ceil(step).saturating_mul(step))
    }
}

impl Pricing {
    /// Memory-time alone, functions of one host with this CPU share, memory in steps of 16 MiB.
    #[must_use]
    pub fn memory_time(share: MilliCpu) -> Self {
        let grid = Grid {
            minimum: ByteCount::mebibytes(16),
            maximum: ByteCount(u64::MAX),
            step: ByteCount::mebibytes(16),
        };
        Self {
            identity: PlanPricing { name: "local".to_owned(), ..PlanPricing::default() },
            functions: None,
            call_bytes: None,
            object: None,
            package_bytes: None,
            longest_call: None,
            longest_start: None,
            one_host: true,
            link: None,
            tie: 0.0,
            sizes: Sizes::Apart { grid, shares: vec![share], most_mib_per_cpu: None },
            gib_millisecond: 0.001,
            cpu_millisecond: 0.0,
            request: 0.0,
            step_ms: 0,
            start_up_billed: false,
            replicas: None,
        }
    }

    /// The charges of a price file for a workload. `share` is the CPU share asked for, used
    /// where the file leaves it open; `billing` picks among what the file offers.
    ///
    /// # Errors
    /// When the file does not offer this billing.
    pub fn of(
        prices: &Prices,
        share: MilliCpu,
        billing: Option<Billing>,
        workload: &PlanWorkload,
    ) -> Result<Self, PriceError> {
        match prices {
            Prices::WithMemory(prices) => with_memory(prices, billing),
            Prices::Separate(prices) => separate(prices, share, billing, workload),
        }
    }

    /// The least memory limit on the grid that holds `bytes`; none above the largest there is.
    #[must_use]
    pub fn memory_limit(&self, bytes: ByteCount) -> Option<ByteCount> {
        let limit = self.grid().round_up(bytes);
        (limit <= self.grid().maximum).then_some(limit)
    }

    /// The same, also where no function may have as much.
    #[must_use]
    pub fn unbounded_limit(&self, bytes: ByteCount) -> ByteCount {
        self.grid().round_up(bytes)
    }

    /// The largest memory limit.
    #[must_use]
    pub fn largest_memory(&self) -> ByteCount {
        self.grid().maximum
    }

    fn grid(&self) -> &Grid {
        match &self.sizes {
            Sizes::Apart { grid, .. } | Sizes::WithMemory { grid, .. } => grid,
        }
    }

    /// Calls `take` with each size worth looking at for a function that needs `need`, a
    /// limit on the grid.
    ///
    /// Where CPU comes with memory, time below one CPU grows as the share falls, so the
    /// charge is the same at all sizes there but for rounding; between whole CPUs a
    /// larger size has no more threads. So the least size that fits and those at which
    /// another whole CPU begins stand for all.
    pub fn sizes_for(&self, need: ByteCount, mut take: impl FnMut(ByteCount, MilliCpu)) {
        match &self.sizes {
            Sizes::Apart { shares, most_mib_per_cpu, .. } => {
                for &share in shares {
                    let most =
                        most_mib_per_cpu.map(|most| u64::from(most) * u64::from(share.0.max(1000)) / 1000);
                    if most.is_none_or(|most| need <= ByteCount::mebibytes(most)) {
                        take(need, share);
                    }
                }
            }
            Sizes::WithMemory { curve, steps, .. } => {
                take(need, share_of(curve, need));
                for &(memory, share) in steps.iter().filter(|(memory, _)| *memory > need) {
                    take(memory, share);
                }
            }
        }
    }

    /// Time as billed.
    #[must_use]
    pub fn billed(&self, time: Millis) -> Millis {
        if self.step_ms == 0 {
            return time;
        }
        // Less than a nanosecond is an error of the binary fraction.
        let nanos = (time.0.max(0.0) * 1e6).round();
        let step = self.step_ms as f64;
        Millis((nanos / (step * 1e6)).ceil() * step)
    }

    /// What a second of this size is charged, per millisecond.
    fn rate(&self, memory: ByteCount, share: MilliCpu) -> f64 {
        memory.as_gibibytes() * self.gib_millisecond + f64::from(share.0) / 1000.0 * self.cpu_millisecond
    }

    /// What one request is charged at a function of this size: `billed` when it is warm,
    /// and by `cold_fraction` what a start takes. None where it would need more replicas
    /// than there may be.
    #[must_use]
    pub fn charge(
        &self,
        memory: ByteCount,
        share: MilliCpu,
        billed: Millis,
        cold_fraction: f64,
        start_up: Millis,
    ) -> Option<f64> {
        let rate = self.rate(memory, share);
        if let Some(replicas) = &self.replicas {
            let needed = self.replicas_for(billed).unwrap_or(1);
            if replicas.most.is_some_and(|most| needed > u64::from(most)) {
                return None;
            }
            return Some(needed as f64 * rate * 1000.0 / replicas.rate + self.request);
        }
        let mut charge = rate * self.billed(billed).0 + self.request;
        if self.start_up_billed && cold_fraction > 0.0 {
            charge += cold_fraction * rate * self.billed(start_up).0;
        }
        Some(charge)
    }

    /// Replicas of a function that is always on; none where requests are paid.
    #[must_use]
    pub fn replicas_for(&self, billed: Millis) -> Option<u64> {
        let replicas = self.replicas.as_ref()?;
        let busy = replicas.rate * billed.as_seconds() / replicas.utilisation;
        // A busy share of 2 + 1e-12 is two replicas.
        Some(((busy - 1e-9).ceil().max(1.0)) as u64)
    }

    /// Most replicas of a function.
    #[must_use]
    pub fn most_replicas(&self) -> Option<u32> {
        self.replicas.as_ref().and_then(|replicas| replicas.most)
    }

    /// Charge that a run of `time` on this size cannot go below, whatever is around it.
    #[must_use]
    pub fn least_charge(&self, memory: ByteCount, share: MilliCpu, time: Millis) -> f64 {
        let utilisation = self.replicas.as_ref().map_or(1.0, |replicas| replicas.utilisation);
        self.rate(memory, share) * time.0 / utilisation
    }

    /// Charge of one request, whatever it takes.
    #[must_use]
    pub fn request_fee(&self) -> f64 {
        self.request
    }

    /// Whether sizes differ in CPU, so that a faster plan may cost more.
    #[must_use]
    pub fn has_choice_of_cpu(&self) -> bool {
        match &self.sizes {
            Sizes::Apart { shares, .. } => shares.len() > 1,
            Sizes::WithMemory { .. } => true,
        }
    }
}

fn seconds(count: u64) -> Millis {
    Millis(count as f64 * 1000.0)
}

fn share_of(curve: &[CpuPoint], memory: ByteCount) -> MilliCpu {
    crate::price::tariff::cpu_on(curve, memory.as_mebibytes_ceil().try_into().unwrap_or(u32::MAX))
}

fn with_memory(prices: &PriceModel, billing: Option<Billing>) -> Result<Pricing, PriceError> {
    if billing == Some(Billing::AlwaysOn) {
        return Err(PriceError::Billing { origin: prices.name.clone(), offered: "per-request".to_owned() });
    }
    let grid = Grid::of(prices.memory);
    let mut steps = Vec::new();
    let (least, most) = (prices.memory.minimum_mib, prices.memory.maximum_mib);
    for whole in 1..=cpu(prices, most).0 / 1000 {
        let (mut low, mut high) = (least, most);
        while low < high {
            let middle = low.midpoint(high);
            if cpu(prices, middle).0 >= whole * 1000 { high = middle } else { low = middle + 1 }
        }
        steps.push((grid.round_up(ByteCount::mebibytes(low.into())), cpu(prices, low)));
    }
    steps.dedup();
    let dollars = |amount: tranche_schema::Usd| amount.dollars();
    Ok(Pricing {
        identity: PlanPricing {
            name: prices.name.clone(),
            date: prices.date.clone(),
            unit: CostUnit::Usd,
            billing: Billing::PerRequest,
        },
        functions: None,
        call_bytes: Some(prices.payload.call_bytes.saturating_sub(PAYLOAD_OVERHEAD) / 4 * 3),
        object: Some((
            dollars(prices.object_store.usd_per_million_writes) / 1e6,
            dollars(prices.object_store.usd_per_million_reads) / 1e6,
        )),
        package_bytes: Some(prices.package.image_bytes),
        longest_call: Some(seconds(prices.time.call_seconds)),
        longest_start: Some(seconds(prices.time.start_up_seconds)),
        one_host: false,
        link: prices.link,
        tie: TIE_OF_PRICES,
        gib_millisecond: dollars(marginal(&prices.compute.tiers, MebibyteMillis(0))) / 1000.0,
        cpu_millisecond: 0.0,
        request: dollars(prices.requests.usd_per_million) / 1e6,
        step_ms: prices.compute.step_ms,
        start_up_billed: prices.compute.start_up_billed,
        replicas: None,
        sizes: Sizes::WithMemory { grid, curve: prices.cpu.clone(), steps },
    })
}

fn separate(
    prices: &SeparatePrices,
    share: MilliCpu,
    billing: Option<Billing>,
    workload: &PlanWorkload,
) -> Result<Pricing, PriceError> {
    let billing = billing.or(prices.billing.first().copied()).unwrap_or_default();
    if !prices.billing.contains(&billing) {
        let offered: Vec<&str> = prices.billing.iter().map(|billing| billing.as_str()).collect();
        return Err(PriceError::Billing { origin: prices.name.clone(), offered: offered.join(", ") });
    }
    let dollars = |amount: tranche_schema::Usd| amount.dollars();
    let (gib, cpu) = match prices.unit {
        CostUnit::GibSeconds => (1.0, 0.0),
        CostUnit::Usd => {
            (dollars(prices.compute.usd_per_gib_second), dollars(prices.compute.usd_per_cpu_second))
        }
    };
    let replicas = (billing == Billing::AlwaysOn).then(|| Replicas {
        rate: workload.rate_per_second.unwrap_or(DEFAULT_RATE),
        utilisation: prices.scale.utilisation,
        most: prices.scale.replicas,
    });
    let mut shares = prices.cpu.milli_cpu.clone();
    if shares.is_empty() {
        shares.push(share);
    }
    Ok(Pricing {
        identity: PlanPricing {
            name: prices.name.clone(),
            date: prices.date.clone(),
            unit: prices.unit,
            billing,
        },
        functions: prices.scale.functions,
        call_bytes: prices.limits.call_bytes.map(|bytes| bytes.saturating_sub(PAYLOAD_OVERHEAD)),
        object: prices.object_store.map(|store| {
            (dollars(store.usd_per_million_writes) / 1e6, dollars(store.usd_per_million_reads) / 1e6)
        }),
        package_bytes: prices.limits.image_bytes,
        longest_call: Some(seconds(prices.time.call_seconds)),
        longest_start: Some(seconds(prices.time.start_up_seconds)),
        one_host: prices.name == "local",
        link: prices.link,
        tie: if prices.unit == CostUnit::GibSeconds { 0.0 } else { TIE_OF_PRICES },
        gib_millisecond: gib / 1000.0,
        cpu_millisecond: cpu / 1000.0,
        request: dollars(prices.requests.usd_per_million) / 1e6,
        step_ms: prices.compute.step_ms,
        start_up_billed: prices.compute.start_up_billed,
        replicas,
        sizes: Sizes::Apart {
            grid: Grid::of(prices.memory),
            shares,
            most_mib_per_cpu: prices.cpu.most_mib_per_cpu,
        },
    })
}
