//! Latencies of many requests: half of them, and all but a hundredth, are done in these.
//!
//! Percentiles do not add up, so they are simulated. Functions of one plan are called one
//! after the other, so they are idle, and cold, together: a request meets started functions
//! with the probability of the workload's warm share, else none. Of a function that was
//! measured, the time varies as it did then (a normal distribution of the measured
//! interquartile range, not below the fastest); the others take their median.

use tranche_schema::Millis;

/// Share of requests that meet no started function when they come at random (a Poisson
/// process) at `rate` a second and an idle function is kept for `keep_alive` seconds: the
/// probability that none came for so long, `exp(−rate · keep_alive)`.
#[must_use]
pub fn cold_fraction(rate: f64, keep_alive: f64) -> f64 {
    (-rate * keep_alive).exp().clamp(0.0, 1.0)
}

/// Requests that are simulated.
const REQUESTS: usize = 4000;

/// One function on the way of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hop {
    /// Functions whose answers it waits for.
    pub(crate) after: Vec<usize>,
    /// Warm, driver's time included.
    pub(crate) warm: f64,
    /// Interquartile range of that; 0 where it was not measured.
    pub(crate) spread: f64,
    /// Start-up.
    pub(crate) start_up: f64,
    /// How much longer the first run takes.
    pub(crate) first_run_excess: f64,
}

/// Median and 99th percentile at a share of cold requests.
pub(crate) fn percentiles(hops: &[Hop], cold_fraction: f64) -> (Millis, Millis) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut times: Vec<f64> = (0..REQUESTS)
        .map(|_| {
            let cold = random.uniform() < cold_fraction;
            finish(hops, cold, |hop| {
                if hop.spread > 0.0 { (hop.spread / 1.349 * random.normal()).max(-hop.spread) } else { 0.0 }
            })
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (Millis(times[REQUESTS / 2]), Millis(times[REQUESTS * 99 / 100]))
}

/// Latency of one request, without variation: each function begins when all it waits for
/// are done, and on a cold request when it has started, all having begun to at the
/// request's arrival.
pub(crate) fn latency(hops: &[Hop], cold: bool) -> Millis {
    Millis(finish(hops, cold, |_| 0.0))
}

fn finish(hops: &[Hop], cold: bool, mut variation: impl FnMut(&Hop) -> f64) -> f64 {
    let mut done = Vec::with_capacity(hops.len());
    let mut last = 0.0_f64;
    for hop in hops {
        let ready = hop.after.iter().filter_map(|&before| done.get(before)).fold(0.0_f64, |a, b| a.max(*b));
        let (ready, excess) =
            if cold { (ready.max(hop.start_up), hop.first_run_excess) } else { (ready, 0.0) };
        let end = ready + (hop.warm + variation(hop)).max(0.0) + excess;
        last = last.max(end);
        done.push(end);
    }
    last
}

/// SplitMix64 (Steele and others, OOPSLA 2014): the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// In 0..1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly standard normal: the sum of twelve uniform ones less six, whose variance is 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Hop, latency, percentiles};

    fn chain(starts: &[f64]) -> Vec<Hop> {
        let hop = |(index, &start_up): (usize, &f64)| Hop {
            after: index.checked_sub(1).into_iter().collect(),
            warm: 10.0,
            start_up,
            ..Hop::default()
        };
        starts.iter().enumerate().map(hop).collect()
    }

    #[test]
    fn starts_overlap() {
        let hops = chain(&[300.0, 300.0, 300.0]);
        assert_eq!(latency(&hops, false).0, 30.0);
        assert_eq!(latency(&hops, true).0, 330.0);
        assert_eq!(latency(&chain(&[0.0, 0.0, 500.0]), true).0, 510.0);
    }

    #[test]
    fn percentiles_follow_the_cold_share() {
        let hops = chain(&[300.0]);
        assert_eq!(percentiles(&hops, 0.0), (tranche_schema::Millis(10.0), tranche_schema::Millis(10.0)));
        assert_eq!(percentiles(&hops, 0.1).1.0, 310.0);
        assert_eq!(percentiles(&hops, 0.001).1.0, 10.0);
        assert_eq!(percentiles(&hops, 0.9).0.0, 310.0);
    }
}
