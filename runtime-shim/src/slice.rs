//! What the bundle says of the slice this process runs.

use hyper::StatusCode;
use std::path::{Component, Path, PathBuf};
use tranche_schema::{Channel, Codec, Document as _, ElementType, Manifest, SliceManifest};
use tranche_transport::{Frame, FrameLimits};

use tranche_serving::Refusal;

use crate::ShimOptions;
use crate::answer::bad_input;

/// Why the slice cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadFailure {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl LoadFailure {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// How one output leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) codec: Codec,
    pub(crate) channel: Channel,
}

/// The slice as packaged.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) manifest: SliceManifest,
    /// Absolute or relative to the working folder.
    pub(crate) model: PathBuf,
    /// Engine to load it with.
    pub(crate) engine: String,
    /// One entry an output, in order.
    pub(crate) routes: Vec<Route>,
    /// What a frame for it may hold. Raw sizes are not bounded here: parsing makes nothing
    /// of that size, and [`Slice::check`] names the tensor that is not as it should be.
    pub(crate) frame_limits: FrameLimits,
    /// What its tensors may hold when decoded.
    pub(crate) tensor_limits: FrameLimits,
}

impl Slice {
    pub(crate) fn read(options: &ShimOptions) -> Result<Self, LoadFailure> {
        let path = &options.manifest;
        let bundle =
            Manifest::read(path).map_err(|error| LoadFailure::new(error.to_string(), error.hint()))?;
        let names: Vec<_> = bundle.slices.iter().map(|slice| slice.name.clone()).collect();
        let manifest =
            bundle.slices.into_iter().find(|slice| slice.name == options.slice).ok_or_else(|| {
                LoadFailure::new(
                    format!("{} has no slice `{}`", path.display(), options.slice),
                    format!("its slices are {}", names.join(", ")),
                )
            })?;
        let below = Path::new(&manifest.model);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(LoadFailure::new(
                format!("{}: the model `{}` is not below the bundle", path.display(), manifest.model),
                "make the bundle again with `tranche package`",
            ));
        }
        let routes = manifest
            .outputs
            .iter()
            .map(|output| {
                let edge = bundle.edges.iter().find(|edge| {
                    edge.tensor.name == output.name && edge.from.as_deref() == Some(manifest.name.as_str())
                });
                edge.map_or(Route { codec: Codec::Raw, channel: Channel::Inline }, |edge| Route {
                    codec: edge.codec,
                    channel: edge.channel,
                })
            })
            .collect();
        Ok(Self {
            model: path.parent().unwrap_or(Path::new("")).join(below),
            engine: options.engine.clone().unwrap_or(bundle.engine),
            routes,
            frame_limits: FrameLimits {
                max_frame_bytes: options.server.max_body_bytes,
                max_tensor_bytes: u64::MAX,
                max_total_tensor_bytes: u64::MAX,
                ..FrameLimits::default()
            },
            tensor_limits: tensor_limits(&manifest, options.server.max_body_bytes),
            manifest,
        })
    }

    /// Whether the frame is for this slice and holds its inputs, neither less nor more.
    pub(crate) fn check(&self, frame: &Frame) -> Result<(), Refusal> {
        if frame.header.slice != self.manifest.name {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "wrong-slice",
                format!("the frame is for slice `{}`, this is `{}`", frame.header.slice, self.manifest.name),
                "check the addresses in deployment.json; deploy again if they are stale",
            ));
        }
        for expected in &self.manifest.inputs {
            let Some(found) = frame.tensor(&expected.name) else {
                return Err(bad_input(format!("input `{}` is missing", expected.name)));
            };
            if found.spec != *expected {
                return Err(bad_input(format!(
                    "input `{}` is {} {:?}, the slice takes {} {:?}",
                    expected.name,
                    found.spec.element_type,
                    found.spec.shape,
                    expected.element_type,
                    expected.shape
                )));
            }
        }
        let known = |name: &str| self.manifest.inputs.iter().any(|input| input.name == name);
        match frame.tensors.iter().find(|tensor| !known(&tensor.spec.name)) {
            Some(extra) => Err(bad_input(format!("the slice has no input `{}`", extra.spec.name))),
            None => Ok(()),
        }
    }
}

/// The inputs' sizes are known, but for strings, which get what a body may have.
fn tensor_limits(manifest: &SliceManifest, max_body_bytes: u64) -> FrameLimits {
    let sizes = manifest.inputs.iter().map(|input| match input.element_type {
        ElementType::String => max_body_bytes,
        _ => input.bytes().0,
    });
    let total = sizes.fold(0, u64::saturating_add);
    FrameLimits { max_tensor_bytes: total, max_total_tensor_bytes: total, ..FrameLimits::default() }
}
