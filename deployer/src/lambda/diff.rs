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
    Live(Version),
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
