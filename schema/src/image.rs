//! images.json: the OCI images made of a bundle, one for each slice.

use crate::{ByteCount, Digest, Document, Header};
use serde::{Deserialize, Serialize};

/// What a layer of an image holds. Layers of one purpose and digest are shared
/// between images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerPurpose {
    /// Folders that must be there, `/tmp` writable by all.
    Base,
    /// The function's program.
    Shim,
    /// An engine's library with the loader and the libraries it needs.
    Engine,
    /// Weights of slices.
    Weights,
    /// A slice's graph and its manifest.
    Slice,
    /// A deployment that a front door serves.
    Deployment,
    /// A program that is no function, with what lies beside it.
    Program,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// What it holds.
    pub purpose: LayerPurpose,
    /// Digest of the blob, as registries know it.
    pub digest: Digest,
    /// Size of the blob.
    pub bytes: ByteCount,
}

/// The image of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceImage {
    /// The slice.
    pub slice: String,
    /// Digest of its OCI image manifest.
    pub digest: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<ImageLayer>,
}

/// images.json, beside `oci-layout` in the folder of the images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageIndex {
    /// Format and version.
    pub header: Header,
    /// Digest of the bundle's manifest.json.
    pub bundle_digest: Digest,
    /// Engine that the shim in the images runs.
    pub engine: String,
    /// Processor architecture as OCI spells it (`amd64`, `arm64`).
    pub architecture: String,
    /// One image a slice, in the plan's order.
    pub images: Vec<SliceImage>,
}

impl Document for ImageIndex {
    const FORMAT: &'static str = "tranche-images";
    const VERSION: u32 = 1;
}

impl ImageIndex {
    /// File name in the folder of the images.
    pub const FILE: &'static str = "images.json";
}
