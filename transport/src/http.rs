//! Names of the HTTP contract between driver and function (docs/formats/function-http.md).

use std::time::Duration;

/// Media type of a frame.
pub const CONTENT_TYPE: &str = "application/vnd.tranche.frame";
/// Response header that holds the request's `FunctionMetrics` as JSON.
pub const METRICS_HEADER: &str = "tranche-metrics";
/// OpenFaaS's name of a call: one in the logs of gateway, provider and function.
pub const CALL_ID_HEADER: &str = "x-call-id";
/// of-watchdog's header for the time that a call may take, as a Go duration.
pub const TIMEOUT_HEADER: &str = "x-timeout";
/// Request header that holds an `Itinerary` as JSON: the function hands its outputs on by itself.
pub const ITINERARY_HEADER: &str = "tranche-itinerary";
/// Request header that holds the `FunctionMetrics` of the slices before, as a JSON list.
pub const TRAIL_HEADER: &str = "tranche-trail";
/// Answers 200 from the moment the function listens.
pub const HEALTH_PATH: &str = "/_/health";
/// Answers 200 once the slice is loaded.
pub const READY_PATH: &str = "/_/ready";
/// Takes a frame, answers a frame.
pub const INVOKE_PATH: &str = "/";

/// The call id of one attempt at one slice: `REQUEST-SLICE-ATTEMPT`. Letters of the slice
/// that a header or a log would not carry become `_`.
#[must_use]
pub fn call_id(request_id: &str, slice: &str, attempt: u32) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let slice: String = slice.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect();
    format!("{request_id}-{slice}-{attempt}")
}

/// A time as Go writes it (`time.ParseDuration`): `30s`, `1m30s`, `1.5h`, `250ms`; a bare number
/// is seconds, as in of-watchdog's environment. `None` for anything else, also for negative times.
#[must_use]
pub fn parse_go_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanoseconds = 0_u64;
    loop {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, next) = after.split_at(unit_end.unwrap_or(after.len()));
        let scale = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        nanoseconds = nanoseconds.checked_add(scaled(number, scale)?)?;
        if next.is_empty() {
            return Some(Duration::from_nanos(nanoseconds));
        }
        rest = next;
    }
}

/// A decimal number times `scale`, what is below one cut off.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut sum = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.checked_mul(scale)? };
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        sum = sum.checked_add(u64::from(digit.to_digit(10)?) * place)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let read = |text| parse_go_duration(text).map(|duration| duration.as_micros());
        assert_eq!(read("30"), Some(30_000_000));
        assert_eq!(read("30s"), Some(30_000_000));
        assert_eq!(read("1m30s"), Some(90_000_000));
        assert_eq!(read("1h0m0.5s"), Some(3_600_500_000));
        assert_eq!(read(" 250ms "), Some(250_000));
        assert_eq!(read("+1.5us"), Some(1));
        for wrong in ["", "s", "-1s", "1x", "1s2", "1..2s", "ms5", "1 s", "9e99s"] {
            assert_eq!(parse_go_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn call_ids_have_plain_letters() {
        assert_eq!(call_id("07ab", "tranché 1\n", 2), "07ab-tranch__1_-2");
    }

    proptest! {
        #[test]
        fn whole_milliseconds_come_back(milliseconds in 0_u64..10_000_000_000) {
            let read = parse_go_duration(&format!("{milliseconds}ms"));
            prop_assert_eq!(read, Some(Duration::from_millis(milliseconds)));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,12}") {
            let _ = parse_go_duration(&text);
        }
    }
}
