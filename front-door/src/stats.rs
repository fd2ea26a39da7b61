//! A model's counts since the door opened, as `GET /v2/models/NAME/stats` tells them.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tranche_schema::{Bill, Millis};

/// How often something happened, and how long it took together.
#[derive(Debug, Default)]
struct Tally {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Tally {
    fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn tell(&self) -> Value {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        json!({ "count": of(&self.count), "ns": of(&self.nanoseconds) })
    }
}

/// Counts of one model. A deployment that takes its place goes on counting.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    success: Tally,
    fail: Tally,
    queue: Tally,
    input: Tally,
    infer: Tally,
    output: Tally,
    /// Milliseconds since 1970.
    last: AtomicU64,
}

impl Stats {
    /// Times of the functions, summed over slices: decoding, running, encoding.
    pub(crate) fn computed(&self, bill: &Bill) {
        let sum = |of: fn(&tranche_schema::FunctionMetrics) -> Millis| {
            let milliseconds: f64 = bill.slices.iter().map(|slice| of(&slice.measured).0).sum();
            Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default()
        };
        self.input.add(sum(|measured| measured.decode_ms));
        self.infer.add(sum(|measured| measured.run_ms));
        self.output.add(sum(|measured| measured.encode_ms));
    }

    /// A request is over; `waited` is its time before it had a place.
    pub(crate) fn finished(&self, answered: bool, took: Duration, waited: Duration) {
        if !answered {
            return self.fail.add(took);
        }
        self.success.add(took);
        self.queue.add(waited);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The object of the statistics extension, less name and version.
    pub(crate) fn tell(&self) -> Value {
        let answered = self.success.count.load(Ordering::Relaxed);
        json!({
            "last_inference": self.last.load(Ordering::Relaxed),
            "inference_count": answered,
            "execution_count": answered,
            "inference_stats": {
                "success": self.success.tell(),
                "fail": self.fail.tell(),
                "queue": self.queue.tell(),
                "compute_input": self.input.tell(),
                "compute_infer": self.infer.tell(),
                "compute_output": self.output.tell(),
            },
            "batch_stats": [],
        })
    }
}
