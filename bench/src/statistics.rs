//! Medians and their spread.

use serde::{Deserialize, Serialize};

/// Where a number of measurements lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them are below.
    pub median: f64,
    /// A quarter of them is below.
    pub first_quartile: f64,
    /// Three quarters of them are below.
    pub third_quartile: f64,
    /// All but a hundredth are below, by nearest rank: of fewer than 100 the largest.
    pub p99: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Of these; all 0 where there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let sorted = sorted(values);
        Self {
            median: at(&sorted, 0.5),
            first_quartile: at(&sorted, 0.25),
            third_quartile: at(&sorted, 0.75),
            p99: nearest_rank(&sorted, 0.99),
            count: values.len(),
        }
    }

    /// Width of the middle half as a share of the median.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.median > 0.0 { (self.third_quartile - self.first_quartile) / self.median } else { 0.0 }
    }
}

/// The middle of `values`; 0 where there are none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which a share of them lies, straight between neighbours (Hyndman
/// and Fan's type 7); 0 where there are none.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    at(&sorted(values), share)
}

/// The geometric mean of positive numbers, which is that of ratios; none of nothing.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let positive = !values.is_empty() && values.iter().all(|value| *value > 0.0);
    positive.then(|| (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp())
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn at(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * (place - below as f64),
        _ => 0.0,
    }
}

fn nearest_rank(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_those_of_the_definitions() {
        let values: Vec<f64> = (1..=5).rev().map(f64::from).collect();
        let spread = Spread::of(&values);
        assert_eq!(
            spread,
            Spread { median: 3.0, first_quartile: 2.0, third_quartile: 4.0, p99: 5.0, count: 5 }
        );
        assert_eq!(quantile(&[1.0, 2.0], 0.25), 1.25);
        assert_eq!(Spread::of(&(1..=200).map(f64::from).collect::<Vec<_>>()).p99, 198.0);
        assert_eq!(Spread::of(&[]).median, 0.0);
    }

    #[test]
    fn a_geometric_mean_takes_a_gain_and_its_loss_as_nothing() {
        assert!((geometric_mean(&[2.0, 0.5]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
    }
}
