use bytes::Bytes;
use hyper::header::HeaderMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Times before this (September 2001) are no time of day but a length: cargo-lambda sends one.
const EARLIEST_MS: u64 = 1_000_000_000_000;
/// The longest that a function may be given, taken where no deadline is said.
const LONGEST: Duration = Duration::from_secs(900);

/// One event to be answered.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's id of it, the same when an asynchronous event is delivered again.
    pub request_id: String,
    /// When Lambda ends the process, by this process's clock.
    pub deadline: Instant,
    /// The same as a time of day.
    pub deadline_time: SystemTime,
    /// ARN of the function, with the version or alias that was called.
    pub function_arn: Option<String>,
    /// X-Ray's trace header.
    pub trace_id: Option<String>,
    /// The tenant, where the function isolates them.
    pub tenant_id: Option<String>,
    /// What the caller said of itself (`X-Amz-Client-Context`), as JSON.
    pub client_context: Option<String>,
    /// The event.
    pub payload: Bytes,
}

impl Invocation {
    /// Reads the head of an answer to `next`; the payload is empty. `None` without an id.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let request_id = text("lambda-runtime-aws-request-id")?;
        let milliseconds = text("lambda-runtime-deadline-ms").and_then(|text| text.parse().ok());
        let (deadline, deadline_time) = deadline(milliseconds, Instant::now(), SystemTime::now());
        Some(Self {
            request_id,
            deadline,
            deadline_time,
            function_arn: text("lambda-runtime-invoked-function-arn"),
            trace_id: text("lambda-runtime-trace-id"),
            tenant_id: text("lambda-runtime-aws-tenant-id"),
            client_context: text("lambda-runtime-client-context"),
            payload: Bytes::new(),
        })
    }

    /// Time left until Lambda ends the process.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

fn deadline(milliseconds: Option<u64>, now: Instant, time: SystemTime) -> (Instant, SystemTime) {
    let left = match milliseconds.map(Duration::from_millis) {
        None => LONGEST,
        Some(length) if length < Duration::from_millis(EARLIEST_MS) => length.min(LONGEST),
        Some(since_epoch) => {
            let now = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            // Managed instances give asynchronous events longer than others.
            since_epoch.saturating_sub(now).min(6 * LONGEST)
        }
    };
    (now + left, time + left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_times_of_day_or_lengths() {
        let (now, time) = (Instant::now(), UNIX_EPOCH + Duration::from_millis(1_800_000_000_000));
        let left = |milliseconds| {
            let (deadline, deadline_time) = deadline(milliseconds, now, time);
            assert_eq!(deadline - now, deadline_time.duration_since(time).unwrap());
            (deadline - now).as_millis()
        };
        assert_eq!(left(Some(1_800_000_003_000)), 3_000);
        assert_eq!(left(Some(1_799_999_999_000)), 0);
        assert_eq!(left(Some(600_000)), 600_000);
        assert_eq!(left(None), 900_000);
        assert_eq!(left(Some(u64::MAX)), 5_400_000);
    }
}
