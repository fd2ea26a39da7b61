//! The image of a front door: its program and the deployment that it serves.

use super::layer::Content;
use super::layout::{Image, Layout};
use super::oci::{Empty, Execution};
use super::runtime::{LIBRARIES, libraries_content};
use super::slice::PORT;
use super::{ImageError, USER, base};
use crate::PackageError;
use crate::elf::{Binary, find_libraries};
use crate::replace::{replace_folder, write_file};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tranche_schema::{Deployment, Document as _, ImageIndex, LayerPurpose, SliceImage};

/// Name of the image in its layout.
pub const FRONT_DOOR: &str = "front-door";
/// Path of the program.
const PROGRAM: &str = "tranche/tranche-front-door";
/// Path of the deployment.
const DEPLOYMENT: &str = "tranche/deployment.json";

/// What to make the image of a front door of.
#[derive(Clone, Debug)]
pub struct FrontDoorRequest<'a> {
    /// The program.
    pub program: &'a Path,
    /// What it serves.
    pub deployment: &'a Deployment,
    /// Version of tranche, for the labels.
    pub tool_version: &'a str,
    /// Where the layout goes. A former one there is replaced.
    pub output: PathBuf,
}

/// Makes the image and writes it as an OCI image layout with one image, [`FRONT_DOOR`].
///
/// # Errors
/// When the program is none, is damaged or needs what is not there; when there is something
/// other than a layout of ours at the output; or when a file cannot be read or written.
pub fn build_front_door(request: &FrontDoorRequest<'_>) -> Result<ImageIndex, PackageError> {
    let program = Binary::read(request.program)?;
    if !program.is_program() {
        return Err(ImageError::NoProgram { shim: program.path }.into());
    }
    let libraries = find_libraries(&[&program], &[])?;
    let is_ours = |folder: &Path| ImageIndex::read(&folder.join(ImageIndex::FILE)).is_ok();
    replace_folder(&request.output, is_ours, |folder| {
        let mut layout = Layout::new(folder)?;
        let mut layers = vec![layout.layer(LayerPurpose::Base, &base())?];
        if let Some(content) = libraries_content(&libraries, None) {
            layers.push(layout.layer(LayerPurpose::Engine, &content)?);
        }
        let content = Content::default().program(PROGRAM, &program.path);
        layers.push(layout.layer(LayerPurpose::Shim, &content)?);
        let content = Content::default().bytes(DEPLOYMENT, request.deployment.to_json()?);
        layers.push(layout.layer(LayerPurpose::Deployment, &content)?);
        let described = layers.iter().map(|layer| layer.described.clone()).collect();
        let execution = execution(request, libraries.loader.is_some());
        let image = Image { name: FRONT_DOOR, architecture: program.architecture, execution, layers };
        let digest = layout.image(image)?;
        layout.finish(BTreeMap::new())?;
        let index = ImageIndex {
            header: ImageIndex::header(),
            bundle_digest: request.deployment.bundle_digest.clone(),
            engine: request.deployment.engine.clone(),
            architecture: program.architecture.to_string(),
            images: vec![SliceImage { slice: FRONT_DOOR.to_owned(), digest, layers: described }],
        };
        write_file(&folder.join(ImageIndex::FILE), index.to_json()?.as_bytes())?;
        Ok(index)
    })
}

fn execution(request: &FrontDoorRequest<'_>, has_loader: bool) -> Execution {
    let mut environment = vec![
        "PATH=/tranche:/usr/bin:/bin".to_owned(),
        format!("TRANCHE_DEPLOYMENT=/{DEPLOYMENT}"),
        format!("TRANCHE_LISTEN=0.0.0.0:{PORT}"),
        format!("fprocess=/{PROGRAM}"),
    ];
    if has_loader {
        environment.insert(0, format!("LD_LIBRARY_PATH=/{LIBRARIES}"));
    }
    let words = [
        (
            "org.opencontainers.image.description",
            "Answers whole requests through a model's slices".to_owned(),
        ),
        ("org.opencontainers.image.title", format!("{} {FRONT_DOOR}", request.deployment.name)),
        ("org.opencontainers.image.vendor", "tranche".to_owned()),
        ("org.opencontainers.image.version", request.tool_version.to_owned()),
    ];
    Execution {
        user: format!("{USER}:{USER}"),
        exposed_ports: BTreeMap::from([(format!("{PORT}/tcp"), Empty {})]),
        env: environment,
        entrypoint: vec![format!("/{PROGRAM}")],
        working_dir: "/".to_owned(),
        labels: words.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        stop_signal: "SIGTERM".to_owned(),
    }
}
