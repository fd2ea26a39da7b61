use super::limits::{NAME_LENGTH, TAG_VALUE_LENGTH};
use tranche_schema::Digest;

/// Digits by which names that had to be changed are told apart.
const DIGITS: usize = 8;

/// `{deployment}-{slice}`, which Lambda takes for a function whatever the slice's name.
///
/// What a name cannot hold becomes `-`, and what is too long is cut; such a name ends in the
/// start of a digest of the whole one, so that two slices never share it.
#[must_use]
pub fn function_name(deployment: &str, slice: &str) -> String {
    let whole = format!("{deployment}-{slice}");
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let plain: String = whole.chars().map(keep).collect();
    if plain == whole && whole.len() <= NAME_LENGTH {
        return whole;
    }
    let digest = Digest::of(whole.as_bytes());
    let digits = digest.hex().get(..DIGITS).unwrap_or_default();
    let kept: String = plain.chars().take(NAME_LENGTH - DIGITS - 1).collect();
    format!("{}-{digits}", kept.trim_matches('-'))
}

/// Whether Lambda takes `name` for a function (`CreateFunction`, `FunctionName`).
pub(super) fn is_function_name(name: &str) -> bool {
    (1..=NAME_LENGTH).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `text` as the value of a tag: letters, digits, spaces and `_.:/=+-@`, at most 256
/// (Tagging AWS resources, "Tag naming limits and requirements").
#[must_use]
pub fn tag_value(text: &str) -> String {
    text.chars().map(|c| if is_tag_character(c) { c } else { '-' }).take(TAG_VALUE_LENGTH).collect()
}

pub(super) fn is_tag_character(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_say_what_runs() {
        assert_eq!(function_name("toy", "slice-0"), "toy-slice-0");
        assert_eq!(function_name("toy", "Slice_0.a"), "toy-Slice_0-a-e7f6a7b4");
        let long = function_name(&"d".repeat(60), "slice-0");
        assert_eq!((long.len(), &long[..56]), (64, format!("{}-", "d".repeat(55)).as_str()));
        assert!(!is_function_name("") && !is_function_name("a.b") && !is_function_name(&"a".repeat(65)));
        assert_eq!(tag_value("slice\n0 é"), "slice-0 é");
    }

    proptest! {
        #[test]
        fn every_slice_gets_a_valid_name_of_its_own(
            deployment in "[a-z0-9][-a-z0-9]{0,62}", slice in "\\PC{1,128}", other in "\\PC{1,128}",
        ) {
            let name = function_name(&deployment, &slice);
            prop_assert!(is_function_name(&name), "{name}");
            prop_assert_eq!(name == function_name(&deployment, &other), slice == other);
        }
    }
}
