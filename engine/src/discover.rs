//! Which engines are there, and the one asked for.

#[cfg(feature = "onnxruntime")]
use crate::OnnxRuntimeEngine;
#[cfg(feature = "tract")]
use crate::TractEngine;
use crate::ensemble::Ensembles;
use crate::{Engine, EngineError, LoadOptions, OutputBuffer};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tranche_schema::{ElementType, Tensor, TensorSpec};

/// Names of the engines.
pub(crate) const TRACT: &str = "tract";
pub(crate) const ONNXRUNTIME: &str = "onnxruntime";

/// The engine used where none is named: the `tranche` program always has it.
pub const DEFAULT_ENGINE: &str = TRACT;

/// Names of the engines that this program was built with.
pub const BUILT_IN: &[&str] = &[
    #[cfg(feature = "tract")]
    TRACT,
    #[cfg(feature = "onnxruntime")]
    ONNXRUNTIME,
];

/// The release of ONNX Runtime that `add_onnxruntime` fetches.
pub const ONNXRUNTIME_VERSION: &str = "1.32.0";

/// Environment variable with the path of ONNX Runtime's library.
pub const LIBRARY_VARIABLE: &str = "TRANCHE_ONNXRUNTIME";

/// An engine and how it fares on this machine.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EngineStatus {
    /// `tract` or `onnxruntime`.
    pub name: &'static str,
    /// Its version, where it loaded.
    pub version: Option<String>,
    /// Whether it ran a model just now.
    pub available: bool,
    /// The library found, where it is one.
    pub library: Option<PathBuf>,
    /// What went wrong.
    pub problem: Option<String>,
    /// What to do about it; empty where nothing is wrong.
    pub hint: &'static str,
}

/// Opens the engine of this name, [`DEFAULT_ENGINE`] where there is none. Beside ONNX files it
/// loads [`Ensemble`](tranche_schema::Ensemble)s of them.
///
/// ONNX Runtime's library is looked for at `library`, which must be it when given, then
/// where the variables `TRANCHE_ONNXRUNTIME` and `ORT_DYLIB_PATH` say, then in the
/// cache that `tranche engine add onnxruntime` fills.
///
/// # Errors
/// When the name is no engine's, the engine is not [`BUILT_IN`], or the engine's library is missing, too old, or
/// another one than the process has loaded already.
pub fn open_engine(name: Option<&str>, library: Option<&Path>) -> Result<Arc<dyn Engine>, EngineError> {
    let engine = match name.unwrap_or(DEFAULT_ENGINE) {
        TRACT => open_tract(),
        ONNXRUNTIME => open_shared_onnxruntime(library),
        other => Err(EngineError::Unknown { name: other.to_owned() }),
    };
    Ok(Arc::new(Ensembles(engine?)))
}

#[cfg(feature = "tract")]
fn open_tract() -> Result<Arc<dyn Engine>, EngineError> {
    Ok(Arc::new(TractEngine::new()))
}

#[cfg(not(feature = "tract"))]
fn open_tract() -> Result<Arc<dyn Engine>, EngineError> {
    Err(EngineError::NotBuiltIn { engine: TRACT })
}

#[cfg(feature = "onnxruntime")]
fn open_shared_onnxruntime(library: Option<&Path>) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(Arc::new(open_onnxruntime(library)?))
}

#[cfg(not(feature = "onnxruntime"))]
fn open_shared_onnxruntime(_library: Option<&Path>) -> Result<Arc<dyn Engine>, EngineError> {
    Err(EngineError::NotBuiltIn { engine: ONNXRUNTIME })
}

/// Opens ONNX Runtime as [`open_engine`] finds it.
///
/// # Errors
/// As [`open_engine`].
#[cfg(feature = "onnxruntime")]
pub fn open_onnxruntime(library: Option<&Path>) -> Result<OnnxRuntimeEngine, EngineError> {
    let Some(path) = find_library(library) else {
        return Err(EngineError::Unavailable {
            engine: ONNXRUNTIME,
            reason: "no library was given, named by TRANCHE_ONNXRUNTIME, or found in the cache".to_owned(),
        });
    };
    OnnxRuntimeEngine::from_library(&path)
}

/// Every engine, tried: each that opens has run a model of one operator.
#[must_use]
pub fn survey(library: Option<&Path>) -> Vec<EngineStatus> {
    vec![
        status(TRACT, None, open_tract()),
        status(ONNXRUNTIME, find_library(library), open_shared_onnxruntime(library)),
    ]
}

/// Where `add_onnxruntime` puts the library: `engines/onnxruntime-VERSION` in
/// `$TRANCHE_CACHE`, `$XDG_CACHE_HOME/tranche` or `~/.cache/tranche`. `None` where the
/// environment names no home.
#[must_use]
pub fn cached_library() -> Option<PathBuf> {
    let cache = path_variable("TRANCHE_CACHE")
        .or_else(|| Some(path_variable("XDG_CACHE_HOME")?.join("tranche")))
        .or_else(|| Some(path_variable("HOME")?.join(".cache").join("tranche")))?;
    Some(library_in(&cache))
}

/// The same below another cache folder.
#[must_use]
pub fn library_in(cache: &Path) -> PathBuf {
    cache.join("engines").join(format!("onnxruntime-{ONNXRUNTIME_VERSION}")).join("libonnxruntime.so")
}

/// The library that [`open_engine`] loads for an engine where `given` is the one asked for;
/// `None` for an engine that is built in, or where there is none.
#[must_use]
pub fn library_of(engine: &str, given: Option<&Path>) -> Option<PathBuf> {
    if engine == ONNXRUNTIME { find_library(given) } else { None }
}

fn find_library(given: Option<&Path>) -> Option<PathBuf> {
    given
        .map(Path::to_owned)
        .or_else(|| path_variable(LIBRARY_VARIABLE))
        .or_else(|| path_variable("ORT_DYLIB_PATH"))
        .or_else(|| cached_library().filter(|path| path.is_file()))
}

fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn status(
    name: &'static str,
    library: Option<PathBuf>,
    engine: Result<Arc<dyn Engine>, EngineError>,
) -> EngineStatus {
    let version = engine.as_ref().ok().map(|engine| engine.version());
    let problem = engine.and_then(|engine| try_out(engine.as_ref())).err();
    EngineStatus {
        name,
        version,
        available: problem.is_none(),
        library,
        hint: problem.as_ref().map_or("", EngineError::hint),
        problem: problem.map(|error| error.to_string()),
    }
}

/// Runs `y = −x`.
fn try_out(engine: &dyn Engine) -> Result<(), EngineError> {
    let failed = |reason: String| EngineError::Unavailable { engine: engine.name(), reason };
    let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let model = folder.path().join("negation.onnx");
    std::fs::write(&model, NEGATION).map_err(|error| failed(error.to_string()))?;
    let input = TensorSpec { name: "x".to_owned(), element_type: ElementType::Float32, shape: vec![1] };
    let mut session = engine.load(&model, &[input], &["y".to_owned()], &LoadOptions::default())?;
    let value = Tensor::from_f32(vec![1], &[1.5]).map_err(|error| failed(error.to_string()))?;
    let mut outputs = [OutputBuffer::Engine(None)];
    session.run(&[value.view()], &mut outputs)?;
    match outputs {
        [OutputBuffer::Engine(Some(tensor))] if tensor.as_slice::<f32>() == Some(&[-1.5]) => Ok(()),
        other => Err(failed(format!("it says that the negative of 1.5 is {other:?}"))),
    }
}

/// An ONNX file: `ir_version` 8, operator set 13, one node `Neg` from `x` to `y`, both
/// float32 of shape [1].
const NEGATION: &[u8] = b"\x08\x08\x3a\x32\x0a\x0b\x0a\x01x\x12\x01y\x22\x03Neg\x12\x01n\
Z\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01\
b\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01B\x04\x0a\x00\x10\x0d";
