use tranche_schema::{Millis, Timing};

/// Median, interquartile range and extremes of samples in milliseconds.
///
/// Quartiles by linear interpolation between order statistics (R's type 7).
/// No samples give zeros.
#[must_use]
pub fn timing(samples: &[f64]) -> Timing {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(&minimum), Some(&maximum)) = (sorted.first(), sorted.last()) else {
        return Timing::default();
    };
    Timing {
        median_ms: Millis(quantile(&sorted, 0.5)),
        spread_ms: Millis(quantile(&sorted, 0.75) - quantile(&sorted, 0.25)),
        minimum_ms: Millis(minimum),
        maximum_ms: Millis(maximum),
    }
}

/// A quantile of sorted, non-empty samples.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let position = fraction * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let found = timing(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(found.median_ms, Millis(2.5));
        assert_eq!(found.spread_ms, Millis(1.5));
        assert_eq!((found.minimum_ms, found.maximum_ms), (Millis(1.0), Millis(4.0)));
    }

    #[test]
    fn no_samples_give_zeros() {
        assert_eq!(timing(&[]), Timing::default());
    }
}
