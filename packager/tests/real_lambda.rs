//! Packages with the real shim (`cargo xtask shim`): an image through skopeo, Debian's
//! docker-registry and umoci, and a zip file through Python's reader, as MiniStack unpacks it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;
mod lambda_support;
#[path = "../../deployer/tests/support/registry/real.rs"]
#[allow(dead_code, reason = "a part is used here")]
mod registry;
mod support;

use lambda_support::Packages;
use registry::{RealRegistry, program, skopeo};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tranche_schema::{Document as _, LambdaPackageKind, Manifest};

/// The static shim that `cargo xtask shim` built.
fn shim() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/shims/tranche-shim-static");
    assert!(path.is_file(), "{} is missing: run `cargo xtask shim`", path.display());
    path
}

/// What a program of the machine prints.
fn run(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).args(arguments).stdin(Stdio::null()).env_remove("TRANCHE_MANIFEST");
    let output = command.output().expect("`timeout` of coreutils is needed");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {}: {words}", program.display(), arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_image_comes_out_of_a_registry_as_it_went_in() {
    let packages = Packages::of(2, "tract", |request| {
        request.shim = shim();
        request.prefer = Some(LambdaPackageKind::Image);
    });
    let registry = RealRegistry::start();
    let package = &packages.index.packages[1];
    let layout = packages.output().join("images");
    let remote = format!("docker://{}/slices@{}", registry.host, package.digest);
    let tagged = format!("docker://{}/slices:{}", registry.host, package.slice);
    skopeo(&[
        "copy",
        "--dest-tls-verify=false",
        &format!("oci:{}:{}", layout.display(), package.slice),
        &tagged,
    ]);
    let back = packages.folder.path().join("back");
    skopeo(&["copy", "--src-tls-verify=false", &remote, &format!("oci:{}:again", back.display())]);
    let unpacked = packages.folder.path().join("unpacked");
    let image = format!("{}:again", back.display());
    run(&program("umoci"), &["unpack", "--rootless", "--image", &image, unpacked.to_str().unwrap()]);
    let root = unpacked.join("rootfs");
    check_image(&root, &packages.manifest.slices[1].name);
    let help = run(&root.join("tranche/tranche-shim"), &["--help"]);
    assert!(help.contains("TRANCHE_MANIFEST"), "{help}");
}

/// The slice is there, and everybody may read all of it.
fn check_image(root: &Path, slice: &str) {
    let manifest = Manifest::read(&root.join("tranche/bundle").join(Manifest::FILE)).unwrap();
    assert_eq!(manifest.slices.iter().map(|slice| slice.name.as_str()).collect::<Vec<_>>(), [slice]);
    for entry in &manifest.files {
        let path = root.join("tranche/bundle").join(&entry.path);
        assert_eq!(tranche_schema::Digest::of_file(&path).unwrap(), entry.digest);
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode();
            let wanted = if entry.path().is_dir() { 0o005 } else { 0o004 };
            assert_eq!(mode & wanted, wanted, "{}: {mode:o}", entry.path().display());
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn a_zip_file_unpacks_elsewhere_and_its_program_starts() {
    let packages = Packages::of(2, "tract", |request| request.shim = shim());
    let package = &packages.index.packages[0];
    assert_eq!(package.kind, LambdaPackageKind::ZipInline);
    let path = packages.path(package);
    let to = packages.folder.path().join("task");
    run(&program("python3"), &["-m", "zipfile", "-e", path.to_str().unwrap(), to.to_str().unwrap()]);
    assert!(Manifest::read(&to.join("bundle/manifest.json")).is_ok());
    // Python leaves modes aside; MiniStack makes bootstrap executable, as Lambda does by its mode.
    let bootstrap = to.join("bootstrap");
    std::fs::set_permissions(&bootstrap, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(run(&bootstrap, &["--help"]).contains("TRANCHE_MANIFEST"));
    assert!(run(&program("unzip"), &["-Z1", path.to_str().unwrap()]).starts_with("bootstrap\nbundle/"));
}
