//! OCI images of a bundle's slices, made without a container engine.
//!
//! ```text
//! images/
//!   oci-layout, index.json      an OCI image layout with one image a slice
//!   blobs/sha256/…              documents and layers, each once
//!   images.json                 what each image is made of
//!   sbom.cdx.json               what is packed in all of them
//! ```
//!
//! docs/formats/images.md is the contract: files, user, environment, labels, layers.
//! Equal inputs give byte-identical layouts.

mod archive;
mod error;
mod front_door;
pub(crate) mod layer;
mod layout;
mod oci;
mod program;
pub(crate) mod runtime;
pub(crate) mod sbom;
pub(crate) mod slice;

pub use archive::write_archive;
pub use error::ImageError;
pub use front_door::{FRONT_DOOR, FrontDoorRequest, build_front_door};
pub use layer::Content;
pub use program::{ProgramRequest, write_program_archive};

use crate::elf::Architecture;
use crate::replace::{replace_folder, write_file};
use crate::{PackageError, check_bundle};
use layout::{Image, Layer, Layout};
use runtime::Runtime;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tranche_schema::{ByteCount, Digest, Document as _, ImageIndex, LayerPurpose, Manifest, SliceImage};

/// The images' inventory, beside `index.json`: CycloneDX 1.6.
pub const SBOM_FILE: &str = "sbom.cdx.json";

/// User and group that the images run as; any other works too.
const USER: u32 = 12000;

/// What to make images of.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// The bundle.
    pub bundle: PathBuf,
    /// The function's program.
    pub shim: PathBuf,
    /// The engine's shared library, where the bundle's engine is one.
    pub engine_library: Option<PathBuf>,
    /// Folders searched for libraries before the host's.
    pub library_folders: Vec<PathBuf>,
    /// What the functions run on; as the shim says where there is none.
    pub architecture: Option<Architecture>,
    /// Where the layout goes. A former one there is replaced.
    pub output: PathBuf,
}

impl ImageRequest {
    /// A request for the shim's architecture, with no engine library.
    #[must_use]
    pub fn new(bundle: &Path, shim: &Path, output: &Path) -> Self {
        Self {
            bundle: bundle.to_owned(),
            shim: shim.to_owned(),
            engine_library: None,
            library_folders: vec![],
            architecture: None,
            output: output.to_owned(),
        }
    }
}

/// Makes an image of each slice of a bundle and writes them as one OCI image layout, with
/// [`ImageIndex::FILE`] and [`SBOM_FILE`] beside its index.
///
/// The layout is made in a temporary folder beside the output and renamed when whole.
///
/// # Errors
/// When the bundle is not whole; when a program or a library is for another machine, is
/// damaged, or needs what is not there; when the shim cannot run the bundle's engine; when
/// there is something other than a layout of ours at the output; or when a file cannot be
/// read or written. Nothing is left behind then.
pub fn build_images(request: &ImageRequest) -> Result<ImageIndex, PackageError> {
    let manifest = check_bundle(&request.bundle)?;
    let runtime = Runtime::find(request, &manifest.engine)?;
    let is_ours = |folder: &Path| ImageIndex::read(&folder.join(ImageIndex::FILE)).is_ok();
    let bundle_digest = Digest::of(manifest.to_json()?.as_bytes());
    replace_folder(&request.output, is_ours, |folder| {
        Ok(write_layout(request, &manifest, &bundle_digest, &runtime, Starter::Http, folder)?.index)
    })
}

/// What starts a slice's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starter {
    /// Something that posts requests to a port.
    Http,
    /// AWS Lambda, with the label that lets it restore snapshots or without.
    Lambda { snap_start: bool },
}

/// Images as written.
pub(crate) struct Written {
    pub(crate) index: ImageIndex,
    /// Size of what each image unpacks to, in the index's order.
    pub(crate) unpacked: Vec<ByteCount>,
}

/// Writes the images of a manifest's slices into an empty folder.
pub(crate) fn write_layout(
    request: &ImageRequest,
    manifest: &Manifest,
    bundle_digest: &Digest,
    runtime: &Runtime,
    starter: Starter,
    folder: &Path,
) -> Result<Written, PackageError> {
    let mut layout = Layout::new(folder)?;
    // What changes least comes first, so that hosts share as much as they can.
    let mut below = vec![layout.layer(LayerPurpose::Base, &base())?];
    if let Some(content) = runtime.engine_content() {
        below.push(layout.layer(LayerPurpose::Engine, &content)?);
    }
    below.push(layout.layer(LayerPurpose::Shim, &runtime.shim_content())?);
    let weights = weight_layers(request, manifest, &layout)?;
    let parts = sbom::Parts::read(manifest, &runtime.shim, runtime.engine.as_ref(), &runtime.libraries)?;
    let mut images = Vec::with_capacity(manifest.slices.len());
    let mut unpacked = Vec::with_capacity(manifest.slices.len());
    for part in &manifest.slices {
        let reduced = slice::reduce(manifest, part)?;
        let inventory = parts.of_slice(&reduced)?;
        let content = slice::content(&request.bundle, &reduced, inventory)?;
        let mut layers = below.clone();
        let mine = weights.iter().filter(|(users, _)| users.contains(&&part.name));
        layers.extend(mine.map(|(_, layer)| layer.clone()));
        layers.push(layout.layer(LayerPurpose::Slice, &content)?);
        let described = layers.iter().map(|layer| layer.described.clone()).collect();
        unpacked.push(layers.iter().map(|layer| layer.unpacked).sum());
        let execution = slice::execution(manifest, part, runtime, starter);
        let architecture = runtime.architecture();
        let image = Image { name: &part.name, architecture, execution, layers };
        images.push(SliceImage { slice: part.name.clone(), digest: layout.image(image)?, layers: described });
    }
    layout.finish(BTreeMap::from([
        ("tranche.bundle-digest".to_owned(), bundle_digest.to_string()),
        ("tranche.model-digest".to_owned(), manifest.model.digest.to_string()),
        ("tranche.plan-digest".to_owned(), manifest.plan_digest.to_string()),
    ]))?;
    let index = ImageIndex {
        header: ImageIndex::header(),
        bundle_digest: bundle_digest.clone(),
        engine: manifest.engine.clone(),
        architecture: runtime.architecture().to_string(),
        images,
    };
    write_file(&folder.join(SBOM_FILE), &parts.of_bundle(manifest)?)?;
    write_file(&folder.join(ImageIndex::FILE), index.to_json()?.as_bytes())?;
    Ok(Written { index, unpacked })
}

/// Folders that a container's file systems are mounted on, one to write to, and names for
/// the two users.
fn base() -> Content {
    Content::default()
        .folder("dev", 0o755)
        .folder("proc", 0o555)
        .folder("sys", 0o555)
        .folder("tmp", 0o1777)
        .bytes(
            "etc/passwd",
            format!("root:x:0:0:root:/:/sbin/nologin\ntranche:x:{USER}:{USER}:tranche:/tmp:/sbin/nologin\n"),
        )
        .bytes("etc/group", format!("root:x:0:\ntranche:x:{USER}:\n"))
}

/// Layers of weights, by the slices that use them: those that most slices use first, then
/// in the plan's order. No weight is in two.
fn weight_layers<'a>(
    request: &ImageRequest,
    manifest: &'a Manifest,
    layout: &Layout,
) -> Result<Vec<(Vec<&'a String>, Layer)>, PackageError> {
    let mut layers = Vec::new();
    for (users, paths) in slice::weight_groups(manifest) {
        let mut content = Content::default();
        for path in paths {
            content = content.file(&slice::path_in_image(path), &request.bundle.join(path));
        }
        layers.push((users, layout.layer(LayerPurpose::Weights, &content)?));
    }
    Ok(layers)
}
