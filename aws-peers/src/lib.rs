//! Starts what plays AWS in tests: see README.md. Everything panics with what to do
//! about it, because a test cannot go on without.

#![allow(clippy::panic, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod emulator;
mod ministack;
mod process;
mod toy;

pub use emulator::RuntimeInterfaceEmulator;
pub use ministack::MiniStack;
pub use toy::toy_bootstrap;

use std::path::{Path, PathBuf};

/// Where `cargo xtask peers` puts them: `target/peers` of the workspace, or of
/// `CARGO_TARGET_DIR`.
#[must_use]
pub fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        Some(target) => root.join(target).join("peers"),
        None => root.join("target").join("peers"),
    }
}

fn peer(path: &str) -> PathBuf {
    let path = folder().join(path);
    assert!(path.is_file(), "{} is missing: run `cargo xtask peers`", path.display());
    path
}

/// The Python that has MiniStack, cfn-lint and statelint.
///
/// # Panics
/// When `cargo xtask peers` has not run.
#[must_use]
pub fn python() -> PathBuf {
    peer("python/bin/python")
}

/// A program of that Python: `cfn-lint`, `statelint`.
///
/// # Panics
/// When `cargo xtask peers` has not run.
#[must_use]
pub fn python_tool(name: &str) -> PathBuf {
    peer(&format!("python/bin/{name}"))
}

/// cargo-lambda's program; call it as `cargo-lambda lambda VERB`.
///
/// # Panics
/// When `cargo xtask peers` has not run.
#[must_use]
pub fn cargo_lambda() -> PathBuf {
    peer("bin/cargo-lambda")
}
