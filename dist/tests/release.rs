//! Releases of small programs in the place of the real ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use support::{Staging, entries, layers, run_in_root};
use tranche_dist::{DistError, inventory};
use tranche_packager::elf::GlibcVersion;
use tranche_schema::Digest;

#[test]
fn a_release_holds_programs_pages_completions_and_inventories() {
    let staging = Staging::new();
    let files = staging.pack("release").unwrap();
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let machine = std::env::consts::ARCH;
    assert_eq!(
        names,
        [
            &format!("tranche-1.2.3-{machine}-unknown-linux-gnu.tar.gz"),
            &format!("tranche-1.2.3-{machine}.oci.tar"),
            "tranche.cdx.json",
            "tranche-front-door.cdx.json",
            "tranche-shim-onnxruntime.cdx.json",
            "tranche-shim-static.cdx.json",
            "SHA256SUMS",
        ]
    );
    let below = format!("tranche-1.2.3-{machine}-unknown-linux-gnu/");
    let entries = entries(&std::fs::read(&files[0]).unwrap());
    let listed: Vec<String> = entries
        .iter()
        .filter(|entry| !entry.path.ends_with('/'))
        .map(|entry| format!("{:o} {}", entry.mode, entry.path.strip_prefix(&below).unwrap()))
        .collect();
    insta::assert_snapshot!(listed.join("\n"));
    assert!(entries.iter().all(|entry| (entry.owner, entry.time) == ((0, 0), 0)));
    let of = |path: &str| &entries.iter().find(|entry| entry.path == format!("{below}{path}")).unwrap().bytes;
    assert_eq!(of("bin/tranche"), &std::fs::read(staging.path("staging/bin/tranche")).unwrap());
    assert_eq!(of("share/man/man1/tranche.1"), b"man\n");
    assert_eq!(of("share/zsh/site-functions/_tranche"), b"completions zsh\n");
}

#[test]
fn the_same_programs_give_the_same_release() {
    let staging = Staging::new();
    let read = |folder: &str| -> BTreeMap<_, _> {
        let files = staging.pack(folder).unwrap();
        files
            .iter()
            .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap()))
            .collect()
    };
    assert_eq!(read("one"), read("two"));
}

#[test]
fn checksums_are_what_sha256sum_checks() {
    let staging = Staging::new();
    staging.pack("release").unwrap();
    let check = || {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(staging.path("release"));
        command.output().unwrap().status.success()
    };
    assert!(check());
    std::fs::write(staging.path("release/tranche.cdx.json"), "{}").unwrap();
    assert!(!check());
}

#[test]
fn a_program_for_a_newer_c_library_is_refused() {
    let staging = Staging::new();
    let error = staging.pack_for("release", GlibcVersion(2, 0)).unwrap_err();
    assert!(matches!(&error, DistError::NewerGlibc { path, .. } if path.ends_with("bin/tranche")), "{error}");
    assert!(error.to_string().contains("a release may need 2.0"), "{error}");
    assert!(!staging.path("release").exists());
}

#[test]
fn a_shim_that_is_not_static_is_refused() {
    let staging = Staging::new();
    std::fs::copy(staging.path("staging/bin/tranche"), staging.path("staging/bin/tranche-shim-static"))
        .unwrap();
    let error = staging.pack("release").unwrap_err();
    assert!(matches!(error, DistError::NotStatic { .. }), "{error}");
}

#[test]
fn a_program_that_says_nothing_is_refused() {
    let staging = Staging::new();
    std::fs::copy(staging.path("staging/bin/tranche-shim-static"), staging.path("staging/bin/tranche"))
        .unwrap();
    let error = staging.pack("release").unwrap_err();
    assert!(matches!(error, DistError::Silent { .. }), "{error}");
}

#[test]
fn the_image_runs_the_program_in_a_bare_root() {
    let staging = Staging::new();
    let files = staging.pack("release").unwrap();
    let (root, config) = layers(&files[1]);
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/bin/tranche"]));
    assert_eq!(config["config"]["WorkingDir"], "/work");
    assert!(root.path().join("work").is_dir());
    for name in ["tranche-shim-static", "tranche-shim-onnxruntime", "tranche-front-door"] {
        assert!(root.path().join("usr/bin").join(name).is_file(), "{name}");
    }
    assert_eq!(run_in_root(root.path(), &config, &["--version"]), "tranche 1.2.3\n");
}

/// What `cargo tree` says of a program of two crates, and Cargo.lock.
const CRATES: &str = "tranche v1.2.3 (/somewhere)|MIT OR Apache-2.0
adler2 v2.0.1|0BSD OR MIT OR Apache-2.0
tranche-schema v1.2.3 (/somewhere/schema)|MIT OR Apache-2.0
old v0.1.0|MIT/Apache-2.0
adler2 v2.0.1|0BSD OR MIT OR Apache-2.0 (*)

";
const LOCK: &str = "version = 4

[[package]]
name = \"adler2\"
version = \"2.0.1\"
source = \"registry\"
checksum = \"320119579fcad9c21884f5c4861d16174d0e06250625266f50fe6898340abefa\"

[[package]]
name = \"adler2\"
version = \"1.0.0\"
checksum = \"00\"

[[package]]
name = \"tranche-schema\"
version = \"1.2.3\"
dependencies = [
 \"adler2\",
]
";

#[test]
fn an_inventory_names_crates_with_licences_and_checksums() {
    let found = inventory("tranche", &Digest::of(b"program"), CRATES, LOCK).unwrap();
    insta::assert_snapshot!(String::from_utf8(found).unwrap());
}

#[test]
fn a_line_that_names_no_crate_is_refused() {
    for crates in ["tranche", "tranche v1|MIT\nwarning: something", "tranche 1.0|MIT", ""] {
        assert!(inventory("tranche", &Digest::of(b""), crates, LOCK).is_err(), "{crates}");
    }
}
