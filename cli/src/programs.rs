//! What deploys put into packages and images, and how they wait.

use crate::config::Settings;
use crate::context::this_program;
use crate::failure::Failure;
use std::path::{Path, PathBuf};
use tranche_schema::exit_code;

/// The shims that can run an engine, the best first.
pub fn shim_names(engine: &str) -> &'static [&'static str] {
    match engine {
        "onnxruntime" => &["tranche-shim-onnxruntime", "tranche-shim"],
        _ => &["tranche-shim-static", "tranche-shim"],
    }
}

/// The program given, else the first of these names beside this program, in `shims/`
/// beside it, or in `shims/` one folder up, where `cargo xtask shim` puts it.
///
/// # Errors
/// When there is none.
pub fn find_program(given: Option<&Path>, names: &[&str], flag: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(Failure::usage(format!("there is no file {} (`{flag}`)", path.display())))
        };
    }
    let program = this_program()?;
    let beside = program.parent().unwrap_or(Path::new("."));
    let above = beside.parent().unwrap_or(beside).join("shims");
    let folders = [beside.join("shims"), above, beside.to_owned()];
    let found = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::usage(format!("no program `{}` beside {}", names.join("` or `"), program.display())).hint(format!(
            "build it with `cargo xtask shim` or `cargo build --release --workspace`, or name it with `{flag}`"
        ))
    })
}

/// ONNX Runtime's library for functions.
///
/// # Errors
/// When there is none.
pub fn engine_library(settings: &Settings) -> Result<PathBuf, Failure> {
    let found = settings.library().or_else(tranche_engine::cached_library);
    found.filter(|path| path.is_file()).ok_or_else(|| {
        Failure::new("engine", exit_code::USAGE, "no ONNX Runtime library to pack")
            .hint("get one with `tranche engine add onnxruntime`, or name one with `--onnxruntime`")
    })
}

/// Waits for a question to a target.
///
/// # Errors
/// When no runtime can be started.
pub fn block_on<T>(question: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new("process", exit_code::REMOTE, format!("cannot start a runtime: {error}"))
    })?;
    Ok(runtime.block_on(question))
}
