//! Profiles kept by everything they depend on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tranche_schema::{
    Digest, Document as _, DocumentError, Environment, LimitsEnforced, MilliCpu, ModelIdentity, Profile,
    ProfileSettings, TensorSpec,
};

/// What is measured and how: raised with every change to either that readers of the format do not see, so
/// that nobody plans with a kept profile that lacks something.
const MEASURING: u32 = 2;

/// What a profile depends on.
#[derive(Clone, Debug)]
pub struct CacheKey<'a> {
    /// The model.
    pub model: &'a ModelIdentity,
    /// Its dimensions as bound.
    pub dimensions: &'a BTreeMap<String, u64>,
    /// Its inputs as bound.
    pub inputs: &'a [TensorSpec],
    /// The machine and the engine.
    pub environment: &'a Environment,
    /// The run's settings.
    pub settings: &'a ProfileSettings,
    /// Digest of the layers' names: another coarsening is another profile.
    pub layers: &'a Digest,
    /// Digest of the input values.
    pub values: &'a Digest,
    /// Whether the engine optimises the graph.
    pub optimise: bool,
    /// Further CPU shares.
    pub shares: &'a [MilliCpu],
    /// Whether the memory needed is looked for.
    pub memory_search: bool,
    /// What can be limited here: less is measured where nothing can be.
    pub limits: LimitsEnforced,
}

impl CacheKey<'_> {
    /// The file of this key below `folder`.
    ///
    /// # Errors
    /// When a part has no JSON form.
    pub fn file(&self, folder: &Path) -> Result<PathBuf, serde_json::Error> {
        let text = serde_json::to_string(&(
            Profile::FORMAT,
            (Profile::VERSION, MEASURING),
            self.model,
            self.dimensions,
            self.inputs,
            self.environment,
            self.settings,
            self.layers,
            self.values,
            (self.optimise, self.shares, self.memory_search, self.limits),
        ))?;
        Ok(folder.join(format!("{}.json", Digest::of(text.as_bytes()).hex())))
    }
}

/// The profile kept in `file`; `None` when there is none or it is unreadable,
/// as after an update of the format.
#[must_use]
pub fn load(file: &Path) -> Option<Profile> {
    Profile::read(file).ok()
}

/// Keeps a profile.
///
/// # Errors
/// When the file cannot be written.
pub fn store(file: &Path, profile: &Profile) -> Result<(), DocumentError> {
    profile.write(file)
}
