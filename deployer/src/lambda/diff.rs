//! What becomes of each function; no call is made here.

use super::configuration::Configuration;
use std::collections::BTreeMap;

/// A version as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub number: String,
    pub configuration: Configuration,
}

/// A function as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// There is none of that name.
    Absent,
    /// The alias names a version.
    Live(Box<Version>),
    /// A deploy was cut off before it had an alias.
    NoAlias,
}

/// A function as it is, with what belongs to it and to none of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub presence: Presence,
    pub tags: BTreeMap<String, String>,
    pub reserved_concurrency: Option<u32>,
}

impl Found {
    pub const ABSENT: Self =
        Self { presence: Presence::Absent, tags: BTreeMap::new(), reserved_concurrency: None };

    pub fn version(&self) -> Option<&str> {
        match &self.presence {
            Presence::Live(version) => Some(&version.number),
            Presence::Absent | Presence::NoAlias => None,
        }
    }
}

/// What becomes of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is made.
    Create,
    /// It gets a new version.
    Update,
    /// It runs as wanted.
    Keep,
}

/// What becomes of a function that is wanted so.
pub(super) fn step(found: &Found, wanted: &Configuration) -> Step {
    match &found.presence {
        Presence::Absent => Step::Create,
        Presence::NoAlias => Step::Update,
        Presence::Live(version) if version.configuration == *wanted => Step::Keep,
        Presence::Live(_) => Step::Update,
    }
}

/// As it is and as it will be, in words; `None` where it is not or nothing changes.
pub(super) fn describe(found: &Found, wanted: &Configuration) -> (Option<String>, Option<String>) {
    match &found.presence {
        Presence::Absent => (None, Some(wanted.summary())),
        Presence::NoAlias => (Some("not in use".to_owned()), Some(wanted.summary())),
        Presence::Live(version) => {
            let is = &version.configuration;
            let from = format!("version {}, {}", version.number, is.summary());
            if is == wanted {
                return (Some(from.clone()), Some(from));
            }
            let mut to = wanted.summary();
            for difference in is.differences(wanted) {
                to.push_str(", ");
                to.push_str(&difference);
            }
            if is.architecture != wanted.architecture {
                to.push_str(&format!(", architecture {} -> {}", is.architecture, wanted.architecture));
            }
            (Some(from), Some(to))
        }
    }
}

/// Tags that are missing or have another value.
pub(super) fn changed_tags(
    found: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let differs = |(key, value): &(&String, &String)| found.get(*key) != Some(*value);
    wanted.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn configuration() -> Configuration {
        Configuration {
            code: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
            architecture: "x86_64".to_owned(),
            runtime: "provided.al2023".to_owned(),
            handler: "bootstrap".to_owned(),
            role: "arn:aws:iam::000000000000:role/a".to_owned(),
            memory_mib: 1769,
            timeout_s: 120,
            ephemeral_storage_mib: 512,
            environment: [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())].into(),
            ..Configuration::default()
        }
    }

    fn found(presence: Presence) -> Found {
        Found { presence, ..Found::ABSENT }
    }

    fn live(configuration: Configuration) -> Found {
        found(Presence::Live(Box::new(Version { number: "3".to_owned(), configuration })))
    }

    #[test]
    fn each_change_is_shown_and_no_value_of_a_variable() {
        let mut wanted = configuration();
        wanted.memory_mib = 3538;
        wanted.layers = vec!["arn:layer:1".to_owned()];
        wanted.architecture = "arm64".to_owned();
        wanted.snap_start = true;
        wanted.environment = [("A".to_owned(), "secret".to_owned()), ("C".to_owned(), "2".to_owned())].into();
        let shown = |found: &Found, wanted: &Configuration| {
            let (from, to) = describe(found, wanted);
            format!("{:?}: {} => {}", step(found, wanted), from.unwrap_or_default(), to.unwrap_or_default())
        };
        insta::assert_snapshot!(
            [
                shown(&Found::ABSENT, &wanted),
                shown(&found(Presence::NoAlias), &wanted),
                shown(&live(configuration()), &configuration()),
                shown(&live(configuration()), &wanted),
            ]
            .join("\n"),
            @r"
        Create:  => 3538 MiB, 120 s, code 47DEQpj8HBSa
        Update: not in use => 3538 MiB, 120 s, code 47DEQpj8HBSa
        Keep: version 3, 1769 MiB, 120 s, code 47DEQpj8HBSa => version 3, 1769 MiB, 120 s, code 47DEQpj8HBSa
        Update: version 3, 1769 MiB, 120 s, code 47DEQpj8HBSa => 3538 MiB, 120 s, code 47DEQpj8HBSa, memory 1769 -> 3538 MiB, layers none -> arn:layer:1, snap start off -> on, variable A, variable B, variable C, architecture x86_64 -> arm64
        "
        );
    }

    fn any_configuration() -> impl Strategy<Value = Configuration> {
        let environment = proptest::collection::btree_map("[A-C]", "[0-1]", 0..3);
        (0_u32..3, 0_u32..3, "[a-b]", "[a-b]", environment, any::<bool>()).prop_map(
            |(memory_mib, timeout_s, code, architecture, environment, snap_start)| Configuration {
                memory_mib,
                timeout_s,
                code,
                architecture,
                environment,
                snap_start,
                ..configuration()
            },
        )
    }

    proptest! {
        #[test]
        fn a_function_is_kept_if_and_only_if_nothing_differs(is in any_configuration(), wanted in any_configuration()) {
            let kept = step(&live(is.clone()), &wanted) == Step::Keep;
            prop_assert_eq!(kept, is.same_code(&wanted) && is.differences(&wanted).is_empty());
            prop_assert_eq!(kept, is == wanted);
            let (from, to) = describe(&live(is), &wanted);
            prop_assert_eq!(kept, from == to);
        }

        #[test]
        fn changed_tags_make_the_found_ones_the_wanted_ones(
            found in proptest::collection::btree_map("[a-d]", "[0-2]", 0..4),
            wanted in proptest::collection::btree_map("[a-d]", "[0-2]", 0..4),
        ) {
            let changed = changed_tags(&found, &wanted);
            let mut after = found.clone();
            after.extend(changed.clone());
            prop_assert!(wanted.iter().all(|(key, value)| after.get(key) == Some(value)));
            prop_assert!(changed_tags(&after, &wanted).is_empty());
            prop_assert!(found.keys().all(|key| after.contains_key(key)));
        }
    }
}
