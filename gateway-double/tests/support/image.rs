//! OCI image layouts made by hand.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use tar::{EntryType, Header};

/// A layer being written.
pub struct LayerBuilder(tar::Builder<Vec<u8>>);

impl LayerBuilder {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, mode, content, None)
    }

    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, b"", None)
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, b"", Some(target))
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, b"", Some(target))
    }

    /// Names are written as they are, also ones that the library would refuse.
    fn entry(mut self, kind: EntryType, path: &str, mode: u32, content: &[u8], link: Option<&str>) -> Self {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(link) = link {
            header.as_ustar_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Writes an image of these tar layers, every second one gzipped, as an OCI image layout.
pub fn write_layout(folder: &Path, name: &str, layers: &[Vec<u8>], run: &Value) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8], kind: &str| {
        let digest = digest(bytes);
        fs::write(blobs.join(&digest["sha256:".len()..]), bytes).unwrap();
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let described: Vec<Value> = layers
        .iter()
        .enumerate()
        .map(|(index, layer)| match index % 2 {
            0 => blob(layer, "application/vnd.oci.image.layer.v1.tar"),
            _ => blob(&gzip(layer), "application/vnd.oci.image.layer.v1.tar+gzip"),
        })
        .collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": run,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": described });
    let mut manifest = blob(manifest.to_string().as_bytes(), kind);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// The tests' function as an image: three layers, a user that is not root.
pub fn function_layout(folder: &Path, name: &str) {
    let base =
        LayerBuilder::new().folder("tmp/", 0o1777).folder("data/", 0o755).file("data/below", 0o644, b"b");
    let program = LayerBuilder::new().file("function", 0o755, &fs::read(super::function_program()).unwrap());
    let top = LayerBuilder::new().file("data/.wh.below", 0o644, b"").file("data/top", 0o600, b"top");
    let layers = [base.finish(), program.finish(), top.finish()];
    let run = json!({
        "Entrypoint": ["/function"],
        "Env": ["PATH=/", "FROM_IMAGE=yes", "TRANCHE_LISTEN=0.0.0.0:8080"],
        "User": "12000:12001",
        "ExposedPorts": { "8080/tcp": {} },
    });
    write_layout(folder, name, &layers, &run);
}
