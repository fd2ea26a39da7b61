use std::fmt::Write as _;
use std::io::Write as _;
use tranche_schema::{ByteCount, FunctionMetrics};

/// The metrics as JSON in ASCII, as a header needs it.
pub(crate) fn to_header(metrics: &FunctionMetrics) -> String {
    let json = serde_json::to_string(metrics).unwrap_or_default();
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
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
    fn any_name_fits_a_header() {
        let metrics =
            FunctionMetrics { slice: "tranché \u{1F52A}\n".to_owned(), ..FunctionMetrics::default() };
        let text = to_header(&metrics);
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<FunctionMetrics>(&text).unwrap(), metrics);
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_memory() > ByteCount::mebibytes(1));
    }
}
