//! A release out of built programs.
//!
//! ```text
//! STAGING/                                    made by `cargo xtask dist`
//!   bin/tranche, bin/tranche-shim-static, …   the programs
//!   crates/tranche, …                         what `cargo tree` says of each
//! OUTPUT/
//!   tranche-VERSION-ARCH-unknown-linux-gnu.tar.gz   programs, manual page, completions, inventories
//!   tranche-VERSION-ARCH.oci.tar                    an OCI image that starts `tranche`
//!   tranche.cdx.json, …                             an inventory of each program
//!   SHA256SUMS                                      of all of these
//! ```
//!
//! Equal programs give equal bytes: no file names a time, an owner or a machine.

mod error;
mod inventory;

pub use error::DistError;
pub use inventory::inventory;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tranche_packager::elf::{Architecture, Binary, GlibcVersion};
use tranche_packager::image::{Content, ProgramRequest, write_program_archive};
use tranche_schema::{Digest, write_atomically};

/// The newest symbol version of the GNU C library that a program may need: that of the
/// platform tag `manylinux_2_28`, for which ONNX Runtime is released.
pub const NEWEST_GLIBC: GlibcVersion = GlibcVersion(2, 28);

/// The program that users call.
const TRANCHE: &str = "tranche";
/// Every program of a release. The functions' programs lie where `tranche` looks for them.
pub const PROGRAMS: [&str; 4] =
    [TRANCHE, "tranche-front-door", "tranche-shim-onnxruntime", "tranche-shim-static"];
/// The program that must run anywhere.
const STATIC: &str = "tranche-shim-static";

/// Completion scripts and where shells look for them.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/tranche"),
    ("zsh", "share/zsh/site-functions/_tranche"),
    ("fish", "share/fish/vendor_completions.d/tranche.fish"),
];
/// Files of the repository that go along.
const DOCUMENTS: [&str; 4] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "docs/ci.md"];

/// What to make a release of.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseRequest<'a> {
    /// The folder with `bin/` and `crates/`.
    pub staging: &'a Path,
    /// The repository, for licences, documents and Cargo.lock.
    pub repository: &'a Path,
    /// Where the release goes.
    pub output: &'a Path,
    /// [`NEWEST_GLIBC`].
    pub newest_glibc: GlibcVersion,
}

/// Checks the programs and packs them. Gives the files made, SHA256SUMS last.
///
/// # Errors
/// When a program is missing, needs a newer C library, is for another machine, or does not
/// tell its version, manual page or completions; when a file cannot be read or written.
/// SHA256SUMS is written last: without it there is no release.
pub fn pack(request: &ReleaseRequest<'_>) -> Result<Vec<PathBuf>, DistError> {
    let architecture = check(request)?;
    let version = version(request)?;
    let machine = match architecture {
        Architecture::Amd64 => "x86_64",
        Architecture::Arm64 => "aarch64",
    };
    let inventories = inventories(request)?;
    let name = format!("{TRANCHE}-{version}-{machine}-unknown-linux-gnu");
    let archive = request.output.join(format!("{name}.tar.gz"));
    archive_content(request, &format!("{name}/"), &inventories)?.write_archive(&archive)?;
    let image = request.output.join(format!("{TRANCHE}-{version}-{machine}.oci.tar"));
    write_image(request, &version, &inventories, &image)?;
    let mut files = vec![archive, image];
    for (program, inventory) in &inventories {
        let path = request.output.join(format!("{program}.cdx.json"));
        write_atomically(&path, inventory).map_err(DistError::io(&path))?;
        files.push(path);
    }
    files.push(write_sums(request.output, &files)?);
    Ok(files)
}

fn program(request: &ReleaseRequest<'_>, name: &str) -> PathBuf {
    request.staging.join("bin").join(name)
}

/// # Errors
/// When a program would not run where a release must.
fn check(request: &ReleaseRequest<'_>) -> Result<Architecture, DistError> {
    let newest = request.newest_glibc;
    let mut found = None;
    for name in PROGRAMS {
        let binary = Binary::read(&program(request, name))?;
        binary.check_architecture(*found.get_or_insert(binary.architecture))?;
        if name == STATIC && !binary.is_static() {
            return Err(DistError::NotStatic { path: binary.path });
        }
        if let Some(needed) = binary.glibc().filter(|needed| *needed > newest) {
            return Err(DistError::NewerGlibc { path: binary.path, needed, newest });
        }
    }
    found.ok_or(DistError::NoProgram)
}

/// What `tranche` prints with these arguments.
fn ask(request: &ReleaseRequest<'_>, arguments: &[&str]) -> Result<Vec<u8>, DistError> {
    let path = program(request, TRANCHE);
    let failed =
        |reason: String| DistError::Silent { path: path.clone(), arguments: arguments.join(" "), reason };
    let output = Command::new(&path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() || output.stdout.is_empty() {
        return Err(failed(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(output.stdout)
}

/// The version that `tranche` says it has.
fn version(request: &ReleaseRequest<'_>) -> Result<String, DistError> {
    let said = String::from_utf8_lossy(&ask(request, &["--version"])?).trim().to_owned();
    let version = said.strip_prefix("tranche ").filter(|version| {
        !version.is_empty()
            && version.chars().all(|letter| letter.is_ascii_alphanumeric() || ".+-".contains(letter))
    });
    version.map(str::to_owned).ok_or(DistError::NoVersion { said: said.clone() })
}

/// An inventory of each program, by name.
fn inventories(request: &ReleaseRequest<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, DistError> {
    let lock = read(&request.repository.join("Cargo.lock"))?;
    PROGRAMS
        .into_iter()
        .map(|name| {
            let path = program(request, name);
            let digest = Digest::of_file(&path).map_err(DistError::io(&path))?;
            let crates = request.staging.join("crates").join(name);
            let text = inventory(name, &digest, &read(&crates)?, &lock)
                .map_err(|line| DistError::Crates { path: crates.clone(), line })?;
            Ok((name, text))
        })
        .collect()
}

fn read(path: &Path) -> Result<String, DistError> {
    std::fs::read_to_string(path).map_err(DistError::io(path))
}

/// Everything of the archive, below one folder.
fn archive_content(
    request: &ReleaseRequest<'_>,
    below: &str,
    inventories: &[(&str, Vec<u8>)],
) -> Result<Content, DistError> {
    let mut content = Content::default();
    for name in PROGRAMS {
        content = content.program(&format!("{below}bin/{name}"), &program(request, name));
    }
    content = content.bytes(&format!("{below}share/man/man1/tranche.1"), ask(request, &["man"])?);
    for (shell, path) in COMPLETIONS {
        content = content.bytes(&format!("{below}{path}"), ask(request, &["completions", shell])?);
    }
    for (name, inventory) in inventories {
        content = content.bytes(&format!("{below}share/doc/tranche/{name}.cdx.json"), inventory.clone());
    }
    for path in DOCUMENTS {
        let name = path.rsplit('/').next().unwrap_or(path);
        content = content.file(&format!("{below}share/doc/tranche/{name}"), &request.repository.join(path));
    }
    Ok(content)
}

fn write_image(
    request: &ReleaseRequest<'_>,
    version: &str,
    inventories: &[(&str, Vec<u8>)],
    path: &Path,
) -> Result<(), DistError> {
    let mut beside = Content::default();
    for name in PROGRAMS.into_iter().filter(|name| *name != TRANCHE) {
        beside = beside.program(&format!("usr/bin/{name}"), &program(request, name));
    }
    for (name, inventory) in inventories {
        beside = beside.bytes(&format!("usr/share/doc/tranche/{name}.cdx.json"), inventory.clone());
    }
    let tranche = program(request, TRANCHE);
    let image = ProgramRequest {
        name: TRANCHE,
        description: "Cuts ONNX models into slices for serverless functions",
        version,
        program: &tranche,
        path: "usr/bin/tranche",
        beside,
        library_folders: vec![],
    };
    write_program_archive(&image, path)?;
    Ok(())
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn write_sums(output: &Path, files: &[PathBuf]) -> Result<PathBuf, DistError> {
    let mut text = String::new();
    for path in files {
        let digest = Digest::of_file(path).map_err(DistError::io(path))?;
        let name = path.file_name().unwrap_or(OsStr::new("")).to_string_lossy();
        let _ = writeln!(text, "{}  {name}", digest.hex());
    }
    let path = output.join("SHA256SUMS");
    write_atomically(&path, text.as_bytes()).map_err(DistError::io(&path))?;
    Ok(path)
}
