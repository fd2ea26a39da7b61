use std::io::Write as _;
use tranche_schema::{ByteCount, FunctionMetrics};

/// The metrics as JSON in ASCII, as a header needs it.
pub(crate) fn to_header(metrics: &FunctionMetrics) -> String {
    tranche_schema::to_ascii_json(metrics).unwrap_or_default()
}

/// Prints the metrics as one line. Nobody reading it is no reason to fail a request.
pub(crate) fn print(metrics: &FunctionMetrics) {
    if let Ok(mut line) = serde_json::to_string(metrics) {
        line.push('\n');
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// Highest resident memory of this process; 0 where the system does not tell.
pub(crate) fn peak_memory() -> ByteCount {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok());
    ByteCount(kibibytes.unwrap_or(0) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_memory() > ByteCount::mebibytes(1));
    }
}
