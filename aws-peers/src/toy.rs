use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = include_str!("../toy/bootstrap.rs");

/// The program of the least function that Lambda runs, built on first use; static, as AL2023 needs it.
/// What it does is in `toy/bootstrap.rs`.
///
/// # Panics
/// When rustc does not build it.
#[must_use]
pub fn toy_bootstrap() -> PathBuf {
    let folder = crate::folder().join("toy");
    std::fs::create_dir_all(&folder).expect("target/peers can be written");
    let (source, program) = (folder.join("bootstrap.rs"), folder.join("bootstrap"));
    if program.is_file() && std::fs::read_to_string(&source).is_ok_and(|built| built == SOURCE) {
        return program;
    }
    let fresh = tempfile::tempdir_in(&folder).expect("target/peers can be written");
    let (new_source, new) = (fresh.path().join("bootstrap.rs"), fresh.path().join("bootstrap"));
    std::fs::write(&new_source, SOURCE).expect("target/peers can be written");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
        .arg(&new)
        .arg(&new_source)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "rustc does not build aws-peers/toy/bootstrap.rs");
    // The source last: it says what the program is of.
    std::fs::rename(&new, &program).expect("a file can be renamed");
    std::fs::rename(&new_source, &source).expect("a file can be renamed");
    program
}
