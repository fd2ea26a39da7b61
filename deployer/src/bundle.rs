use crate::DeployError;
use std::path::{Component, Path, PathBuf};
use tranche_schema::{Digest, Document, Manifest, Verification};

/// What to check of a bundle beyond its manifest and the sizes of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleChecks {
    /// The digest of every file.
    pub digests: bool,
    /// The verification beside it.
    pub verification: bool,
}

/// A bundle on disk.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Digest of manifest.json: the bundle's identity.
    pub digest: Digest,
}

impl Bundle {
    /// Reads the manifest of the bundle in `folder`.
    ///
    /// # Errors
    /// When there is none, or it names a file outside the bundle, or no slices.
    pub fn open(folder: &Path) -> Result<Self, DeployError> {
        let folder = std::fs::canonicalize(folder).map_err(DeployError::file("open", folder))?;
        let path = folder.join(Manifest::FILE);
        let text = std::fs::read_to_string(&path).map_err(DeployError::file("read", &path))?;
        let bundle = Self {
            manifest: Manifest::from_json(&text, &path)?,
            digest: Digest::of(text.as_bytes()),
            folder,
        };
        bundle.check_names()?;
        Ok(bundle)
    }

    /// Path of the manifest.
    #[must_use]
    pub fn manifest_path(&self) -> PathBuf {
        self.folder.join(Manifest::FILE)
    }

    /// Compares the files with the manifest and, as `checks` asks, their digests
    /// and the verification.
    ///
    /// # Errors
    /// When a file is missing or differs, or no verification of this very bundle
    /// has passed.
    pub fn check(&self, checks: BundleChecks) -> Result<(), DeployError> {
        for file in &self.manifest.files {
            let path = self.folder.join(&file.path);
            let found = std::fs::metadata(&path).map_err(DeployError::file("read", &path))?.len();
            if found != file.bytes.0 {
                return Err(self.damaged(format!(
                    "{} has {found} bytes, the manifest says {}",
                    file.path, file.bytes.0
                )));
            }
        }
        // Cheap checks of every file come before dear ones of any.
        if checks.verification {
            self.check_verification()?;
        }
        for file in self.manifest.files.iter().filter(|_| checks.digests) {
            let path = self.folder.join(&file.path);
            if Digest::of_file(&path).map_err(DeployError::file("read", &path))? != file.digest {
                return Err(self.damaged(format!("{} differs from its digest in the manifest", file.path)));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), DeployError> {
        let inside = |path: &str| {
            !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
        };
        if let Some(file) = self.manifest.files.iter().find(|file| !inside(&file.path)) {
            return Err(self.damaged(format!("`{}` is no path inside the bundle", file.path)));
        }
        let mut names: Vec<&str> = self.manifest.slices.iter().map(|slice| slice.name.as_str()).collect();
        if names.is_empty() {
            return Err(self.damaged("it has no slices".to_owned()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let valid = |name: &&str| {
            !name.is_empty()
                && name.len() <= 128
                && !name.starts_with(['.', '-'])
                && name.chars().all(allowed)
        };
        if let Some(name) = names.iter().find(|name| !valid(name)) {
            return Err(self.damaged(format!("`{name}` cannot name a function")));
        }
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
            return Err(self.damaged(format!("two slices are named `{name}`")));
        }
        Ok(())
    }

    fn check_verification(&self) -> Result<(), DeployError> {
        let path = Verification::path_beside(&self.folder);
        let unverified = |reason: String| DeployError::Unverified { bundle: self.folder.clone(), reason };
        if !path.exists() {
            return Err(unverified(format!("there is no {}", path.display())));
        }
        let verification = Verification::read(&path)?;
        if verification.bundle_digest != self.digest {
            return Err(unverified(format!("{} is of another bundle", path.display())));
        }
        if !verification.passed {
            return Err(unverified(format!("{} says that outputs differ", path.display())));
        }
        Ok(())
    }

    fn damaged(&self, reason: String) -> DeployError {
        DeployError::Bundle { bundle: self.folder.clone(), reason }
    }
}
