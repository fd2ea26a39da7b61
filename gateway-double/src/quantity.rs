//! Kubernetes quantities, as providers read them.

/// Value of a quantity in whole units, rounded up, or `None` for text that is none.
///
/// `128974848`, `129e6`, `129M`, `123Mi`, `500m`. Grammar:
/// `k8s.io/apimachinery/pkg/api/resource.Quantity`. `64MB` is none: there is no suffix `MB`.
pub(crate) fn quantity(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (numerator, denominator) = factor(suffix)?;
    let denominator = denominator.checked_mul(10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    u64::try_from(digits.checked_mul(numerator)?.div_ceil(denominator)).ok()
}

/// A suffix as a fraction.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let power = |base: u128, exponent: u32| Some((base.pow(exponent), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quantity;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        for (text, value) in [
            ("64Mi", 67_108_864),
            ("128M", 128_000_000),
            ("1.5Gi", 1_610_612_736),
            ("129e6", 129_000_000),
            ("500m", 1),
            ("1500m", 2),
            ("0.5", 1),
            ("7", 7),
        ] {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
    }

    #[test]
    fn other_spellings_are_no_quantities() {
        for text in ["64MB", "12Q", "", "Mi", "1 Mi", "-1Mi", "1.2.3", "99999999999Ei", "1e99"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_themselves(number: u64) {
            prop_assert_eq!(quantity(&number.to_string()), Some(number));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = quantity(&text);
        }
    }
}
