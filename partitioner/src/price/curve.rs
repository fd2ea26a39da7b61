//! A function's time at a CPU share, from times measured at some shares.
//!
//! A function has max(1, ⌊share⌋) engine threads ([`MilliCpu::threads`]). With `s`
//! the part of the time that one thread does alone and `p` the part that threads
//! divide (Amdahl's law):
//!
//! - share below 1 CPU: (s + p) / share, as the platform lets it run for that part of each period;
//! - share of 1 CPU and more: s + p / threads.
//!
//! `s` and `p` are fitted to the samples by least squares of relative errors, both at
//! least 0. Where all samples have one thread, nothing says what more would do: `p`
//! is 0, and times beyond are those of one CPU.

use serde::Serialize;
use tranche_schema::{MilliCpu, Millis};

/// A time measured at a CPU share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// The share.
    pub cpu_milli: MilliCpu,
    /// The time.
    pub time_ms: Millis,
}

/// Where a time is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Measured at this share.
    Measured,
    /// By the fit, between shares that were measured.
    Fitted,
    /// By the fit, beyond every share that was measured.
    Extrapolated,
}

/// How a function's time depends on its CPU share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeCurve {
    /// Done by one thread, at one CPU.
    pub serial_ms: Millis,
    /// Divided among threads; its time on one.
    pub parallel_ms: Millis,
    /// What was measured, by share.
    pub samples: Vec<Sample>,
}

impl TimeCurve {
    /// Fits the samples; `None` without any of a positive share and time.
    #[must_use]
    pub fn fit(samples: &[Sample]) -> Option<Self> {
        let mut samples: Vec<Sample> = samples
            .iter()
            .copied()
            .filter(|sample| sample.cpu_milli.0 > 0 && sample.time_ms.0 > 0.0 && sample.time_ms.0.is_finite())
            .collect();
        samples.sort_by_key(|sample| sample.cpu_milli);
        samples.dedup_by_key(|sample| sample.cpu_milli);
        let (serial, parallel) = least_squares(&samples)?;
        Some(Self { serial_ms: Millis(serial), parallel_ms: Millis(parallel), samples })
    }

    /// The time at a share, and where it is from. Sizes count as measured whose share
    /// is within a hundredth of a sample's.
    #[must_use]
    pub fn at(&self, cpu: MilliCpu) -> (Millis, Basis) {
        if let Some(sample) = self.samples.iter().find(|sample| is_near(sample.cpu_milli, cpu)) {
            return (sample.time_ms, Basis::Measured);
        }
        let (serial, parallel) = factors(cpu);
        let time = Millis(self.serial_ms.0 * serial + self.parallel_ms.0 * parallel);
        let inside = self.samples.first().is_some_and(|first| first.cpu_milli < cpu)
            && self.samples.last().is_some_and(|last| cpu < last.cpu_milli);
        (time, if inside { Basis::Fitted } else { Basis::Extrapolated })
    }

    /// Whether a sample with more than one thread says how it scales.
    #[must_use]
    pub fn knows_scaling(&self) -> bool {
        self.samples.iter().any(|sample| sample.cpu_milli.threads() > 1)
    }
}

/// Whether a time measured at a share is that of another: within a hundredth of it.
pub(crate) fn is_near(measured: MilliCpu, share: MilliCpu) -> bool {
    measured.0.abs_diff(share.0) * 100 <= measured.0
}

/// What `s` and `p` are multiplied with at a share.
pub(crate) fn factors(cpu: MilliCpu) -> (f64, f64) {
    let share = f64::from(cpu.0.max(1)) / 1000.0;
    if share < 1.0 { (1.0 / share, 1.0 / share) } else { (1.0, 1.0 / cpu.threads() as f64) }
}

/// `s` and `p`, minimising Σ ((s·a + p·b) / t − 1)².
fn least_squares(samples: &[Sample]) -> Option<(f64, f64)> {
    if samples.is_empty() {
        return None;
    }
    let (mut aa, mut ab, mut bb, mut at, mut bt) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for sample in samples {
        let (serial, parallel) = factors(sample.cpu_milli);
        let (a, b) = (serial / sample.time_ms.0, parallel / sample.time_ms.0);
        (aa, ab, bb) = (aa + a * a, ab + a * b, bb + b * b);
        (at, bt) = (at + a, bt + b);
    }
    let alone = (at / aa, 0.0);
    let scales = samples.iter().any(|sample| sample.cpu_milli.threads() > 1);
    let determinant = aa * bb - ab * ab;
    if !scales {
        return Some(alone);
    }
    if determinant <= aa * bb * 1e-12 {
        // One share alone: nothing tells the parts apart, and serial promises least.
        return Some(alone);
    }
    let serial = (at * bb - bt * ab) / determinant;
    let parallel = (bt * aa - at * ab) / determinant;
    Some(match (serial < 0.0, parallel < 0.0) {
        (true, _) => (0.0, bt / bb),
        (_, true) => alone,
        _ => (serial, parallel),
    })
}
