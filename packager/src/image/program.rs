//! The image of a program that is no function: tranche's own, for pipelines.

use super::layer::Content;
use super::layout::{Image, Layout};
use super::oci::Execution;
use super::runtime::{LIBRARIES, libraries_content};
use super::{ImageError, USER, base, write_archive};
use crate::PackageError;
use crate::elf::{Binary, find_libraries};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tranche_schema::{Digest, LayerPurpose};

/// Folder that the program starts in, for anybody to write to.
const WORK: &str = "work";

/// What to make the image of a program of.
#[derive(Clone, Debug)]
pub struct ProgramRequest<'a> {
    /// Its name, also that of the image.
    pub name: &'a str,
    /// What it does, for the labels.
    pub description: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The program.
    pub program: &'a Path,
    /// Where it lies in the image, as `usr/bin/tranche`.
    pub path: &'a str,
    /// What lies beside it.
    pub beside: Content,
    /// Folders searched for libraries before the host's.
    pub library_folders: Vec<PathBuf>,
}

/// Makes the image, which starts the program in `/work`, and writes it as an OCI archive with
/// the libraries that the program needs. Gives the digest of the image's manifest. Equal
/// inputs give equal bytes.
///
/// # Errors
/// When the program is none, is damaged or needs what is not there, or when a file cannot be
/// read or written. Nothing is left behind then.
pub fn write_program_archive(request: &ProgramRequest<'_>, archive: &Path) -> Result<Digest, PackageError> {
    let program = Binary::read(request.program)?;
    if !program.is_program() {
        return Err(ImageError::NoProgram { shim: program.path }.into());
    }
    let libraries = find_libraries(&[&program], &request.library_folders)?;
    let folder = tempfile::tempdir().map_err(PackageError::io(archive))?;
    let mut layout = Layout::new(folder.path())?;
    let mut layers = vec![layout.layer(LayerPurpose::Base, &base().folder(WORK, 0o1777))?];
    if let Some(content) = libraries_content(&libraries, None) {
        layers.push(layout.layer(LayerPurpose::Engine, &content)?);
    }
    let content = request.beside.clone().program(request.path, &program.path);
    layers.push(layout.layer(LayerPurpose::Program, &content)?);
    let execution = execution(request, libraries.loader.is_some());
    let image = Image { name: request.name, architecture: program.architecture, execution, layers };
    let digest = layout.image(image)?;
    layout.finish(BTreeMap::new())?;
    write_archive(folder.path(), archive)?;
    Ok(digest)
}

fn execution(request: &ProgramRequest<'_>, has_loader: bool) -> Execution {
    let mut environment = vec!["HOME=/tmp".to_owned(), "PATH=/usr/bin:/bin".to_owned()];
    if has_loader {
        environment.insert(1, format!("LD_LIBRARY_PATH=/{LIBRARIES}"));
    }
    let words = [
        ("org.opencontainers.image.description", request.description),
        ("org.opencontainers.image.title", request.name),
        ("org.opencontainers.image.vendor", "tranche"),
        ("org.opencontainers.image.version", request.version),
    ];
    Execution {
        user: format!("{USER}:{USER}"),
        exposed_ports: BTreeMap::new(),
        env: environment,
        entrypoint: vec![format!("/{}", request.path)],
        working_dir: format!("/{WORK}"),
        labels: words.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        stop_signal: "SIGTERM".to_owned(),
    }
}
