//! An OCI image layout on disk (image specification 1.1, "Image Layout").

use super::RegistryError;
use super::reference::is_digest;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tranche_schema::{ByteCount, Digest};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What registries must take of a manifest (distribution specification, "Pushing Manifests").
const MAX_MANIFEST: u64 = 4 << 20;

/// A blob of an image: its configuration or a layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    /// Digest of its contents.
    pub digest: Digest,
    /// Its size.
    pub bytes: ByteCount,
}

/// An image of a layout.
#[derive(Clone, Debug)]
pub struct LayoutImage {
    /// Its name in index.json: the annotation `org.opencontainers.image.ref.name`.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Media type of its manifest.
    pub media_type: String,
    /// The manifest as it is on disk: what the digest is of.
    pub manifest: Vec<u8>,
    /// Its layers and its configuration, none twice.
    pub blobs: Vec<Blob>,
}

/// An image layout, read and checked but for the contents of large blobs.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
    images: Vec<LayoutImage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutMark {
    image_layout_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageManifest {
    schema_version: u32,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Layout {
    /// Reads the layout in `folder`: index.json, every image's manifest, and the
    /// size of every blob.
    ///
    /// # Errors
    /// When it is no layout of version 1.0.0, a manifest differs from its digest,
    /// a blob is missing or has another size, two images have the same name, or
    /// an image is itself an index.
    pub fn open(folder: &Path) -> Result<Self, RegistryError> {
        let mut layout = Self { folder: folder.to_owned(), images: Vec::new() };
        let mark: LayoutMark = layout.document("oci-layout")?;
        if mark.image_layout_version != "1.0.0" {
            return Err(layout.damaged(format!("version {} is not known", mark.image_layout_version)));
        }
        let index: Index = layout.document("index.json")?;
        if index.schema_version != 2 || index.manifests.is_empty() {
            return Err(layout.damaged("index.json has no images".to_owned()));
        }
        let images: Vec<LayoutImage> = index
            .manifests
            .into_iter()
            .map(|descriptor| layout.image(descriptor))
            .collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(image) = images.iter().find(|image| !names.insert(image.name.as_str())) {
            return Err(layout.damaged(format!("two images are named `{}`", image.name)));
        }
        layout.images = images;
        Ok(layout)
    }

    /// Its images, as index.json has them.
    #[must_use]
    pub fn images(&self) -> &[LayoutImage] {
        &self.images
    }

    /// The image of that name in index.json.
    ///
    /// # Errors
    /// When there is none.
    pub fn image_named(&self, name: &str) -> Result<&LayoutImage, RegistryError> {
        self.images.iter().find(|image| image.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.images.iter().map(|image| image.name.as_str()).collect();
            self.damaged(format!("there is no image `{name}`, but {}", names.join(", ")))
        })
    }

    /// Where a blob's contents are.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    /// Reads a blob through and compares it with its digest. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or differs.
    pub fn check_blob(&self, digest: &Digest) -> Result<(), RegistryError> {
        let path = self.blob_path(digest);
        let found = Digest::of_file(&path).map_err(RegistryError::file("read", &path))?;
        if found != *digest {
            return Err(self.damaged(format!("the contents of blob {digest} are {found}")));
        }
        Ok(())
    }

    fn image(&self, descriptor: Descriptor) -> Result<LayoutImage, RegistryError> {
        let digest = &descriptor.digest;
        if !matches!(descriptor.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST) {
            return Err(self.damaged(format!(
                "{digest} in index.json is of type `{}`, and no image's manifest",
                descriptor.media_type
            )));
        }
        let Some(name) = descriptor.annotations.get(REF_NAME).cloned() else {
            return Err(self.damaged(format!("image {digest} in index.json has no name ({REF_NAME})")));
        };
        if descriptor.size > MAX_MANIFEST {
            return Err(self.damaged(format!("the manifest of `{name}` has more than {MAX_MANIFEST} bytes")));
        }
        self.check_size(&descriptor)?;
        let path = self.blob_path(digest);
        let manifest = std::fs::read(&path).map_err(RegistryError::file("read", &path))?;
        let found = Digest::of(&manifest);
        if found != *digest {
            return Err(self.damaged(format!("the contents of blob {digest} are {found}")));
        }
        let parsed: ImageManifest = serde_json::from_slice(&manifest)
            .map_err(|error| self.damaged(format!("the manifest of `{name}`: {error}")))?;
        if parsed.schema_version != 2 {
            return Err(
                self.damaged(format!("the manifest of `{name}` is of version {}", parsed.schema_version))
            );
        }
        let blobs = self.blobs(&parsed)?;
        Ok(LayoutImage {
            name,
            digest: descriptor.digest,
            media_type: descriptor.media_type,
            manifest,
            blobs,
        })
    }

    fn blobs(&self, manifest: &ImageManifest) -> Result<Vec<Blob>, RegistryError> {
        let mut blobs: Vec<Blob> = Vec::new();
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            self.check_size(descriptor)?;
            if blobs.iter().all(|blob| blob.digest != descriptor.digest) {
                blobs.push(Blob { digest: descriptor.digest.clone(), bytes: ByteCount(descriptor.size) });
            }
        }
        Ok(blobs)
    }

    fn check_size(&self, descriptor: &Descriptor) -> Result<(), RegistryError> {
        let digest = &descriptor.digest;
        // A digest becomes part of a path.
        if !is_digest(&digest.0) {
            return Err(self.damaged(format!("`{digest}` is no SHA-256 digest")));
        }
        let path = self.blob_path(digest);
        let found = std::fs::metadata(&path).map_err(RegistryError::file("read", &path))?;
        if !found.is_file() || found.len() != descriptor.size {
            let (found, expected) = (found.len(), descriptor.size);
            return Err(self.damaged(format!("blob {digest} has {found} bytes and should have {expected}")));
        }
        Ok(())
    }

    fn document<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<T, RegistryError> {
        let path = self.folder.join(name);
        let text = std::fs::read(&path).map_err(RegistryError::file("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| self.damaged(format!("{name}: {error}")))
    }

    fn damaged(&self, reason: String) -> RegistryError {
        RegistryError::Layout { folder: self.folder.clone(), reason }
    }
}
