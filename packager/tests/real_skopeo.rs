//! Layouts and archives read by another program: skopeo (Debian package `skopeo`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use support::{Images, contents};
use tranche_packager::image::write_archive;

/// What skopeo prints.
fn skopeo(arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["60", "skopeo", "--insecure-policy"]).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("`timeout` of coreutils is needed");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(127), "skopeo is missing: apt-get install skopeo");
    assert!(output.status.success(), "skopeo {}: {words}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

fn inspect(image: &str) -> serde_json::Value {
    serde_json::from_str(&skopeo(&["inspect", image])).unwrap()
}

fn assert_described(images: &Images, transport: &str, path: &Path) {
    for image in &images.index.images {
        let found = inspect(&format!("{transport}:{}:{}", path.display(), image.slice));
        assert_eq!(found["Digest"], image.digest.0);
        assert_eq!((&found["Architecture"], &found["Os"]), (&"amd64".into(), &"linux".into()));
        assert_eq!(found["Labels"]["tranche.slice"], image.slice);
        let layers: Vec<&str> = image.layers.iter().map(|layer| layer.digest.0.as_str()).collect();
        assert_eq!(found["Layers"], serde_json::json!(layers));
    }
}

#[test]
fn layouts_and_archives_are_read() {
    let images = Images::of(3);
    assert_described(&images, "oci", &images.output());
    let archive = images.folder.path().join("images.tar");
    write_archive(&images.output(), &archive).unwrap();
    assert_described(&images, "oci-archive", &archive);
}

#[test]
fn copies_keep_digests_and_conversions_unpack_every_layer() {
    let images = Images::of(3);
    let image = &images.index.images[1];
    let from = format!("oci:{}:{}", images.output().display(), image.slice);
    let copy = images.folder.path().join("copy");
    skopeo(&["copy", &from, &format!("oci:{}:again", copy.display())]);
    assert_eq!(inspect(&format!("oci:{}:again", copy.display()))["Digest"], image.digest.0);
    let blobs = contents(&copy.join("blobs/sha256"));
    assert_eq!(blobs.len(), image.layers.len() + 2);
    // Docker's format names layers by their uncompressed digests, which it checks.
    let archive = images.folder.path().join("docker.tar");
    skopeo(&["copy", &from, &format!("docker-archive:{}:slice:test", archive.display())]);
    assert!(archive.metadata().unwrap().len() > 0);
}
