//! How long a function takes to start, by its weights.

use crate::Problem;
use tranche_schema::{ByteCount, Millis, WholeProfile};

/// Start of a process and its engine where nothing tells it apart from reading weights.
const LEAST_FIXED: f64 = 20.0;

/// A line from bytes of weights to milliseconds, fitted to what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StartLine {
    /// Process and engine.
    pub fixed: Millis,
    /// Reading a mebibyte of weights.
    pub per_mebibyte: Millis,
    /// How much longer the first run takes than later ones, for a mebibyte of weights.
    pub first_run_per_mebibyte: Millis,
}

impl StartLine {
    /// Through the starts of the whole model and of measured slices: least squares over
    /// (mebibytes of weights, ms), neither part below 0. From one point alone the fixed part
    /// is 20 ms, or all of it where it is less.
    #[must_use]
    pub fn of(problem: &Problem) -> Self {
        let measured: Vec<&WholeProfile> = std::iter::once(&problem.whole)
            .chain(problem.measured.iter().map(|slice| &slice.whole))
            .collect();
        let starts: Vec<(f64, f64)> = measured
            .iter()
            .filter_map(|whole| Some((mebibytes(whole.weights_bytes), start(whole)?)))
            .collect();
        let (fixed, each) = line(&starts);
        let excess: Vec<(f64, f64)> = measured
            .iter()
            .filter(|whole| whole.first_run_ms.0 > 0.0 && whole.weights_bytes.0 > 0)
            .map(|whole| (mebibytes(whole.weights_bytes), first_run_excess(whole)))
            .collect();
        let weights: f64 = excess.iter().map(|(weights, _)| weights).sum();
        let first_run =
            if weights > 0.0 { excess.iter().map(|(_, excess)| excess).sum::<f64>() / weights } else { 0.0 };
        Self { fixed: Millis(fixed), per_mebibyte: Millis(each), first_run_per_mebibyte: Millis(first_run) }
    }

    /// Start of a function with these weights.
    #[must_use]
    pub fn start(&self, weights: ByteCount) -> Millis {
        Millis(self.fixed.0 + self.per_mebibyte.0 * mebibytes(weights))
    }

    /// How much longer its first run takes than later ones.
    #[must_use]
    pub fn first_run_excess(&self, weights: ByteCount) -> Millis {
        Millis(self.first_run_per_mebibyte.0 * mebibytes(weights))
    }
}

/// The start as measured in its function, else the load in a measuring process.
pub(crate) fn start(whole: &WholeProfile) -> Option<f64> {
    let start = whole.start_up_ms.unwrap_or(Millis(whole.load_ms.0 + LEAST_FIXED));
    (whole.start_up_ms.is_some() || whole.load_ms.0 > 0.0).then_some(start.0)
}

pub(crate) fn first_run_excess(whole: &WholeProfile) -> f64 {
    (whole.first_run_ms.0 - whole.run.median_ms.0).max(0.0)
}

fn mebibytes(bytes: ByteCount) -> f64 {
    bytes.0 as f64 / (1024.0 * 1024.0)
}

fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    match points {
        [] => (0.0, 0.0),
        [(weights, time)] => {
            let fixed = time.min(LEAST_FIXED);
            if *weights > 0.0 { (fixed, (time - fixed) / weights) } else { (*time, 0.0) }
        }
        _ => {
            let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
            let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
            let over: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
            let under: f64 = points.iter().map(|(x, _)| (x - mean_x) * (x - mean_x)).sum();
            let slope = if under > 0.0 { (over / under).max(0.0) } else { 0.0 };
            let fixed = mean_y - slope * mean_x;
            if fixed >= 0.0 {
                return (fixed, slope);
            }
            // Through the origin, as nothing starts before it is asked to.
            let squares: f64 = points.iter().map(|(x, _)| x * x).sum();
            (0.0, points.iter().map(|(x, y)| x * y).sum::<f64>() / squares)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_is_found_again() {
        let (fixed, each) = line(&[(10.0, 50.0), (100.0, 230.0), (500.0, 1030.0)]);
        assert!((fixed - 30.0).abs() < 1e-9 && (each - 2.0).abs() < 1e-9);
        assert_eq!(line(&[(100.0, 220.0)]), (20.0, 2.0));
        assert_eq!(line(&[(0.0, 7.0)]), (7.0, 0.0));
        let (fixed, each) = line(&[(100.0, 10.0), (200.0, 400.0)]);
        assert!(fixed == 0.0 && each > 0.0);
    }
}
