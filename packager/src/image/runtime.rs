//! The programs and libraries that every image of a bundle shares.

use super::layer::Content;
use super::{ImageError, ImageRequest};
use crate::PackageError;
use crate::elf::{Architecture, Binary, Libraries, find_libraries};
use std::path::Path;

/// Path of the function's program.
pub(super) const SHIM: &str = "tranche/tranche-shim";
/// Folder of the libraries.
pub(super) const LIBRARIES: &str = "tranche/lib";
/// Path of the engine's library.
const ENGINE: &str = "tranche/lib/libonnxruntime.so";
/// Files that lie beside the engine's library and must go where it goes.
pub(crate) const LICENCES: [&str; 2] = ["LICENSE", "ThirdPartyNotices.txt"];
/// The engine that is a shared library.
pub(crate) const ONNXRUNTIME: &str = "onnxruntime";

/// What runs the slices.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(super) shim: Binary,
    pub(super) engine: Option<Binary>,
    pub(super) libraries: Libraries,
}

impl Runtime {
    /// [`programs`], and every library that they need.
    pub(crate) fn find(request: &ImageRequest, engine: &str) -> Result<Self, PackageError> {
        let (shim, library) = programs(request, engine)?;
        let roots: Vec<&Binary> = [&shim].into_iter().chain(&library).collect();
        let libraries = find_libraries(&roots, &request.library_folders)?;
        Ok(Self { shim, engine: library, libraries })
    }

    pub(crate) fn architecture(&self) -> Architecture {
        self.shim.architecture
    }

    pub(super) fn shim_content(&self) -> Content {
        Content::default().program(SHIM, &self.shim.path)
    }

    /// [`libraries_content`] of these.
    pub(super) fn engine_content(&self) -> Option<Content> {
        libraries_content(&self.libraries, self.engine.as_ref())
    }

    /// What tells the program where things are.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let engine = self.engine.iter().map(|_| ("TRANCHE_ONNXRUNTIME", format!("/{ENGINE}")));
        let loader = self.libraries.loader.iter().map(|_| ("LD_LIBRARY_PATH", format!("/{LIBRARIES}")));
        engine.chain(loader).collect()
    }
}

/// Reads the shim and the engine's library, and checks that they go together and can run
/// the bundle's engine.
pub(crate) fn programs(
    request: &ImageRequest,
    engine: &str,
) -> Result<(Binary, Option<Binary>), PackageError> {
    let shim = Binary::read(&request.shim)?;
    shim.check_architecture(request.architecture.unwrap_or(shim.architecture))?;
    if !shim.is_program() {
        return Err(ImageError::NoProgram { shim: shim.path }.into());
    }
    check_engine(&shim, engine)?;
    let library = match &request.engine_library {
        Some(path) if engine == ONNXRUNTIME => Some(engine_library(path, &shim)?),
        Some(path) => {
            let (engine, library) = (engine.to_owned(), path.clone());
            return Err(ImageError::NeedlessLibrary { engine, library }.into());
        }
        None if engine == ONNXRUNTIME => {
            return Err(ImageError::NoLibrary { engine: engine.to_owned() }.into());
        }
        None => None,
    };
    Ok((shim, library))
}

/// The engine's library, the loader at the path at which kernels look for it, and
/// every library that is needed; `None` where nothing is.
pub(super) fn libraries_content(libraries: &Libraries, engine: Option<&Binary>) -> Option<Content> {
    if engine.is_none() && *libraries == Libraries::default() {
        return None;
    }
    let mut content = Content::default();
    if let Some(engine) = engine {
        content = content.file(ENGINE, &engine.path);
        let folder = engine.path.parent().unwrap_or(Path::new(""));
        for name in LICENCES {
            let licence = folder.join(name);
            if licence.is_file() {
                content = content.file(&format!("tranche/licences/{ONNXRUNTIME}/{name}"), &licence);
            }
        }
    }
    if let Some(loader) = &libraries.loader {
        content = content.program(loader.path.trim_start_matches('/'), &loader.binary.path);
    }
    for (name, library) in &libraries.files {
        content = content.file(&format!("{LIBRARIES}/{name}"), &library.path);
    }
    Some(content)
}

fn check_engine(shim: &Binary, engine: &str) -> Result<(), ImageError> {
    if engine == ONNXRUNTIME && shim.is_static() {
        return Err(ImageError::StaticShim { shim: shim.path.clone(), engine: engine.to_owned() });
    }
    match &shim.engines {
        Some(engines) if !engines.iter().any(|name| name == engine) => Err(ImageError::OtherEngine {
            shim: shim.path.clone(),
            engine: engine.to_owned(),
            built_in: engines.join(", "),
        }),
        // A program that does not say what it runs is taken at its user's word.
        _ => Ok(()),
    }
}

fn engine_library(path: &Path, shim: &Binary) -> Result<Binary, PackageError> {
    let library = Binary::read(path)?;
    library.check_architecture(shim.architecture)?;
    if !library.name.as_ref().is_some_and(|name| name.starts_with("libonnxruntime.so")) {
        return Err(ImageError::OtherLibrary { library: library.path }.into());
    }
    Ok(library)
}
