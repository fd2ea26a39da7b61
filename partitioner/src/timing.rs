//! A segment's time at a CPU share.
//!
//! At one share by [`crate::price::curve`]'s formula, times what the whole model took at
//! that share against the same formula: what a quota costs beyond its share is measured
//! once and taken for all segments alike.

use crate::price::curve::{factors, is_near};
use tranche_schema::{MilliCpu, Millis, WholeProfile};

/// Serial and parallel time at one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    pub(crate) serial: f64,
    pub(crate) parallel: f64,
}

impl Work {
    /// From a time measured with `threads` and the share of it that threads divide.
    pub(crate) fn of(time: f64, threads: usize, parallel_share: f64) -> Self {
        let one = time / (1.0 - parallel_share + parallel_share / threads as f64);
        Self { serial: one * (1.0 - parallel_share), parallel: one * parallel_share }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.serial += other.serial;
        self.parallel += other.parallel;
    }

    pub(crate) fn times(self, factor: f64) -> Self {
        Self { serial: self.serial * factor, parallel: self.parallel * factor }
    }

    /// Time at a share by the formula alone.
    pub(crate) fn at(self, share: MilliCpu) -> f64 {
        let (serial, parallel) = factors(share);
        self.serial * serial + self.parallel * parallel
    }
}

/// What was measured against the formula, by share, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ShareFactors(Vec<(MilliCpu, f64)>);

impl ShareFactors {
    /// From the whole model's runs at several shares; `work` is the whole's.
    pub(crate) fn of(whole: &WholeProfile, work: Work) -> Self {
        let mut factors: Vec<(MilliCpu, f64)> = whole
            .shares
            .iter()
            .filter(|sample| sample.cpu.0 > 0 && sample.run.median_ms.0 > 0.0)
            .map(|sample| (sample.cpu, sample.run.median_ms.0 / work.at(sample.cpu)))
            .filter(|(_, factor)| factor.is_finite() && *factor > 0.0)
            .collect();
        factors.sort_by_key(|(share, _)| *share);
        factors.dedup_by_key(|(share, _)| *share);
        Self(factors)
    }

    /// Straight between the measured shares, that of the nearest beyond them.
    pub(crate) fn at(&self, share: MilliCpu) -> f64 {
        let above = self.0.partition_point(|(known, _)| *known < share);
        match (above.checked_sub(1).and_then(|below| self.0.get(below)), self.0.get(above)) {
            (Some(low), Some(high)) => {
                let part = f64::from(share.0 - low.0.0) / f64::from(high.0.0 - low.0.0);
                low.1 + (high.1 - low.1) * part
            }
            (Some(only), None) | (None, Some(only)) => only.1,
            (None, None) => 1.0,
        }
    }
}

/// Times of one slice, by share.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MeasuredTimes(Vec<(MilliCpu, f64)>);

impl MeasuredTimes {
    /// Adds a time; a later one of the same share replaces an earlier one.
    pub(crate) fn add(&mut self, share: MilliCpu, time: Millis) {
        if share.0 == 0 || !(time.0 > 0.0 && time.0.is_finite()) {
            return;
        }
        self.0.retain(|(known, _)| *known != share);
        self.0.push((share, time.0));
        self.0.sort_by_key(|(share, _)| *share);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time measured at this share.
    pub(crate) fn exactly(&self, share: MilliCpu) -> Option<f64> {
        self.0.iter().find(|(known, _)| is_near(*known, share)).map(|(_, time)| *time)
    }

    /// The time at a share: measured there, or the nearest measured one carried over as
    /// `estimate` says.
    pub(crate) fn at(&self, share: MilliCpu, estimate: impl Fn(MilliCpu) -> f64) -> f64 {
        if let Some(time) = self.exactly(share) {
            return time;
        }
        let nearest = self.0.iter().min_by_key(|(known, _)| known.0.abs_diff(share.0));
        match nearest {
            Some((known, time)) => {
                let there = estimate(*known);
                if there > 0.0 { time * estimate(share) / there } else { *time }
            }
            None => estimate(share),
        }
    }
}
