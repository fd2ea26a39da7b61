//! Inventories of what is packed (software bills of materials), in CycloneDX 1.6.
//!
//! CycloneDX, because it has a component type for models and asks for no time of writing.
//! Each image carries its own as a file, so that it reaches every registry; referrers
//! (distribution-spec 1.1) do not, many registries lack them.

use super::layout::encode;
use crate::PackageError;
use crate::elf::{Binary, Libraries};
use serde::Serialize;
use tranche_schema::{Digest, FileEntry, Manifest};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<&'a Component>,
}

#[derive(Serialize)]
struct Metadata {
    component: Component,
}

#[derive(Clone, Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
}

#[derive(Clone, Serialize)]
struct Hash {
    #[serde(rename = "alg")]
    algorithm: &'static str,
    content: String,
}

impl Component {
    /// Named by its digest, which no two files of an image share unless they are one.
    fn new(kind: &'static str, name: &str, version: Option<String>, digest: &Digest) -> Self {
        Self {
            kind,
            reference: format!("{name}@{digest}"),
            name: name.to_owned(),
            version,
            hashes: vec![Hash { algorithm: "SHA-256", content: digest.hex().to_owned() }],
        }
    }
}

/// What the images of a bundle have in common.
pub(crate) struct Parts {
    programs: Vec<Component>,
}

impl Parts {
    /// Takes the digests of the programs and libraries.
    pub(crate) fn read(
        manifest: &Manifest,
        shim: &Binary,
        engine: Option<&Binary>,
        libraries: &Libraries,
    ) -> Result<Self, PackageError> {
        let mut programs = vec![];
        let mut add = |kind, name: &str, version, binary: &Binary| {
            let digest = Digest::of_file(&binary.path).map_err(PackageError::io(&binary.path))?;
            programs.push(Component::new(kind, name, version, &digest));
            Ok::<_, PackageError>(())
        };
        add("application", "tranche-shim", None, shim)?;
        if let Some(engine) = engine {
            add("library", &manifest.engine, version(engine, "VERS_"), engine)?;
        }
        if let Some(loader) = &libraries.loader {
            let name = loader.path.rsplit('/').next().unwrap_or(&loader.path);
            add("library", name, version(&loader.binary, "GLIBC_"), &loader.binary)?;
        }
        for (name, library) in &libraries.files {
            add("library", name, version(library, "GLIBC_"), library)?;
        }
        Ok(Self { programs })
    }

    /// The inventory of one slice's image, by its reduced manifest.
    pub(crate) fn of_slice(&self, reduced: &Manifest) -> Result<Vec<u8>, PackageError> {
        let slice = reduced.slices.first().map_or("", |slice| slice.name.as_str());
        self.inventory(&format!("{} {slice}", reduced.model.name), &reduced.model.digest, &reduced.files)
    }

    /// The inventory of all images of a bundle.
    pub(crate) fn of_bundle(&self, manifest: &Manifest) -> Result<Vec<u8>, PackageError> {
        self.inventory(&manifest.model.name, &manifest.model.digest, &manifest.files)
    }

    fn inventory(&self, name: &str, model: &Digest, files: &[FileEntry]) -> Result<Vec<u8>, PackageError> {
        let files: Vec<Component> = files
            .iter()
            .filter(|entry| entry.path != Manifest::PLAN_FILE)
            .map(|entry| {
                let kind = if entry.path.ends_with(".onnx") { "machine-learning-model" } else { "data" };
                Component::new(kind, &entry.path, None, &entry.digest)
            })
            .collect();
        encode(&Document {
            bom_format: "CycloneDX",
            spec_version: "1.6",
            version: 1,
            metadata: Metadata {
                component: Component { hashes: vec![], ..Component::new("container", name, None, model) },
            },
            components: self.programs.iter().chain(&files).collect(),
        })
    }
}

/// The newest symbol version with this prefix: how libraries tell their release.
fn version(library: &Binary, prefix: &str) -> Option<String> {
    let numbers =
        |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    let versions = library.defined.iter().filter_map(|version| version.strip_prefix(prefix));
    versions
        .filter(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        .max_by_key(|version| numbers(version))
        .map(str::to_owned)
}
