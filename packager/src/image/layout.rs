//! Writes an OCI image layout (image-spec 1.1, "OCI Image Layout Specification").

use super::ImageError;
use super::layer::{Content, Effort, keep};
use super::oci::{self, Descriptor, History, Words};
use crate::PackageError;
use crate::elf::Architecture;
use crate::replace::write_file;
use serde::Serialize;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tranche_schema::{ByteCount, Digest, ImageLayer, LayerPurpose};

/// Most layers of an image: overlay file systems take 128, and runtimes want some.
const MOST_LAYERS: usize = 120;

/// A layer in the layout.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) described: ImageLayer,
    /// Sum of its files' sizes.
    pub(super) unpacked: ByteCount,
    diff_id: Digest,
}

/// An image to be written.
pub(super) struct Image<'a> {
    /// Its name in the layout.
    pub(super) name: &'a str,
    pub(super) architecture: Architecture,
    pub(super) execution: oci::Execution,
    pub(super) layers: Vec<Layer>,
}

/// A layout in the making.
pub(super) struct Layout {
    folder: PathBuf,
    images: Vec<Descriptor>,
}

impl Layout {
    /// Begins a layout in an empty folder.
    pub(super) fn new(folder: &Path) -> Result<Self, PackageError> {
        let blobs = blobs(folder);
        std::fs::create_dir_all(&blobs).map_err(PackageError::io(&blobs))?;
        Ok(Self { folder: folder.to_owned(), images: vec![] })
    }

    pub(super) fn layer(&self, purpose: LayerPurpose, content: &Content) -> Result<Layer, PackageError> {
        let effort = match purpose {
            LayerPurpose::Weights => Effort::Stored,
            _ => Effort::Smallest,
        };
        let blob = content.write(effort, &blobs(&self.folder))?;
        let described = ImageLayer { purpose, digest: blob.digest, bytes: blob.bytes };
        Ok(Layer { described, unpacked: content.file_bytes()?, diff_id: blob.diff_id })
    }

    /// Writes an image's documents; gives the digest of its manifest.
    pub(super) fn image(&mut self, image: Image<'_>) -> Result<Digest, PackageError> {
        let count = image.layers.len();
        if count > MOST_LAYERS {
            let slice = image.name.to_owned();
            return Err(ImageError::TooManyLayers { slice, count, most: MOST_LAYERS }.into());
        }
        let platform = oci::Platform { architecture: image.architecture.to_string(), os: "linux".to_owned() };
        let annotations = image.execution.labels.clone();
        let config = self.json(
            oci::CONFIG,
            &oci::Configuration {
                created: oci::EPOCH.to_owned(),
                architecture: platform.architecture.clone(),
                os: platform.os.clone(),
                config: image.execution,
                rootfs: oci::RootFileSystem {
                    kind: "layers".to_owned(),
                    diff_ids: image.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
                },
                history: image.layers.iter().map(history).collect(),
            },
        )?;
        let descriptor = self.json(
            oci::MANIFEST,
            &oci::Manifest {
                schema_version: 2,
                media_type: oci::MANIFEST.to_owned(),
                config,
                layers: image.layers.iter().map(|layer| layer.descriptor()).collect(),
                annotations,
            },
        )?;
        let digest = descriptor.digest.clone();
        let annotations = Words::from([(oci::REFERENCE_NAME.to_owned(), image.name.to_owned())]);
        self.images.push(Descriptor { platform: Some(platform), annotations, ..descriptor });
        Ok(digest)
    }

    /// Writes `index.json` and `oci-layout`.
    pub(super) fn finish(self, annotations: Words) -> Result<(), PackageError> {
        let index = oci::Index {
            schema_version: 2,
            media_type: oci::INDEX.to_owned(),
            manifests: self.images,
            annotations,
        };
        let version = oci::LayoutVersion { image_layout_version: "1.0.0".to_owned() };
        write_file(&self.folder.join("index.json"), &encode(&index)?)?;
        write_file(&self.folder.join("oci-layout"), &encode(&version)?)
    }

    fn json(&self, media_type: &str, value: &impl Serialize) -> Result<Descriptor, PackageError> {
        let bytes = encode(value)?;
        let digest = Digest::of(&bytes);
        let blobs = blobs(&self.folder);
        let mut file = tempfile::NamedTempFile::new_in(&blobs).map_err(PackageError::io(&blobs))?;
        file.write_all(&bytes).map_err(PackageError::io(&blobs))?;
        keep(file, &blobs.join(digest.hex()))?;
        let size = ByteCount(bytes.len() as u64);
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: Words::new(),
        })
    }
}

impl Layer {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: oci::LAYER.to_owned(),
            digest: self.described.digest.clone(),
            size: self.described.bytes,
            platform: None,
            annotations: Words::new(),
        }
    }
}

fn history(layer: &Layer) -> History {
    let what = match layer.described.purpose {
        LayerPurpose::Base => "folders and users",
        LayerPurpose::Shim => "the function's program",
        LayerPurpose::Engine => "the engine's library and what it needs",
        LayerPurpose::Weights => "weights",
        LayerPurpose::Slice => "the slice's graph and manifest",
        LayerPurpose::Deployment => "the deployment",
        LayerPurpose::Program => "the program",
    };
    History { created: oci::EPOCH.to_owned(), created_by: format!("tranche: {what}") }
}

fn blobs(folder: &Path) -> PathBuf {
    folder.join("blobs").join("sha256")
}

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, PackageError> {
    serde_json::to_vec(value).map_err(|source| ImageError::Encode { source }.into())
}
