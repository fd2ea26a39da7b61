//! The validators that teams use, below `target/peers` (`cargo xtask peers`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a validator of `target/peers` says of a file: whether it is well, and its words.
pub fn validate(tool: &str, arguments: &[&str], name: &str, text: &str) -> (bool, String) {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/python/bin");
    let program = peers.join(tool);
    assert!(program.is_file(), "{} is missing: run `cargo xtask peers`", program.display());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("timeout");
    command.arg("120").arg(&program).args(arguments).arg(&file).current_dir(folder.path());
    // Nothing outside is asked.
    command.env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
    let output = command.output().expect("`timeout` of coreutils is needed");
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&words).into_owned())
}

/// A file that people can look at, below the target folder.
pub fn keep(name: &str, text: &str) {
    std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name), text).unwrap();
}
