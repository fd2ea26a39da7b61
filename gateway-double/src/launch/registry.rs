//! Pulling over the OCI distribution API, in plain HTTP, every digest checked.

use super::reference::Reference;
use crate::DoubleError;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::NamedTempFile;

const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// How long a registry may say nothing, and how long a pull may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const PULL_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest manifest that registries need to take (distribution specification).
const MOST_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// A descriptor of the OCI image specification.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    manifests: Vec<Descriptor>,
}

/// An image manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// Blobs on disk by digest, and the way to get more.
#[derive(Debug)]
pub(super) struct Registry {
    client: reqwest::Client,
    folder: PathBuf,
}

impl Registry {
    /// Keeps blobs in `folder`, which must be there.
    pub fn new(folder: PathBuf) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(READ_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .timeout(PULL_TIMEOUT)
            .build()
            .unwrap_or_default();
        Self { client, folder }
    }

    /// The manifest for this machine, its digest, and its blobs fetched.
    pub async fn pull(&self, reference: &Reference) -> Result<(String, Manifest), DoubleError> {
        let (mut digest, mut kind, mut text) = self.manifest(reference, &reference.version).await?;
        if INDEX_TYPES.contains(&kind.as_str()) {
            let index: Index = parse(&digest, &text)?;
            let chosen = index.manifests.iter().find(|one| one.is_for_this_machine()).ok_or_else(|| {
                image_error(&digest, format!("it is for other machines than linux/{}", architecture()))
            })?;
            (digest, kind, text) = self.manifest(reference, &chosen.digest).await?;
        }
        if !MANIFEST_TYPES.contains(&kind.as_str()) {
            return Err(image_error(&digest, format!("`{kind}` is no image manifest")));
        }
        let manifest: Manifest = parse(&digest, &text)?;
        for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.fetch(reference, descriptor).await?;
        }
        Ok((digest, manifest))
    }

    /// Where the blob lies once it is fetched.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.folder.join(digest.replace(':', "-"))
    }

    /// Digest, media type and text of a manifest or index.
    async fn manifest(
        &self,
        reference: &Reference,
        version: &str,
    ) -> Result<(String, String, Vec<u8>), DoubleError> {
        let Reference { host, repository, .. } = reference;
        let url = format!("http://{host}/v2/{repository}/manifests/{version}");
        let accept = [INDEX_TYPES, MANIFEST_TYPES].concat().join(", ");
        let mut response = self.get(&url, &accept).await?;
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let mut text = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| registry_error(&url, error))? {
            text.extend_from_slice(&piece);
            if text.len() as u64 > MOST_MANIFEST_BYTES {
                return Err(registry_error(&url, format!("longer than {MOST_MANIFEST_BYTES} bytes")));
            }
        }
        let found = sha256(&text);
        if version.contains(':') && version != found {
            return Err(DoubleError::Digest { what: url, expected: version.to_owned(), found });
        }
        Ok((found, kind, text))
    }

    /// Fetches a blob unless it is there, checks it, then puts it in its place.
    async fn fetch(&self, reference: &Reference, descriptor: &Descriptor) -> Result<(), DoubleError> {
        let Descriptor { digest, size, .. } = descriptor;
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(image_error(digest, "digests other than sha256 are not known here".to_owned()));
        }
        let path = self.blob(digest);
        if path.exists() {
            return Ok(());
        }
        let Reference { host, repository, .. } = reference;
        let url = format!("http://{host}/v2/{repository}/blobs/{digest}");
        let mut response = self.get(&url, "*/*").await?;
        let mut file =
            NamedTempFile::new_in(&self.folder).map_err(DoubleError::file("write", &self.folder))?;
        let (mut hash, mut length) = (Sha256::new(), 0);
        while let Some(piece) = response.chunk().await.map_err(|error| registry_error(&url, error))? {
            length += piece.len() as u64;
            if length > *size {
                return Err(registry_error(&url, format!("longer than the {size} bytes of its descriptor")));
            }
            hash.update(&piece);
            file.write_all(&piece).map_err(DoubleError::file("write", file.path()))?;
        }
        let found = format!("sha256:{}", hexadecimal(&hash.finalize()));
        if found != *digest {
            return Err(DoubleError::Digest { what: url, expected: digest.clone(), found });
        }
        file.persist(&path).map_err(|error| DoubleError::file("write", &path)(error.error))?;
        Ok(())
    }

    async fn get(&self, url: &str, accept: &str) -> Result<reqwest::Response, DoubleError> {
        let request = self.client.get(url).header("accept", accept);
        let response = request.send().await.map_err(|error| registry_error(url, error))?;
        match response.status().as_u16() {
            200 => Ok(response),
            status => Err(registry_error(url, format!("the registry answered {status}"))),
        }
    }
}

impl Descriptor {
    fn is_for_this_machine(&self) -> bool {
        // Without a platform there is nothing to choose by.
        self.platform.as_ref().is_none_or(|one| one.os == "linux" && one.architecture == architecture())
    }
}

/// This machine's architecture as OCI spells it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Reads a JSON document of an image.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(digest: &str, text: &[u8]) -> Result<T, DoubleError> {
    serde_json::from_slice(text).map_err(|error| image_error(digest, error.to_string()))
}

/// Reads a blob whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, DoubleError> {
    std::fs::read(path).map_err(DoubleError::file("read", path))
}

pub(super) fn image_error(digest: &str, reason: String) -> DoubleError {
    DoubleError::Image { digest: digest.to_owned(), reason }
}

fn registry_error(url: &str, reason: impl ToString) -> DoubleError {
    DoubleError::Registry { url: url.to_owned(), reason: reason.to_string() }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(&Sha256::digest(bytes)))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
