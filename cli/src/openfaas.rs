//! From a bundle to functions behind an OpenFaaS gateway: images, their push, and
//! what the target is told.

use crate::arguments::DeployArguments;
use crate::config::Settings;
use crate::context::Context;
use crate::failure::Failure;
use crate::images::{pin, push, tag};
use crate::programs::{block_on, engine_library, find_program, shim_names};
use crate::targets;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tranche_deployer::openfaas::{FrontDoor, FrontDoorImage, OpenFaasSettings, OpenFaasTarget};
use tranche_deployer::registry::{CredentialSource, Options, PushEvent, Pushed, Reference};
use tranche_deployer::{DeployError, DeployRequest};
use tranche_packager::image::{
    FRONT_DOOR, FrontDoorRequest, ImageRequest, build_front_door, build_images, write_archive,
};
use tranche_packager::openfaas::{
    DescribeOptions, FUNCTION_LIMIT, Provider, StackOptions, Timeouts, describe_functions, stack_yaml,
    write_template,
};
use tranche_schema::{ByteCount, Deployment, FunctionSize, ImageIndex, Manifest, MilliCpu, write_atomically};

/// What a front door is given: it holds no model, only requests on their way.
const FRONT_DOOR_SIZE: FunctionSize =
    FunctionSize { memory_bytes: ByteCount::mebibytes(256), cpu_milli: MilliCpu(500) };
/// The gateway as functions see it: on faasd the bridge's address, on Kubernetes the service.
const GATEWAY_INSIDE_FAASD: &str = "http://10.62.0.1:8080";
const GATEWAY_INSIDE_KUBERNETES: &str = "http://gateway.openfaas:8080";

/// A deploy to OpenFaaS on its way.
pub struct Route<'a> {
    /// Printer and flags.
    pub context: &'a Context,
    /// The settings.
    pub settings: &'a Settings,
    /// The flags of `deploy`.
    pub arguments: &'a DeployArguments,
    /// What to deploy.
    pub request: &'a DeployRequest,
    /// The bundle's manifest.
    pub manifest: &'a Manifest,
}

impl Route<'_> {
    /// Makes the images of the bundle beside it, or where the flags say.
    ///
    /// # Errors
    /// When the shim or the engine's library is not found, or does not fit.
    pub fn images(&self) -> Result<(PathBuf, ImageIndex), Failure> {
        let folder = self.arguments.openfaas.images.clone().unwrap_or_else(|| {
            let mut name = self.request.bundle.file_name().unwrap_or_default().to_owned();
            name.push(".images");
            self.request.bundle.with_file_name(name)
        });
        let engine = self.request.options.engine.as_deref().unwrap_or(&self.manifest.engine);
        let shim = find_program(self.settings.shim.as_deref(), shim_names(engine), "--shim")?;
        let library = if engine == "onnxruntime" { Some(engine_library(self.settings)?) } else { None };
        let request = ImageRequest {
            engine_library: library,
            ..ImageRequest::new(&self.request.bundle, &shim, &folder)
        };
        let spinner = self.context.printer.spinner("Making images");
        let index = build_images(&request);
        spinner.finish_and_clear();
        let index = index?;
        let mut layers: BTreeMap<_, _> = BTreeMap::new();
        for layer in index.images.iter().flat_map(|image| &image.layers) {
            layers.insert(layer.digest.clone(), layer.bytes);
        }
        let bytes: ByteCount = layers.into_values().sum();
        let what = format!("{} image(s), {bytes} in all, with {}", index.images.len(), shim.display());
        self.context.printer.step("Made", &what);
        Ok((folder, index))
    }

    /// Where each slice's image goes, pinned by its digest.
    ///
    /// # Errors
    /// When no registry is named, or it makes no valid name.
    pub fn references(&self, index: &ImageIndex) -> Result<BTreeMap<String, Reference>, Failure> {
        let prefix = self.prefix()?;
        index
            .images
            .iter()
            .map(|image| {
                let reference: Reference =
                    format!("{prefix}/{}-{}", self.request.name, image.slice).parse()?;
                Ok((image.slice.clone(), reference.with_tag(&tag(&image.digest))?))
            })
            .collect()
    }

    fn prefix(&self) -> Result<String, Failure> {
        let registry = self.settings.registry.as_deref().ok_or_else(|| {
            Failure::usage("no registry to push images to").hint(
                "name one with `--registry HOST/PATH`, TRANCHE_REGISTRY or `registry` in tranche.toml; \
                 anonymous pulls must be allowed on the Community Edition",
            )
        })?;
        Ok(registry.trim_end_matches('/').to_owned())
    }

    fn push_options(&self) -> Result<Options, Failure> {
        Ok(Options {
            insecure: self.arguments.openfaas.insecure_registry,
            certificate_authority: self.arguments.openfaas.registry_certificates.clone(),
            ..Options::new(CredentialSource::from_environment()?)
        })
    }

    /// Pushes the images.
    ///
    /// # Errors
    /// When a registry refuses them.
    pub fn push(&self, folder: &Path, references: &BTreeMap<String, Reference>) -> Result<(), Failure> {
        let names: Vec<(String, Reference)> =
            references.iter().map(|(slice, reference)| (slice.clone(), reference.clone())).collect();
        let spinner = self.context.printer.spinner("Pushing images");
        let pushed = push(folder, &names, &self.push_options()?, &mut |event| {
            if let PushEvent::Uploading { sent, bytes, repository, .. } = event {
                spinner.set_message(format!("{repository}: {sent} of {bytes}"));
            }
        });
        spinner.finish_and_clear();
        let pushed = pushed?;
        let sum = |bytes: fn(&Pushed) -> ByteCount| -> ByteCount { pushed.iter().map(bytes).sum() };
        let (sent, mounted) = (sum(|image| image.uploaded_bytes), sum(|image| image.mounted_bytes));
        let there = sum(|image| image.skipped_bytes);
        let what = format!(
            "{} image(s) below {}: {sent} sent, {there} there already, {mounted} taken from other repositories",
            pushed.len(),
            self.prefix()?
        );
        self.context.printer.step("Pushed", &what);
        Ok(())
    }

    /// How functions are described to the gateway.
    fn describe(&self) -> DescribeOptions {
        let arguments = &self.arguments.openfaas;
        let mut options = DescribeOptions::new(&self.request.name);
        options.engine.clone_from(&self.request.options.engine);
        options.optimise = self.request.options.optimise;
        options.limits = self.request.options.limits;
        options.namespace.clone_from(&self.settings.namespace);
        options.secrets.clone_from(&arguments.secrets);
        if !arguments.continue_to.is_empty() {
            options.environment.insert("TRANCHE_CONTINUE_TO".to_owned(), arguments.continue_to.join(","));
        }
        if let Some(seconds) = arguments.exec_timeout {
            let exec = Duration::from_secs(seconds);
            options.timeouts =
                Timeouts { exec, read: exec + Duration::from_secs(1), write: exec + Duration::from_secs(1) };
        }
        if let Some(most) = arguments.max_in_flight {
            options.max_inflight = most;
        }
        if let Some(replicas) = arguments.replicas {
            options.replicas = (replicas, replicas);
        }
        options
    }

    /// The target with what it needs to deploy these images.
    ///
    /// # Errors
    /// When the gateway cannot be spoken to, or the front door's program is not found.
    pub fn target(
        &self,
        index: ImageIndex,
        references: &BTreeMap<String, Reference>,
    ) -> Result<OpenFaasTarget, Failure> {
        let arguments = &self.arguments.openfaas;
        let gateway =
            targets::gateway(self.settings, &self.arguments.gateway, Some(self.request.name.as_str()))?;
        let describe = self.describe();
        let front_door = if arguments.front_door {
            let inside = match &arguments.gateway_inside {
                Some(url) => url.clone(),
                None => match block_on(gateway.info())?.map_err(DeployError::from)?.provider {
                    Provider::Faasd => GATEWAY_INSIDE_FAASD.to_owned(),
                    Provider::Kubernetes => GATEWAY_INSIDE_KUBERNETES.to_owned(),
                },
            };
            let environment = BTreeMap::from([("TRANCHE_GATEWAY".to_owned(), inside)]);
            let given = arguments.front_door_program.as_deref();
            let program = find_program(given, &["tranche-front-door"], "--front-door-program")?;
            let reference: Reference =
                format!("{}/{}-{FRONT_DOOR}", self.prefix()?, self.request.name).parse()?;
            let image = PushedFrontDoor { program, reference, options: self.push_options()? };
            Some(FrontDoor { image: Arc::new(image), size: FRONT_DOOR_SIZE, environment })
        } else {
            None
        };
        let settings = OpenFaasSettings {
            images: pinned(references, &index),
            image_index: Some(index),
            describe,
            front_door,
            in_place: arguments.in_place,
            function_limit: match arguments.function_limit {
                None => Some(FUNCTION_LIMIT),
                Some(0) => None,
                Some(limit) => Some(limit),
            },
            ..OpenFaasSettings::default()
        };
        Ok(OpenFaasTarget::new(&self.settings.state(), gateway, settings)?)
    }

    /// Writes stack.yaml, the functions as the gateway takes them, and a template
    /// for `faas-cli build`, into `folder`.
    ///
    /// # Errors
    /// When something is not to be described, or cannot be written.
    pub fn emit(
        &self,
        folder: &Path,
        index: &ImageIndex,
        references: &BTreeMap<String, Reference>,
    ) -> Result<Vec<PathBuf>, Failure> {
        let functions = describe_functions(self.manifest, &pinned(references, index), &self.describe())
            .map_err(DeployError::from)?;
        let gateway = self.settings.gateway.as_deref().unwrap_or(targets::DEFAULT_GATEWAY);
        let stack = StackOptions { gateway: gateway.to_owned(), build_from: None };
        let yaml = stack_yaml(&functions, &stack).map_err(DeployError::from)?;
        let json = serde_json::to_string_pretty(&functions)
            .map_err(|error| Failure::bug(format!("cannot write functions as JSON: {error}")))?;
        let mut written = Vec::new();
        let fail = |path: &Path, error: std::io::Error| {
            Failure::usage(format!("cannot write {}: {error}", path.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| fail(folder, error))?;
        for (name, text) in [("stack.yaml", yaml), ("functions.json", json + "\n")] {
            let path = folder.join(name);
            write_atomically(&path, text.as_bytes()).map_err(|error| fail(&path, error))?;
            written.push(path);
        }
        let engine = self.request.options.engine.as_deref().unwrap_or(&self.manifest.engine);
        let shim = find_program(self.settings.shim.as_deref(), shim_names(engine), "--shim")?;
        written.push(write_template(folder, &shim).map_err(DeployError::from)?);
        Ok(written)
    }

    /// Writes the images as one OCI archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn archive(&self, folder: &Path, path: &Path) -> Result<(), Failure> {
        write_archive(folder, path)?;
        self.context.printer.step("Wrote", &path.display().to_string());
        Ok(())
    }
}

/// A front door's image, made of the deployment that it serves.
struct PushedFrontDoor {
    program: PathBuf,
    reference: Reference,
    options: Options,
}

impl FrontDoorImage for PushedFrontDoor {
    fn make(&self, deployment: &Deployment) -> Result<String, DeployError> {
        let fail = |reason: String| DeployError::Images { bundle: deployment.bundle.clone(), reason };
        let folder = tempfile::tempdir().map_err(|error| fail(error.to_string()))?;
        let request = FrontDoorRequest {
            program: &self.program,
            deployment,
            tool_version: env!("CARGO_PKG_VERSION"),
            output: folder.path().join("images"),
        };
        let index = build_front_door(&request).map_err(|error| fail(error.to_string()))?;
        let image = index.images.first().ok_or_else(|| fail("a layout without an image".to_owned()))?;
        let reference = self.reference.with_tag(&tag(&image.digest))?;
        push(&request.output, &[(FRONT_DOOR.to_owned(), reference.clone())], &self.options, &mut |_| {})?;
        Ok(pin(&reference, &image.digest))
    }
}

/// Each slice's image as functions are told it.
fn pinned(references: &BTreeMap<String, Reference>, index: &ImageIndex) -> BTreeMap<String, String> {
    let images = index.images.iter();
    images
        .filter_map(|image| Some((image.slice.clone(), pin(references.get(&image.slice)?, &image.digest))))
        .collect()
}
