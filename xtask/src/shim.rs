//! Builds the functions' program twice: for tract, static, which runs anywhere; and for
//! ONNX Runtime, dynamic, because the engine is a shared library.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The oldest C library that the dynamic program runs with: that of the platform tag
/// `manylinux_2_28`, for which ONNX Runtime is released.
pub(crate) const GLIBC: &str = "2.28";

/// A program to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shim {
    /// tract, in pure Rust.
    Static,
    /// ONNX Runtime.
    OnnxRuntime,
}

pub(crate) const SHIMS: [Shim; 2] = [Shim::Static, Shim::OnnxRuntime];

impl Shim {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::OnnxRuntime => "onnxruntime",
        }
    }

    pub(crate) fn feature(self) -> &'static str {
        match self {
            Self::Static => "tract",
            Self::OnnxRuntime => "onnxruntime",
        }
    }

    /// Nothing reads symbols in a function; without them the program is a quarter smaller.
    fn rustc_flags(self) -> &'static str {
        match self {
            Self::Static => "-C target-feature=+crt-static -C strip=symbols",
            Self::OnnxRuntime => "-C strip=symbols",
        }
    }

    /// The cargo command that builds it; `zig` says whether cargo-zigbuild does.
    fn arguments(self, target: &str, zig: bool) -> Vec<String> {
        let (command, target) = match self {
            Self::OnnxRuntime if zig => ("zigbuild", format!("{target}.{GLIBC}")),
            _ => ("build", target.to_owned()),
        };
        let fixed = ["--release", "--locked", "--package", "tranche-shim", "--no-default-features"];
        let chosen = ["--features", self.feature(), "--target", &target];
        [command].iter().chain(&fixed).chain(&chosen).map(|&word| word.to_owned()).collect()
    }
}

/// Reads the names of the programs to build; both where there is none.
pub(crate) fn parse(arguments: &[&str]) -> Result<Vec<Shim>, String> {
    if arguments.is_empty() {
        return Ok(SHIMS.to_vec());
    }
    let find = |name: &&str| SHIMS.into_iter().find(|shim| shim.name() == *name);
    arguments.iter().map(|name| find(name).ok_or_else(|| format!("there is no shim `{name}`"))).collect()
}

/// Builds the programs into `target/shims/`.
pub(crate) fn run(shims: &[Shim]) -> ExitCode {
    for &shim in shims {
        match build(shim) {
            Ok(path) => say(&format!("{}", path.display())),
            Err(reason) => {
                say(&format!("error: shim `{}`: {reason}", shim.name()));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

pub(crate) fn build(shim: Shim) -> Result<PathBuf, String> {
    let target = target()?;
    let zig = shim == Shim::OnnxRuntime && has_zigbuild();
    if shim == Shim::OnnxRuntime && !zig {
        say(&format!(
            "warning: cargo-zigbuild is not there, so the program is linked against this machine's C \
             library ({}) and may need one as new; images carry it along. For {GLIBC} on: \
             pip install cargo-zigbuild",
            c_library()
        ));
    }
    let status = command(&shim.arguments(&target, zig))
        .env(flags_variable(&target), shim.rustc_flags())
        .status()
        .map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("cargo ended with {status}"));
    }
    let folder = target_folder();
    let built = folder.join(&target).join("release").join("tranche-shim");
    let output = folder.join("shims").join(format!("tranche-shim-{}", shim.name()));
    put(&built, &output).map_err(|error| format!("{}: {error}", output.display()))?;
    Ok(output)
}

/// What functions and releases are built for.
pub(crate) fn target() -> Result<String, String> {
    let architecture = std::env::consts::ARCH;
    if std::env::consts::OS != "linux" || !matches!(architecture, "x86_64" | "aarch64") {
        return Err("functions run on Linux on x86-64 or AArch64; build there".to_owned());
    }
    Ok(format!("{architecture}-unknown-linux-gnu"))
}

pub(crate) fn has_zigbuild() -> bool {
    cargo(&["zigbuild".to_owned(), "--help".to_owned()]).is_ok()
}

/// The environment variable with the compiler's flags for a target.
pub(crate) fn flags_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"))
}

/// Copies to a temporary name and renames: a program that runs is not written to.
pub(crate) fn put(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = OsString::from(to);
    temporary.push(".new");
    std::fs::copy(from, &temporary)?;
    std::fs::rename(&temporary, to)
}

/// Where cargo builds: as it decides itself, its configuration files left out.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A program that does not see what cargo tells this one about itself (Cargo reference, "Environment
/// variables Cargo sets for crates"): build scripts that look at such variables would run again,
/// and what depends on them would be built again.
pub(crate) fn plain(program: &str) -> Command {
    let mut command = Command::new(program);
    let of_crate = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_crate) {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn command(arguments: &[String]) -> Command {
    let mut command = plain("cargo");
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a cargo command without a word.
fn cargo(arguments: &[String]) -> Result<(), ()> {
    let status = command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(()) }
}

/// The C library's name and version, as `getconf` says.
fn c_library() -> String {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "of unknown version".to_owned())
}

pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shims_are_chosen_by_name() {
        assert_eq!(parse(&[]), Ok(vec![Shim::Static, Shim::OnnxRuntime]));
        assert_eq!(parse(&["onnxruntime"]), Ok(vec![Shim::OnnxRuntime]));
        assert_eq!(parse(&["rten"]), Err("there is no shim `rten`".to_owned()));
    }

    #[test]
    fn each_has_one_engine_and_only_the_dynamic_one_an_older_c_library() {
        let line = |shim: Shim, zig| shim.arguments("x86_64-unknown-linux-gnu", zig).join(" ");
        let built = "--release --locked --package tranche-shim --no-default-features --features";
        let target = "--target x86_64-unknown-linux-gnu";
        assert_eq!(line(Shim::Static, true), format!("build {built} tract {target}"));
        assert_eq!(line(Shim::OnnxRuntime, false), format!("build {built} onnxruntime {target}"));
        assert_eq!(line(Shim::OnnxRuntime, true), format!("zigbuild {built} onnxruntime {target}.2.28"));
    }
}
