//! The programs and libraries of zip files, which run on Amazon Linux 2023's own C library.

use super::LambdaError;
use super::limits::{GIVEN_LIBRARIES, GLIBC};
use crate::PackageError;
use crate::elf::{Binary, Libraries, find_libraries_beside};
use crate::image::ImageRequest;
use crate::image::layer::Content;
use crate::image::runtime::{LICENCES, ONNXRUNTIME, programs};
use std::path::{Path, PathBuf};

/// Folder of the libraries in a zip file or a layer; both are in Lambda's `LD_LIBRARY_PATH`
/// as `/var/task/lib` and `/opt/lib`.
const LIBRARIES: &str = "lib";
/// The engine's library, below `/var/task` or `/opt`.
pub(super) const ENGINE: &str = "lib/libonnxruntime.so";
/// The function's program.
pub(super) const BOOTSTRAP: &str = "bootstrap";

/// Folder of the slice's bundle in a zip file.
pub(super) const BUNDLE: &str = "bundle/";

/// What runs slices in zip files.
#[derive(Debug)]
pub(super) struct ZipRuntime {
    pub(super) shim: Binary,
    pub(super) engine: Option<Binary>,
    /// What neither the system nor the programs bring.
    pub(super) libraries: Libraries,
}

impl ZipRuntime {
    /// Reads the programs, finds their libraries and checks that Amazon Linux 2023 loads all.
    pub(super) fn find(request: &ImageRequest, engine: &str) -> Result<Self, PackageError> {
        let (shim, library) = programs(request, engine)?;
        let roots: Vec<&Binary> = [&shim].into_iter().chain(&library).collect();
        let libraries = find_system_libraries(&roots, &request.library_folders)?;
        Ok(Self { shim, engine: library, libraries })
    }

    /// The program.
    pub(super) fn shim_content(&self) -> Content {
        Content::default().program(BOOTSTRAP, &self.shim.path)
    }

    /// Adds the engine's library and what it needs; nothing where the engine is built in.
    pub(super) fn add_engine(&self, mut content: Content) -> Content {
        if let Some(engine) = &self.engine {
            content = content.file(ENGINE, &engine.path);
            let folder = engine.path.parent().unwrap_or(Path::new(""));
            for name in LICENCES {
                let licence = folder.join(name);
                if licence.is_file() {
                    content = content.file(&format!("licences/{ONNXRUNTIME}/{name}"), &licence);
                }
            }
        }
        for (name, library) in &self.libraries.files {
            content = content.file(&format!("{LIBRARIES}/{name}"), &library.path);
        }
        content
    }
}

/// Libraries that `roots` need beside what Amazon Linux 2023 has.
pub(super) fn find_system_libraries(
    roots: &[&Binary],
    folders: &[PathBuf],
) -> Result<Libraries, PackageError> {
    let libraries = find_libraries_beside(roots, folders, &GIVEN_LIBRARIES)?;
    for binary in roots.iter().copied().chain(libraries.files.values()) {
        check_glibc(binary)?;
    }
    Ok(libraries)
}

fn check_glibc(binary: &Binary) -> Result<(), LambdaError> {
    match binary.glibc() {
        Some(needs) if needs > GLIBC => {
            Err(LambdaError::Glibc { path: binary.path.clone(), needs, has: GLIBC })
        }
        _ => Ok(()),
    }
}
