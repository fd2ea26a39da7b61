/// Longest name of a function: it becomes a DNS label.
pub const LONGEST_NAME: usize = 63;

/// Digits of a generation.
pub(super) const GENERATION_DIGITS: usize = 8;

/// Whether OpenFaaS takes `name` for a function
/// (`faas-netes/pkg/handlers/validate.go`).
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `{deployment}-{slice}-{generation}`, a DNS label whatever the slice's name.
///
/// What a label cannot hold becomes `-`, and what is too long is cut: the
/// generation covers the slice's whole name and so keeps functions apart.
#[must_use]
pub fn function_name(deployment: &str, slice: &str, generation: &str) -> String {
    let plain = |text: &str| -> String {
        let keep = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        text.chars().map(keep).collect()
    };
    let mut name = format!("{}-{}", plain(deployment), plain(slice));
    name.truncate(LONGEST_NAME.saturating_sub(generation.len() + 1));
    format!("{}-{generation}", name.trim_matches('-'))
}

/// `text` as the value of a Kubernetes label: at most 63 letters, digits, `-`,
/// `_` and `.`, beginning and ending with a letter or digit.
#[must_use]
pub fn label_value(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let value: String = text.chars().map(keep).take(LONGEST_NAME).collect();
    value.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Whether Kubernetes takes `value` for a label.
pub(super) fn is_label_value(value: &str) -> bool {
    value.len() <= LONGEST_NAME && label_value(value) == value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_say_what_runs() {
        assert_eq!(function_name("toy", "slice-0", "0123abcd"), "toy-slice-0-0123abcd");
        assert_eq!(function_name("toy", "Slice_0.a", "0123abcd"), "toy-slice-0-a-0123abcd");
        let long = function_name(&"d".repeat(63), "s", "0123abcd");
        assert_eq!((long.len(), long.ends_with("d-0123abcd")), (63, true));
        assert!(!is_dns_label("Slice_A") && !is_dns_label("-a") && !is_dns_label("a-") && !is_dns_label(""));
        assert_eq!(label_value("_Slice é_"), "Slice");
    }

    proptest! {
        #[test]
        fn every_slice_gets_a_valid_name(deployment in "[a-z0-9][-a-z0-9]{0,62}", slice in "\\PC{1,128}") {
            prop_assert!(is_dns_label(&function_name(&deployment, &slice, "0123abcd")));
            prop_assert!(is_label_value(&label_value(&slice)));
        }
    }
}
