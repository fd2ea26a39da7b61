//! tranche.lock: the model, profile, plan and bundle that a repository stands by.

use crate::{Digest, Document, Header, ModelIdentity};
use serde::{Deserialize, Serialize};

/// tranche.lock, made to be committed: no time, no path, nothing of the machine that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Format and version.
    pub header: Header,
    /// Version of tranche that packaged the bundle.
    pub tranche_version: String,
    /// Engine that the profile measured and the slices run on.
    pub engine: String,
    /// Its version.
    pub engine_version: String,
    /// The model, external data included in its digest.
    pub model: ModelIdentity,
    /// Digest of the profile's JSON, as plans name it.
    pub profile_digest: Digest,
    /// Digest of the plan's JSON, as manifests name it.
    pub plan_digest: Digest,
    /// Digest of the bundle's manifest.json, as records of verification name it.
    pub bundle_digest: Digest,
}

impl Document for Lock {
    const FORMAT: &'static str = "tranche-lock";
    const VERSION: u32 = 1;
}

impl Lock {
    /// Where it lies unless told otherwise.
    pub const FILE: &'static str = "tranche.lock";
}
