//! Image layouts, options, and registries to push them to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step ends the test")]
#![allow(dead_code, reason = "each test file uses a part")]

pub mod double;
pub mod real;

use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;
pub use tranche_deployer::registry::Options;
use tranche_deployer::registry::{
    CredentialSource, Credentials, Layout, PushEvent, Pushed, Reference, RegistryError, push_layout,
};
use tranche_schema::Digest;

/// More than one PATCH's worth of a small blob.
pub const LARGE: usize = 3 << 20;

/// An image layout in a folder of its own.
pub struct Images {
    pub folder: tempfile::TempDir,
    manifests: Vec<serde_json::Value>,
}

impl Images {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { folder, manifests: Vec::new() }
    }

    /// An image of these layers, with a configuration of its own.
    pub fn image(mut self, name: &str, layers: &[&[u8]]) -> Self {
        let digests: Vec<String> = layers.iter().map(|layer| Digest::of(layer).0).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": [format!("NAME={name}")]},
            "rootfs": {"type": "layers", "diff_ids": digests}});
        let layer = |bytes: &&[u8]| self.descriptor("application/vnd.oci.image.layer.v1.tar", bytes);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.descriptor("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let text = manifest.to_string();
        let mut entry = self.descriptor("application/vnd.oci.image.manifest.v1+json", text.as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.manifests.push(entry);
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(self.folder.path().join("index.json"), index.to_string()).unwrap();
        self
    }

    fn descriptor(&self, media_type: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        fs::write(self.folder.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn layout(&self) -> Layout {
        Layout::open(self.path()).unwrap()
    }
}

/// A tar archive with one file of these contents, as a layer has to be.
pub fn layer(file: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..file.len()].copy_from_slice(file.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..124].copy_from_slice(b"0000000\x000000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156..265].copy_from_slice(&[[b'0'].as_slice(), &[0; 100], b"ustar\x0000"].concat());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; contents.len().next_multiple_of(512) - contents.len() + 1024];
    [&header, contents, &padding].concat()
}

/// Bytes that do not repeat.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Plain HTTP to this machine, quick pauses, no one's credentials.
pub fn options() -> Options {
    Options {
        insecure: true,
        deadline: Duration::from_secs(60),
        answer_timeout: Duration::from_secs(20),
        pause: Duration::from_millis(2),
        ..Options::new(CredentialSource::Given(Credentials::anonymous()))
    }
}

pub fn options_as(credentials: Credentials) -> Options {
    Options { credentials: CredentialSource::Given(credentials), ..options() }
}

/// `image` goes to `HOST/image:tag`, each to a repository of its own.
pub fn names(host: impl std::fmt::Display, images: &[&str]) -> Vec<(String, Reference)> {
    let name = |image: &&str| ((*image).to_owned(), format!("{host}/team/{image}:tag").parse().unwrap());
    images.iter().map(name).collect()
}

pub async fn push(
    images: &Images,
    names: &[(String, Reference)],
    options: &Options,
) -> (Result<Vec<Pushed>, RegistryError>, Vec<PushEvent>) {
    let mut events = Vec::new();
    let pushed = push_layout(&images.layout(), names, options, |event| events.push(event)).await;
    (pushed, events)
}

/// The pauses that were made, with their reasons.
pub fn retries(events: &[PushEvent]) -> Vec<(String, Duration)> {
    let retry = |event: &PushEvent| match event {
        PushEvent::Retrying { reason, pause, .. } => Some((reason.clone(), *pause)),
        _ => None,
    };
    events.iter().filter_map(retry).collect()
}
