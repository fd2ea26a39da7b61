//! `--locked`: going on only with what the lock file holds.

use crate::arguments::LockedArguments;
use crate::failure::Failure;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tranche_engine::Engine;
use tranche_schema::{Digest, Document as _, Lock, Manifest, Plan, Profile, exit_code};

/// One thing that is not as locked, for the failure's JSON twin.
#[derive(Clone, Debug, Serialize)]
struct Difference {
    /// `model`, `profile`, `plan`, `bundle`, `engine`, `engine-version` or `tranche-version`.
    what: &'static str,
    /// The file or folder; none for versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// As the lock file says.
    locked: String,
    /// As it is.
    found: String,
}

#[derive(Serialize)]
struct Details<'a> {
    lock: &'a Path,
    differences: &'a [Difference],
}

/// Compares what a verb is given, and what it makes, with the lock file. Without
/// `--locked` everything is as locked.
pub struct Check {
    lock: Option<(PathBuf, Lock)>,
    differences: Vec<Difference>,
}

impl Check {
    /// Reads the lock file where `--locked` was given.
    ///
    /// # Errors
    /// When it is not there or is no lock file.
    pub fn open(arguments: &LockedArguments) -> Result<Self, Failure> {
        let Some(path) = &arguments.locked else {
            return Ok(Self { lock: None, differences: vec![] });
        };
        if !path.exists() {
            return Err(Failure::usage(format!("there is no {}", path.display()))
                .hint("`tranche lock MODEL` writes it, from a profile, a plan and a bundle; commit it"));
        }
        let lock = Lock::read(path)?;
        let mut check = Self { lock: Some((path.clone(), lock.clone())), differences: vec![] };
        check.text("tranche-version", &lock.tranche_version, env!("CARGO_PKG_VERSION"));
        Ok(check)
    }

    /// Whether `--locked` was given.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lock.is_some()
    }

    /// The digest that a bundle must have.
    #[must_use]
    pub fn expected_bundle(&self) -> Option<&Digest> {
        self.lock.as_ref().map(|(_, lock)| &lock.bundle_digest)
    }

    /// An engine that slices would run on.
    pub fn engine(&mut self, engine: &dyn Engine) -> &mut Self {
        self.engine_name(engine.name());
        // Versions of different engines say nothing.
        if let Some((_, lock)) = self.lock.clone()
            && lock.engine == engine.name()
        {
            self.text("engine-version", &lock.engine_version, &engine.version());
        }
        self
    }

    /// An engine by name.
    pub fn engine_name(&mut self, name: &str) -> &mut Self {
        if let Some((_, lock)) = self.lock.clone() {
            self.text("engine", &lock.engine, name);
        }
        self
    }

    /// A model's digest.
    pub fn model(&mut self, path: &Path, found: &Digest) -> &mut Self {
        self.digest("model", path, found, |lock| &lock.model.digest)
    }

    /// A profile that was read.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn profile(&mut self, path: &Path, profile: &Profile) -> Result<&mut Self, Failure> {
        let found = Digest::of(profile.to_json()?.as_bytes());
        Ok(self.digest("profile", path, &found, |lock| &lock.profile_digest))
    }

    /// A plan that was read or made.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn plan(&mut self, path: &Path, plan: &Plan) -> Result<&mut Self, Failure> {
        let found = Digest::of(plan.to_json()?.as_bytes());
        Ok(self.digest("plan", path, &found, |lock| &lock.plan_digest))
    }

    /// A bundle by its manifest.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn manifest(&mut self, bundle: &Path, manifest: &Manifest) -> Result<&mut Self, Failure> {
        let plan = bundle.join(Manifest::PLAN_FILE);
        self.digest("plan", &plan, &manifest.plan_digest, |lock| &lock.plan_digest);
        let found = Digest::of(manifest.to_json()?.as_bytes());
        Ok(self.bundle(bundle, &found))
    }

    /// A bundle by its digest.
    pub fn bundle(&mut self, bundle: &Path, found: &Digest) -> &mut Self {
        self.digest("bundle", bundle, found, |lock| &lock.bundle_digest)
    }

    /// A failure that names everything that was not as locked.
    ///
    /// # Errors
    /// Then.
    pub fn end(&mut self) -> Result<(), Failure> {
        let Some((path, lock)) = self.lock.as_ref().filter(|_| !self.differences.is_empty()) else {
            return Ok(());
        };
        let said: Vec<String> = self.differences.iter().map(describe).collect();
        let message = format!("not what {} holds: {}", path.display(), said.join("; "));
        Err(Failure::new("lock", exit_code::NOT_LOCKED, message)
            .hint(hint(&self.differences, lock))
            .details(&Details { lock: path, differences: &self.differences }))
    }

    fn digest(
        &mut self,
        what: &'static str,
        path: &Path,
        found: &Digest,
        of: impl FnOnce(&Lock) -> &Digest,
    ) -> &mut Self {
        if let Some((_, lock)) = &self.lock {
            let locked = of(lock);
            if locked != found {
                self.differences.push(Difference {
                    what,
                    path: Some(path.display().to_string()),
                    locked: locked.to_string(),
                    found: found.to_string(),
                });
            }
        }
        self
    }

    fn text(&mut self, what: &'static str, locked: &str, found: &str) {
        if locked != found {
            let (locked, found) = (locked.to_owned(), found.to_owned());
            self.differences.push(Difference { what, path: None, locked, found });
        }
    }
}

fn describe(difference: &Difference) -> String {
    let Difference { what, path, locked, found } = difference;
    match path {
        Some(path) => format!("{what} {path} is {found}, locked is {locked}"),
        None => format!("{} is {found}, locked is {locked}", what.replace('-', " ")),
    }
}

/// The first stage that changed decides what to do: what follows from it changed with it.
fn hint(differences: &[Difference], lock: &Lock) -> String {
    let changed = |what| differences.iter().any(|difference| difference.what == what);
    let verbs = if changed("model") || changed("engine") || changed("engine-version") {
        "profile, partition, package and verify again"
    } else if changed("profile") {
        "partition, package and verify again"
    } else if changed("plan") {
        "package and verify again"
    } else {
        "package again"
    };
    let put_back = if changed("tranche-version") {
        format!("use tranche {}", lock.tranche_version)
    } else {
        "put back what was locked".to_owned()
    };
    format!("{put_back}; or, when the change is meant, {verbs} without `--locked`, then `tranche lock MODEL`")
}
