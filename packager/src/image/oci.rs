//! The documents of an OCI image layout (image-spec 1.1).
//!
//! Own types, because those of the crate `oci-spec` keep labels and annotations in hash
//! maps, whose order differs from run to run: equal images would get different digests.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tranche_schema::{ByteCount, Digest};

/// Media types (image-spec, "OCI Image Media Types").
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The annotation that names an image of a layout.
pub(crate) const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// Every time in an image: the start of 1970.
pub(crate) const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Labels and annotations.
pub(crate) type Words = BTreeMap<String, String>;

/// `oci-layout`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutVersion {
    pub(crate) image_layout_version: String,
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: ByteCount,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub(crate) annotations: Words,
}

/// What a manifest's image runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

/// `index.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub(crate) annotations: Words,
}

/// An image.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub(crate) annotations: Words,
}

/// An image's configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Configuration {
    pub(crate) created: String,
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) config: Execution,
    pub(crate) rootfs: RootFileSystem,
    pub(crate) history: Vec<History>,
}

/// How an image is run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Execution {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) exposed_ports: BTreeMap<String, Empty>,
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) labels: Words,
    pub(crate) stop_signal: String,
}

/// `{}`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// The layers, uncompressed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootFileSystem {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Where a layer comes from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) created: String,
    pub(crate) created_by: String,
}
