//! Small programs, and what is in archives.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tranche_dist::{DistError, ReleaseRequest, pack};
use tranche_packager::elf::GlibcVersion;

/// Answers as `tranche` does to what a release asks.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <string.h>
int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "--version")) return puts("tranche 1.2.3") < 0;
    for (int at = 1; at < count; at++) printf("%s%s", words[at], at + 1 < count ? " " : "\n");
    return 0;
}
"#;

/// A program that fails.
const FAILING: &str = "int main(void) { return 3; }";

/// Programs in the place of the real ones.
pub struct Staging {
    folder: TempDir,
}

impl Staging {
    pub fn new() -> Self {
        let staging = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(staging.path("staging/bin")).unwrap();
        std::fs::create_dir_all(staging.path("staging/crates")).unwrap();
        staging.compile("tranche", PROGRAM, &[]);
        staging.compile("tranche-front-door", PROGRAM, &[]);
        staging.compile("tranche-shim-onnxruntime", PROGRAM, &[]);
        staging.compile("tranche-shim-static", FAILING, &["-static"]);
        for name in tranche_dist::PROGRAMS {
            std::fs::write(staging.path("staging/crates").join(name), format!("{name} v1.2.3|MIT\n"))
                .unwrap();
        }
        staging
    }

    /// A path in the place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, name: &str, source: &str, flags: &[&str]) {
        let file = self.path(&format!("{name}.c"));
        std::fs::write(&file, source).unwrap();
        let output = self.path("staging/bin").join(name);
        let status = Command::new("cc").args(flags).arg("-o").arg(output).arg(file).status().unwrap();
        assert!(status.success());
    }

    /// Packs for any C library: that of this machine is newer than a release may need.
    pub fn pack(&self, folder: &str) -> Result<Vec<PathBuf>, DistError> {
        self.pack_for(folder, GlibcVersion(2, 999))
    }

    pub fn pack_for(&self, folder: &str, newest_glibc: GlibcVersion) -> Result<Vec<PathBuf>, DistError> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (staging, output) = (self.path("staging"), self.path(folder));
        pack(&ReleaseRequest { staging: &staging, repository, output: &output, newest_glibc })
    }
}

/// A file or folder of an archive.
pub struct Entry {
    pub path: String,
    pub mode: u32,
    pub owner: (u64, u64),
    pub time: u64,
    pub bytes: Vec<u8>,
}

/// What a compressed archive holds.
pub fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            Entry {
                path: entry.path().unwrap().to_str().unwrap().to_owned(),
                mode: header.mode().unwrap(),
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                time: header.mtime().unwrap(),
                bytes,
            }
        })
        .collect()
}

/// The files of the only image of an OCI archive, and its configuration.
pub fn layers(archive: &Path) -> (TempDir, serde_json::Value) {
    let layout = tempfile::tempdir().unwrap();
    tar::Archive::new(std::fs::File::open(archive).unwrap()).unpack(layout.path()).unwrap();
    let json = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(layout.path().join(path)).unwrap()).unwrap()
    };
    let blob = |value: &serde_json::Value| {
        format!("blobs/sha256/{}", value["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let manifest = json(&blob(&json("index.json")["manifests"][0]));
    let root = tempfile::tempdir().unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let file = std::fs::File::open(layout.path().join(blob(layer))).unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(root.path()).unwrap();
    }
    (root, json(&blob(&manifest["config"])))
}

/// What the image's program says where only the image's files are. Needs root, or user
/// namespaces.
pub fn run_in_root(root: &Path, config: &serde_json::Value, arguments: &[&str]) -> String {
    let words = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    // As root directly: containers keep user namespaces from their root.
    let script = r#"[ "$(id -u)" = 0 ] || set -- unshare --user --map-root-user "$@"; exec "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", "chroot"]).arg(root).args(words(&config["config"]["Entrypoint"]));
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    for variable in words(&config["config"]["Env"]) {
        let (name, value) = variable.split_once('=').unwrap();
        if name != "PATH" {
            command.env(name, value);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
