//! Kubernetes quantities (`k8s.io/apimachinery/pkg/api/resource/quantity.go`):
//! a decimal number with a decimal (`k`, `M`, `m`, …), binary (`Ki`, `Mi`, …) or
//! exponent (`e3`) suffix.

use super::OpenFaasError;
use tranche_schema::{ByteCount, MilliCpu};

/// The finest unit that Kubernetes keeps.
const NANO: u128 = 1_000_000_000;

const SUFFIXES: [(&str, u128, u128); 16] = [
    ("", 1, 1),
    ("n", 1, NANO),
    ("u", 1, 1_000_000),
    ("m", 1, 1000),
    ("k", 1000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
];

/// Digits that can stand before or after the point without overflow.
const MOST_DIGITS: usize = 20;

/// Memory with the largest binary suffix that says it exactly: `512Mi`.
#[must_use]
pub fn memory_quantity(memory: ByteCount) -> String {
    let suffixes = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut text = memory.0.to_string();
    let mut value = memory.0;
    for suffix in suffixes {
        if value == 0 || !value.is_multiple_of(1024) {
            break;
        }
        value /= 1024;
        text = format!("{value}{suffix}");
    }
    text
}

/// Processor share: `500m`, or `2` where it is whole.
#[must_use]
pub fn cpu_quantity(cpu: MilliCpu) -> String {
    if cpu.0.is_multiple_of(1000) { (cpu.0 / 1000).to_string() } else { format!("{}m", cpu.0) }
}

/// Reads an amount of memory, rounded up to whole bytes.
///
/// # Errors
/// When it is no quantity (`64MB`), or is too large.
pub fn parse_memory(text: &str) -> Result<ByteCount, OpenFaasError> {
    let fail = |reason| OpenFaasError::Quantity { text: shown(text), of: "memory", reason };
    let nano = parse(text).map_err(fail)?;
    let bytes = u64::try_from(nano.div_ceil(NANO)).map_err(|_| fail("it is too large"))?;
    Ok(ByteCount(bytes))
}

/// Reads a processor share, rounded up to thousandths.
///
/// # Errors
/// When it is no quantity, or is too large.
pub fn parse_cpu(text: &str) -> Result<MilliCpu, OpenFaasError> {
    let fail = |reason| OpenFaasError::Quantity { text: shown(text), of: "cpu", reason };
    let nano = parse(text).map_err(fail)?;
    let milli = u32::try_from(nano.div_ceil(NANO / 1000)).map_err(|_| fail("it is too large"))?;
    Ok(MilliCpu(milli))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect::<String>().escape_default().to_string()
}

/// The value in thousand-millionths.
fn parse(text: &str) -> Result<u128, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.starts_with('-') {
        return Err("it is negative");
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err("it does not begin with a number");
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > MOST_DIGITS || fraction.len() > 9 {
        return Err("it has too many digits");
    }
    let digits = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u128>() };
    let scale = 10_u128.pow(fraction.len() as u32);
    let whole = digits(whole).map_err(|_| "it does not begin with a number")?;
    let fraction = digits(fraction).map_err(|_| "it does not begin with a number")?;
    let (times, by) = suffix_factor(suffix)?;
    let value = (whole * scale + fraction).checked_mul(times).and_then(|value| value.checked_mul(NANO / by));
    Ok(value.ok_or("it is too large")?.div_ceil(scale))
}

fn suffix_factor(suffix: &str) -> Result<(u128, u128), &'static str> {
    if let Some((_, times, by)) = SUFFIXES.iter().find(|(known, ..)| *known == suffix) {
        return Ok((*times, *by));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or("its suffix is none of Ki Mi Gi Ti k M G T m")?;
    match exponent.parse::<i32>() {
        Ok(exponent @ 0..=18) => Ok((10_u128.pow(exponent.unsigned_abs()), 1)),
        Ok(exponent @ -9..=-1) => Ok((1, 10_u128.pow(exponent.unsigned_abs()))),
        _ => Err("its exponent is not a number between -9 and 18"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_mean_what_kubernetes_says() {
        let bytes = |text: &str| parse_memory(text).unwrap().0;
        assert_eq!(bytes("64Mi"), 67_108_864);
        assert_eq!(bytes("128M"), 128_000_000);
        assert_eq!(bytes("1.5Gi"), 1_610_612_736);
        assert_eq!(bytes("67108864"), 67_108_864);
        assert_eq!(
            (bytes("1e3"), bytes("2E"), bytes("100m"), bytes(".5k")),
            (1000, 2_000_000_000_000_000_000, 1, 500)
        );
        let milli = |text: &str| parse_cpu(text).unwrap().0;
        assert_eq!(
            (milli("500m"), milli("0.5"), milli("2"), milli("1u"), milli("25e-2")),
            (500, 500, 2000, 1, 250)
        );
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        let refused: Vec<String> =
            ["64MB", "12Q", "", "Mi", "1..5", "-1", "1 Gi", "64mb", "99999999999999999999", "17Ei", "1e99"]
                .iter()
                .map(|text| parse_memory(text).unwrap_err().to_string())
                .collect();
        insta::assert_snapshot!(refused.join("\n"), @r"
        `64MB` is not a quantity of memory: its suffix is none of Ki Mi Gi Ti k M G T m
        `12Q` is not a quantity of memory: its suffix is none of Ki Mi Gi Ti k M G T m
        `` is not a quantity of memory: it is empty
        `Mi` is not a quantity of memory: it does not begin with a number
        `1..5` is not a quantity of memory: it does not begin with a number
        `-1` is not a quantity of memory: it is negative
        `1 Gi` is not a quantity of memory: its suffix is none of Ki Mi Gi Ti k M G T m
        `64mb` is not a quantity of memory: its suffix is none of Ki Mi Gi Ti k M G T m
        `99999999999999999999` is not a quantity of memory: it is too large
        `17Ei` is not a quantity of memory: it is too large
        `1e99` is not a quantity of memory: its exponent is not a number between -9 and 18
        ");
        assert!(parse_memory("64MB").unwrap_err().hint().contains("512Mi"));
        assert!(parse_cpu("half").is_err() && parse_cpu("5G").is_err());
    }

    #[test]
    fn sizes_print_short() {
        assert_eq!(memory_quantity(ByteCount::mebibytes(512)), "512Mi");
        assert_eq!(memory_quantity(ByteCount::mebibytes(2048)), "2Gi");
        assert_eq!(memory_quantity(ByteCount(1_000_000)), "1000000");
        assert_eq!(memory_quantity(ByteCount(0)), "0");
        assert_eq!(
            (cpu_quantity(MilliCpu(500)), cpu_quantity(MilliCpu(3000))),
            ("500m".to_owned(), "3".to_owned())
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes: u64, milli: u32) {
            prop_assert_eq!(parse_memory(&memory_quantity(ByteCount(bytes))).unwrap(), ByteCount(bytes));
            prop_assert_eq!(parse_cpu(&cpu_quantity(MilliCpu(milli))).unwrap(), MilliCpu(milli));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,30}") {
            let _ = (parse_memory(&text), parse_cpu(&text));
        }
    }
}
