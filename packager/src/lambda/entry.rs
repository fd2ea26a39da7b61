//! The package of the function that walks whole requests.

use super::describe::ENTRY;
use super::limits::INLINE_ZIP_BYTES;
use super::runtime::{BOOTSTRAP, find_system_libraries};
use super::{LambdaError, architecture_name, archive, choice};
use crate::PackageError;
use crate::elf::Binary;
use crate::image::ImageError;
use crate::image::layer::Content;
use std::path::{Path, PathBuf};
use tranche_schema::{
    ByteCount, Deployment, Document as _, LambdaIndex, LambdaPackage, LambdaPackageKind, write_atomically,
};

/// The deployment in the zip file.
pub(super) const DEPLOYMENT: &str = "deployment.json";
/// The zip file below the packages. No slice's file is in a folder of this name.
const FILE: &str = "entry/bootstrap.zip";

/// What to make the entry of.
#[derive(Clone, Debug)]
pub struct EntryRequest<'a> {
    /// The program.
    pub program: &'a Path,
    /// What it serves.
    pub deployment: &'a Deployment,
    /// Folders searched for libraries before the host's.
    pub library_folders: Vec<PathBuf>,
    /// The folder that [`build_packages`](super::build_packages) made.
    pub packages: &'a Path,
}

/// Adds the entry to a folder of packages: a zip file of `bootstrap`, the program, and
/// `deployment.json`. A former entry is replaced; lambda.json is written last.
///
/// # Errors
/// When the folder holds no packages; when the program is none, is damaged, is for another
/// machine than the packages or needs what Amazon Linux 2023 lacks; when the zip file is
/// beyond what a call takes; or when a file cannot be read or written.
pub fn add_entry(request: &EntryRequest<'_>) -> Result<LambdaPackage, PackageError> {
    let path = request.packages.join(LambdaIndex::FILE);
    let mut index = LambdaIndex::read(&path)?;
    let content = content(request, &index)?;
    let file = request.packages.join(FILE);
    let folder = file.parent().unwrap_or(request.packages);
    std::fs::create_dir_all(folder).map_err(PackageError::io(folder))?;
    let written = archive::write_archive(&content, &file)?;
    if written.bytes.0 > INLINE_ZIP_BYTES {
        let reason = format!(
            "the zip file has {}, calls take {}",
            choice::exact(written.bytes),
            choice::exact(ByteCount(INLINE_ZIP_BYTES))
        );
        std::fs::remove_file(&file).map_err(PackageError::io(&file))?;
        return Err(LambdaError::TooLarge { slice: ENTRY.to_owned(), reason }.into());
    }
    let package = LambdaPackage {
        slice: ENTRY.to_owned(),
        kind: LambdaPackageKind::ZipInline,
        reason: format!("its zip file has {}", written.bytes),
        file: Some(FILE.to_owned()),
        bytes: written.bytes,
        unzipped_bytes: written.unzipped,
        digest: written.digest,
        layers: vec![],
    };
    index.entry = Some(package.clone());
    write_atomically(&path, index.to_json()?.as_bytes()).map_err(PackageError::io(&path))?;
    Ok(package)
}

fn content(request: &EntryRequest<'_>, index: &LambdaIndex) -> Result<Content, PackageError> {
    let program = Binary::read(request.program)?;
    if !program.is_program() {
        return Err(ImageError::NoProgram { shim: program.path }.into());
    }
    let found = architecture_name(program.architecture);
    if found != index.architecture {
        let (found, expected) = (found.to_owned(), index.architecture.clone());
        return Err(LambdaError::OtherArchitecture { program: program.path, found, expected }.into());
    }
    let libraries = find_system_libraries(&[&program], &request.library_folders)?;
    let mut content =
        Content::default().program(BOOTSTRAP, &program.path).bytes(DEPLOYMENT, request.deployment.to_json()?);
    for (name, library) in &libraries.files {
        content = content.file(&format!("lib/{name}"), &library.path);
    }
    Ok(content)
}
