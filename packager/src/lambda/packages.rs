//! Makes the folder of packages.

use super::archive::write_archive;
use super::choice::{self, Unzipped};
use super::limits::SNAP_START_EPHEMERAL_STORAGE_MIB;
use super::runtime::{BUNDLE, ZipRuntime};
use super::{LambdaError, architecture_name};
use crate::elf::Architecture;
use crate::image::layer::Content;
use crate::image::runtime::{Runtime, programs};
use crate::image::sbom::Parts;
use crate::image::{ImageRequest, SBOM_FILE, Starter, slice, write_layout};
use crate::replace::{replace_folder, write_file};
use crate::{PackageError, check_bundle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tranche_schema::{
    ByteCount, Digest, Document as _, LambdaIndex, LambdaLayer, LambdaPackage, LambdaPackageKind, Manifest,
    SliceManifest,
};

/// The OCI image layout in the folder of the packages.
pub const IMAGES_FOLDER: &str = "images";
/// Folder of the layers.
const LAYERS_FOLDER: &str = "layers";
/// Digits of a layer's digest in its name.
const LAYER_DIGITS: usize = 12;

/// What to make packages of.
#[derive(Clone, Debug)]
pub struct LambdaRequest {
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
    /// Whether zip files leave the engine's library to a layer that they share. Where the
    /// engine is built into the shim there is nothing to share, and no layer.
    pub use_layer: bool,
    /// How every slice is to go; where a limit forbids it, it is refused. Each slice goes the
    /// simplest way that it can when `None`.
    pub prefer: Option<LambdaPackageKind>,
    /// What `/tmp` of the functions holds, in MiB: images say that they can be restored from
    /// snapshots only where SnapStart takes it (512).
    pub ephemeral_storage_mib: u32,
    /// Where the packages go. A former folder of packages there is replaced.
    pub output: PathBuf,
}

impl LambdaRequest {
    /// A request for the shim's architecture, with no engine library and the smallest `/tmp`.
    #[must_use]
    pub fn new(bundle: &Path, shim: &Path, output: &Path) -> Self {
        Self {
            bundle: bundle.to_owned(),
            shim: shim.to_owned(),
            engine_library: None,
            library_folders: vec![],
            architecture: None,
            use_layer: false,
            prefer: None,
            ephemeral_storage_mib: SNAP_START_EPHEMERAL_STORAGE_MIB,
            output: output.to_owned(),
        }
    }

    fn for_images(&self) -> ImageRequest {
        ImageRequest {
            engine_library: self.engine_library.clone(),
            library_folders: self.library_folders.clone(),
            architecture: self.architecture,
            ..ImageRequest::new(&self.bundle, &self.shim, &self.output.join(IMAGES_FOLDER))
        }
    }
}

/// Packs each slice of a bundle for AWS Lambda and writes [`LambdaIndex::FILE`] beside the
/// packages. A slice goes as a zip file within the call, else as one through a bucket, else
/// as an image, the first of these that no limit forbids; [`LambdaPackage::reason`] says why.
///
/// The folder is made under a temporary name beside the output and renamed when whole.
///
/// # Errors
/// When the bundle is not whole; when a program or a library is for another machine, is
/// damaged, needs what is not there or cannot run the bundle's engine; when a slice is beyond
/// the limits of what was asked for, or of every package; when there is something other than
/// packages of ours at the output; or when a file cannot be read or written. Nothing is left
/// behind then.
pub fn build_packages(request: &LambdaRequest) -> Result<LambdaIndex, PackageError> {
    let manifest = check_bundle(&request.bundle)?;
    let images = request.for_images();
    // What is wrong with every kind of package is said at once; what only zip files cannot
    // have leaves images.
    let (shim, _) = programs(&images, &manifest.engine)?;
    let zip = match ZipRuntime::find(&images, &manifest.engine) {
        Ok(runtime) => Ok(runtime),
        Err(PackageError::Lambda(error @ LambdaError::Glibc { .. })) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let is_ours = |folder: &Path| LambdaIndex::read(&folder.join(LambdaIndex::FILE)).is_ok();
    replace_folder(&request.output, is_ours, |folder| {
        let builder = Builder { request, images, manifest: &manifest, zip, folder };
        builder.build(architecture_name(shim.architecture))
    })
}

struct Builder<'a> {
    request: &'a LambdaRequest,
    images: ImageRequest,
    manifest: &'a Manifest,
    /// What runs in zip files, or why nothing does.
    zip: Result<ZipRuntime, String>,
    folder: &'a Path,
}

impl Builder<'_> {
    fn build(&self, architecture: &str) -> Result<LambdaIndex, PackageError> {
        let bundle_digest = Digest::of(self.manifest.to_json()?.as_bytes());
        let layers: Vec<LambdaLayer> = self.layer()?.into_iter().collect();
        let parts = self.parts()?;
        let mut packages = Vec::with_capacity(self.manifest.slices.len());
        let mut left = BTreeMap::new();
        for part in &self.manifest.slices {
            match self.zip_package(part, parts.as_ref(), &layers)? {
                Ok(package) => packages.push(Some(package)),
                Err(zip) => {
                    left.insert(part.name.as_str(), zip);
                    packages.push(None);
                }
            }
        }
        let mut images = self.image_packages(&left, &bundle_digest)?.into_iter();
        // Images are made in the manifest's order, so each gap is the next one's.
        let packages: Vec<LambdaPackage> =
            packages.into_iter().filter_map(|package| package.or_else(|| images.next())).collect();
        let uses = |layer: &LambdaLayer| packages.iter().any(|package| package.layers.contains(&layer.name));
        let (layers, unused): (Vec<LambdaLayer>, Vec<LambdaLayer>) = layers.into_iter().partition(uses);
        for layer in unused {
            let path = self.folder.join(&layer.file);
            std::fs::remove_file(&path).map_err(PackageError::io(&path))?;
        }
        let index = LambdaIndex {
            header: LambdaIndex::header(),
            bundle_digest,
            engine: self.manifest.engine.clone(),
            architecture: architecture.to_owned(),
            packages,
            layers,
            entry: None,
        };
        if let Some(parts) = parts {
            write_file(&self.folder.join(SBOM_FILE), &parts.of_bundle(self.manifest)?)?;
        }
        write_file(&self.folder.join(LambdaIndex::FILE), index.to_json()?.as_bytes())?;
        Ok(index)
    }

    fn parts(&self) -> Result<Option<Parts>, PackageError> {
        let Ok(runtime) = &self.zip else { return Ok(None) };
        Parts::read(self.manifest, &runtime.shim, runtime.engine.as_ref(), &runtime.libraries).map(Some)
    }

    /// The layer of the engine's library, where one is asked for and zip files are possible.
    fn layer(&self) -> Result<Option<LambdaLayer>, PackageError> {
        let Ok(runtime) = &self.zip else { return Ok(None) };
        let wanted = self.request.use_layer && self.request.prefer != Some(LambdaPackageKind::Image);
        if !wanted || runtime.engine.is_none() {
            return Ok(None);
        }
        let folder = self.folder.join(LAYERS_FOLDER);
        std::fs::create_dir_all(&folder).map_err(PackageError::io(&folder))?;
        let unnamed = folder.join("unnamed.zip");
        let written = write_archive(&runtime.add_engine(Content::default()), &unnamed)?;
        let digits = written.digest.hex().get(..LAYER_DIGITS).unwrap_or_default();
        let name = format!("tranche-{}-{digits}", self.manifest.engine);
        let file = format!("{LAYERS_FOLDER}/{name}.zip");
        let path = self.folder.join(&file);
        std::fs::rename(&unnamed, &path).map_err(PackageError::io(&path))?;
        Ok(Some(LambdaLayer {
            name,
            file,
            bytes: written.bytes,
            unzipped_bytes: written.unzipped,
            digest: written.digest,
        }))
    }

    /// The slice as a zip file, or why it is none.
    fn zip_package(
        &self,
        part: &SliceManifest,
        parts: Option<&Parts>,
        layers: &[LambdaLayer],
    ) -> Result<Result<LambdaPackage, Result<(), String>>, PackageError> {
        let (Ok(runtime), Some(parts)) = (&self.zip, parts) else {
            let zip = Err(self.zip.as_ref().err().cloned().unwrap_or_default());
            choice::wants_zip(&part.name, &zip, self.request.prefer)?;
            return Ok(Err(zip));
        };
        let content = self.zip_content(part, parts, runtime, layers.is_empty())?;
        let unzipped = Unzipped {
            own: content.file_bytes()?,
            layers: layers.iter().map(|layer| layer.unzipped_bytes).sum(),
        };
        let zip = choice::check_zip(&unzipped);
        if !choice::wants_zip(&part.name, &zip, self.request.prefer)? {
            return Ok(Err(zip));
        }
        let file = format!("{}.zip", part.name);
        let written = write_archive(&content, &self.folder.join(&file))?;
        let (kind, reason) = choice::of_zip(&part.name, written.bytes, &unzipped, self.request.prefer)?;
        Ok(Ok(LambdaPackage {
            slice: part.name.clone(),
            kind,
            reason,
            file: Some(file),
            bytes: written.bytes,
            unzipped_bytes: written.unzipped,
            digest: written.digest,
            layers: layers.iter().map(|layer| layer.name.clone()).collect(),
        }))
    }

    /// `bootstrap`, `bundle/`, the inventory, and the engine unless a layer has it.
    fn zip_content(
        &self,
        part: &SliceManifest,
        parts: &Parts,
        runtime: &ZipRuntime,
        with_engine: bool,
    ) -> Result<Content, PackageError> {
        let reduced = slice::reduce(self.manifest, part)?;
        let mut content = runtime
            .shim_content()
            .bytes(SBOM_FILE, parts.of_slice(&reduced)?)
            .bytes(&format!("{BUNDLE}{}", Manifest::FILE), reduced.to_json()?);
        for path in part.weights.iter().chain(&part.members).chain([&part.model]) {
            content = content.file(&format!("{BUNDLE}{path}"), &self.request.bundle.join(path));
        }
        Ok(if with_engine { runtime.add_engine(content) } else { content })
    }

    /// The slices in `left` as images, in the manifest's order.
    fn image_packages(
        &self,
        left: &BTreeMap<&str, Result<(), String>>,
        bundle_digest: &Digest,
    ) -> Result<Vec<LambdaPackage>, PackageError> {
        if left.is_empty() {
            return Ok(vec![]);
        }
        let mut manifest = self.manifest.clone();
        manifest.slices.retain(|slice| left.contains_key(slice.name.as_str()));
        let runtime = Runtime::find(&self.images, &manifest.engine)?;
        let snap_start = self.request.ephemeral_storage_mib <= SNAP_START_EPHEMERAL_STORAGE_MIB;
        let folder = self.folder.join(IMAGES_FOLDER);
        let written = write_layout(
            &self.images,
            &manifest,
            bundle_digest,
            &runtime,
            Starter::Lambda { snap_start },
            &folder,
        )?;
        let mut packages = Vec::with_capacity(left.len());
        for (image, unpacked) in written.index.images.into_iter().zip(written.unpacked) {
            let zip = left.get(image.slice.as_str()).cloned().unwrap_or(Ok(()));
            packages.push(LambdaPackage {
                kind: LambdaPackageKind::Image,
                reason: choice::of_image(&image.slice, unpacked, &zip, self.request.prefer)?,
                file: None,
                bytes: image.layers.iter().map(|layer| layer.bytes).sum::<ByteCount>(),
                unzipped_bytes: unpacked,
                digest: image.digest,
                layers: vec![],
                slice: image.slice,
            });
        }
        Ok(packages)
    }
}
