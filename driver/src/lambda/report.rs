//! The REPORT line that Lambda ends the log of an invocation with.

use tranche_schema::Millis;

/// What Lambda says of an invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Report {
    /// Rounded up to whole milliseconds; starting is in it.
    pub(super) billed_ms: Millis,
    /// Starting, where it did.
    pub(super) init_ms: Millis,
}

impl Report {
    /// Reads the last REPORT line of a log: fields between tabs, `Billed Duration: 13 ms`.
    pub(super) fn read(log: &str) -> Option<Self> {
        let line = log.lines().rev().find(|line| line.starts_with("REPORT RequestId:"))?;
        let field = |name: &str| {
            let text = line.split('\t').find_map(|field| field.trim().strip_prefix(name))?;
            let number: f64 = text.trim().strip_suffix("ms")?.trim().parse().ok()?;
            (number.is_finite() && number >= 0.0).then_some(Millis(number))
        };
        Some(Self {
            billed_ms: field("Billed Duration:")?,
            init_ms: field("Init Duration:").or_else(|| field("Restore Duration:")).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_and_warm_reports_are_read() {
        let cold = "END RequestId: 1\nREPORT RequestId: 1\tDuration: 12.34 ms\tBilled Duration: 136 ms\tMemory Size: 512 MB\tMax Memory Used: 73 MB\tInit Duration: 123.45 ms\t\n";
        assert_eq!(Report::read(cold), Some(Report { billed_ms: Millis(136.0), init_ms: Millis(123.45) }));
        let warm = "REPORT RequestId: 1\tDuration: 1.2 ms\tBilled Duration: 2 ms\tMemory Size: 512 MB";
        assert_eq!(Report::read(warm), Some(Report { billed_ms: Millis(2.0), init_ms: Millis(0.0) }));
    }

    #[test]
    fn nonsense_is_no_report() {
        for log in ["", "START", "REPORT RequestId: 1", "REPORT RequestId: 1\tBilled Duration: NaN ms"] {
            assert_eq!(Report::read(log), None, "{log}");
        }
    }
}
