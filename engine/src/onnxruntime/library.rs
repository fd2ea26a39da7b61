use super::OnnxRuntimeEngine;
use crate::guard::guarded;
use ort::logging::LogLevel;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The process's ONNX Runtime, once one has loaded. ort keeps the library and its
/// environment in global state that can be set only once.
static LOADED: Mutex<Option<OnnxRuntimeEngine>> = Mutex::new(None);

pub(super) fn open(path: &Path) -> Result<OnnxRuntimeEngine, String> {
    let library = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    if !library.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(engine) = &*loaded {
        if engine.library == library {
            return Ok(engine.clone());
        }
        return Err(format!(
            "{} is loaded already, a process cannot load {} too",
            engine.library.display(),
            library.display()
        ));
    }
    let engine = guarded(|| initialise(library))??;
    Ok(loaded.insert(engine).clone())
}

fn initialise(library: PathBuf) -> Result<OnnxRuntimeEngine, String> {
    let version = version(&library)?;
    check_version(&version, &library)?;
    let builder = ort::init_from(&library).map_err(|error| error.to_string())?;
    let environment = builder
        .with_name("tranche")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| error.to_string())?;
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %library.display(), version, "loaded ONNX Runtime");
    Ok(OnnxRuntimeEngine { environment, version, library })
}

/// Opens the library ahead of ort, which does not tell its version.
#[expect(unsafe_code, reason = "a library is opened and its functions called by name")]
fn version(library: &Path) -> Result<String, String> {
    type Base = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    let foreign = |_| format!("{} is not ONNX Runtime", library.display());
    // SAFETY: opening runs the library's initialisers; the user named it as ONNX Runtime.
    let opened = unsafe { libloading::Library::new(library) }.map_err(|error| {
        // The loader's own words are in the source.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        format!("{} cannot be loaded: {reason}", library.display())
    })?;
    // SAFETY: a function of this name has this signature in every version.
    let base = unsafe { opened.get::<Base>(b"OrtGetApiBase\0") }.map_err(foreign)?;
    // SAFETY: it takes nothing and gives a static structure, whose layout is fixed.
    let text = unsafe {
        let base = base().as_ref().ok_or_else(|| format!("{} has no interface", library.display()))?;
        std::ffi::CStr::from_ptr((base.GetVersionString)())
    };
    Ok(text.to_string_lossy().into_owned())
}

fn check_version(version: &str, library: &Path) -> Result<(), String> {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let oldest = OnnxRuntimeEngine::OLDEST;
    if found.0 == oldest.0 && found >= oldest {
        return Ok(());
    }
    Err(format!("{} is version {version}; {}.{} or later is needed", library.display(), oldest.0, oldest.1))
}

fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::error!(target: "onnxruntime", location, "{message}"),
        LogLevel::Warning => tracing::debug!(target: "onnxruntime", location, "{message}"),
        LogLevel::Info | LogLevel::Verbose => tracing::trace!(target: "onnxruntime", location, "{message}"),
    }
}
