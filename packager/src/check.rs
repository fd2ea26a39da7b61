use crate::PackageError;
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path};
use tranche_schema::{Digest, Document as _, FileEntry, Manifest};

/// Reads a bundle's manifest and checks every file against its size and digest.
///
/// Checks also that the manifest fits together: paths stay below the bundle,
/// each appears once, slices name listed files, and plan.json is the plan that
/// was packaged. Files that the manifest does not list are ignored.
///
/// # Errors
/// When the manifest cannot be read or contradicts itself, or a file is missing
/// or differs; the error names the file.
pub fn check_bundle(bundle: &Path) -> Result<Manifest, PackageError> {
    let path = bundle.join(Manifest::FILE);
    let manifest = Manifest::read(&path)?;
    check_manifest(&manifest).map_err(|what| PackageError::InvalidManifest { path, what })?;
    for entry in &manifest.files {
        check_file(bundle, entry)?;
    }
    Ok(manifest)
}

fn check_manifest(manifest: &Manifest) -> Result<(), String> {
    let mut files: HashMap<&str, &FileEntry> = HashMap::new();
    for entry in &manifest.files {
        if !is_below(&entry.path) {
            return Err(format!("file `{}` is not below the bundle", entry.path.escape_default()));
        }
        if files.insert(&entry.path, entry).is_some() {
            return Err(format!("file `{}` is listed twice", entry.path));
        }
    }
    let plan = files.get(Manifest::PLAN_FILE).ok_or("it lists no plan.json")?;
    if plan.digest != manifest.plan_digest {
        return Err("its plan digest is not that of the plan.json it lists".to_owned());
    }
    if manifest.slices.is_empty() {
        return Err("it has no slice".to_owned());
    }
    let mut names = HashSet::new();
    for slice in &manifest.slices {
        if !names.insert(&slice.name) {
            return Err(format!("two slices are named `{}`", slice.name));
        }
        for path in std::iter::once(&slice.model).chain(&slice.members).chain(&slice.weights) {
            if !files.contains_key(path.as_str()) {
                return Err(format!("slice `{}` needs `{path}`, which is not listed", slice.name));
            }
        }
    }
    Ok(())
}

/// Whether a path is relative and never leaves the folder it is below.
fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\\')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn check_file(bundle: &Path, entry: &FileEntry) -> Result<(), PackageError> {
    let path = bundle.join(&entry.path);
    let damaged = |what: String| PackageError::Damaged { path: path.clone(), what };
    let found = std::fs::symlink_metadata(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => damaged("it is missing".to_owned()),
        _ => PackageError::io(&path)(error),
    })?;
    if !found.is_file() {
        return Err(damaged("it is not a plain file".to_owned()));
    }
    if found.len() != entry.bytes.0 {
        return Err(damaged(format!("it has {} bytes, packaged were {}", found.len(), entry.bytes.0)));
    }
    let digest = Digest::of_file(&path).map_err(PackageError::io(&path))?;
    if digest != entry.digest {
        return Err(damaged(format!(
            "its digest is {}, packaged was {}",
            digest.short(),
            entry.digest.short()
        )));
    }
    Ok(())
}
