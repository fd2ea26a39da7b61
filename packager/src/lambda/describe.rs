use super::limits::{
    EPHEMERAL_STORAGE_MIB, HANDLER, MEMORY_MIB, MEMORY_MIB_PER_CPU, RUNTIME, SNAP_START_EPHEMERAL_STORAGE_MIB,
};
use super::name::function_name;
use super::{LambdaError, tag_value, tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tranche_schema::{FunctionSize, LambdaIndex, LambdaPackage, LambdaPackageKind, Manifest, SliceManifest};

/// Where Lambda unpacks layers. Paths in zip files are relative: programs find them below
/// `LAMBDA_TASK_ROOT`.
const LAYERS_ROOT: &str = "/opt/";
/// The slice's name of the function that walks whole requests.
pub(super) const ENTRY: &str = "entry";

/// What functions are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// The plan's memory, or as much as it takes to get the plan's share of processors:
    /// max(memory, ⌈share × 1769⌉) MiB, within Lambda's limits.
    #[default]
    ForCpu,
    /// The plan's memory, whatever share comes with it, within Lambda's limits.
    Plan,
    /// This many MiB.
    Fixed(u32),
}

impl Memory {
    /// `MemorySize` of a function of this size, in MiB.
    #[must_use]
    pub fn mib(self, size: FunctionSize) -> u32 {
        let plan = u32::try_from(size.memory_bytes.as_mebibytes_ceil()).unwrap_or(u32::MAX);
        let share = u64::from(size.cpu_milli.0) * u64::from(MEMORY_MIB_PER_CPU);
        let share = u32::try_from(share.div_ceil(1000)).unwrap_or(u32::MAX);
        let within = |mib: u32| mib.clamp(*MEMORY_MIB.start(), *MEMORY_MIB.end());
        match self {
            Self::ForCpu => within(plan.max(share)),
            Self::Plan => within(plan),
            Self::Fixed(mib) => mib,
        }
    }
}

/// How functions are described.
#[derive(Clone, Debug)]
pub struct LambdaOptions {
    /// Name of the deployment.
    pub deployment: String,
    /// What functions are given.
    pub memory: Memory,
    /// How long an invocation may take; whole seconds, rounded up.
    pub timeout: Duration,
    /// What `/tmp` holds, in MiB.
    pub ephemeral_storage_mib: u32,
    /// Engine instead of the manifest's.
    pub engine: Option<String>,
    /// Whether the engine rewrites graphs for speed.
    pub optimise: bool,
    /// Engine threads instead of max(1, ⌊share of processors⌋).
    pub threads: Option<u32>,
    /// Whether versions are restored from snapshots.
    pub snap_start: bool,
    /// Concurrency set aside for each function, and its most.
    pub reserved_concurrency: Option<u32>,
    /// Execution environments kept ready for each function.
    pub provisioned_concurrency: Option<u32>,
    /// More environment, over what the options above set.
    pub environment: BTreeMap<String, String>,
    /// More tags.
    pub tags: BTreeMap<String, String>,
}

impl LambdaOptions {
    /// The plan's memory and share of processors, two minutes, the smallest `/tmp`.
    #[must_use]
    pub fn new(deployment: &str) -> Self {
        Self {
            deployment: deployment.to_owned(),
            memory: Memory::default(),
            timeout: Duration::from_secs(120),
            ephemeral_storage_mib: *EPHEMERAL_STORAGE_MIB.start(),
            engine: None,
            optimise: true,
            threads: None,
            snap_start: false,
            reserved_concurrency: None,
            provisioned_concurrency: None,
            environment: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }
}

/// A function as `CreateFunction` takes it, without its code and role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionDescription {
    /// Its name.
    pub name: String,
    /// The slice it runs; `entry` for the one that walks requests.
    pub slice: String,
    /// How its code goes.
    pub package: LambdaPackageKind,
    /// `Runtime` of a zip file; images have none.
    pub runtime: Option<String>,
    /// `Handler` of a zip file; images have none.
    pub handler: Option<String>,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// `MemorySize`, in MiB.
    pub memory_mib: u32,
    /// `Timeout`, in seconds.
    pub timeout_s: u32,
    /// `EphemeralStorage`, in MiB.
    pub ephemeral_storage_mib: u32,
    /// Environment. What an image sets itself is not in it.
    pub environment: BTreeMap<String, String>,
    /// Layers by their names in the index, lowest first.
    pub layers: Vec<String>,
    /// For people.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Whether published versions are restored from snapshots.
    pub snap_start: bool,
    /// Concurrency set aside, and its most.
    pub reserved_concurrency: Option<u32>,
    /// Execution environments kept ready.
    pub provisioned_concurrency: Option<u32>,
}

impl FunctionDescription {
    /// Processors that come with its memory.
    #[must_use]
    pub fn cpu_share(&self) -> f64 {
        f64::from(self.memory_mib) / f64::from(MEMORY_MIB_PER_CPU)
    }
}

/// One function a slice, in the manifest's order.
///
/// # Errors
/// When a slice has no package.
pub fn describe_functions(
    manifest: &Manifest,
    index: &LambdaIndex,
    options: &LambdaOptions,
) -> Result<Vec<FunctionDescription>, LambdaError> {
    let describe = |slice: &SliceManifest| {
        let package = index
            .packages
            .iter()
            .find(|package| package.slice == slice.name)
            .ok_or_else(|| LambdaError::NoPackage { slice: slice.name.clone() })?;
        let memory_mib = options.memory.mib(slice.size);
        let model = &manifest.model.name;
        let mut function = describe(package, index, options, memory_mib);
        function.description = shortened(&format!("tranche: {} of {model}", slice.name));
        function.environment = slice_environment(package, index, memory_mib, options);
        function.tags.extend([
            (tags::PLAN.to_owned(), manifest.plan_digest.to_string()),
            (tags::VERSION.to_owned(), tag_value(&manifest.tranche_version)),
        ]);
        Ok(function)
    };
    manifest.slices.iter().map(describe).collect()
}

/// The function that walks whole requests, `{deployment}-entry`, of this much memory in MiB.
///
/// # Errors
/// When the index has no entry.
pub fn describe_entry(
    index: &LambdaIndex,
    memory_mib: u32,
    options: &LambdaOptions,
) -> Result<FunctionDescription, LambdaError> {
    let package = index.entry.as_ref().ok_or_else(|| LambdaError::NoPackage { slice: ENTRY.to_owned() })?;
    let mut function = describe(package, index, options, memory_mib);
    function.description = shortened(&format!("tranche: whole requests of {}", options.deployment));
    function.environment =
        BTreeMap::from([("TRANCHE_DEPLOYMENT".to_owned(), super::entry::DEPLOYMENT.to_owned())]);
    function.environment.extend(options.environment.clone());
    Ok(function)
}

fn describe(
    package: &LambdaPackage,
    index: &LambdaIndex,
    options: &LambdaOptions,
    memory_mib: u32,
) -> FunctionDescription {
    let is_zip = package.kind != LambdaPackageKind::Image;
    let timeout = options.timeout.as_secs() + u64::from(options.timeout.subsec_nanos() > 0);
    let mut all_tags = options.tags.clone();
    all_tags.extend([
        (tags::DEPLOYMENT.to_owned(), tag_value(&options.deployment)),
        (tags::SLICE.to_owned(), tag_value(&package.slice)),
        (tags::DIGEST.to_owned(), package.digest.to_string()),
    ]);
    FunctionDescription {
        name: function_name(&options.deployment, &package.slice),
        slice: package.slice.clone(),
        package: package.kind,
        runtime: is_zip.then(|| RUNTIME.to_owned()),
        handler: is_zip.then(|| HANDLER.to_owned()),
        architecture: index.architecture.clone(),
        memory_mib,
        timeout_s: u32::try_from(timeout).unwrap_or(u32::MAX),
        ephemeral_storage_mib: options.ephemeral_storage_mib,
        environment: BTreeMap::new(),
        layers: package.layers.clone(),
        description: String::new(),
        tags: all_tags,
        snap_start: options.snap_start,
        reserved_concurrency: options.reserved_concurrency,
        provisioned_concurrency: options.provisioned_concurrency,
    }
}

/// An image says where things are itself; everything else is the same in both.
fn slice_environment(
    package: &LambdaPackage,
    index: &LambdaIndex,
    memory_mib: u32,
    options: &LambdaOptions,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    if package.kind != LambdaPackageKind::Image {
        set("TRANCHE_MANIFEST", format!("bundle/{}", Manifest::FILE));
        set("TRANCHE_SLICE", package.slice.clone());
        if index.engine == crate::image::runtime::ONNXRUNTIME {
            let root = if package.layers.is_empty() { "" } else { LAYERS_ROOT };
            set("TRANCHE_ONNXRUNTIME", format!("{root}{}", super::runtime::ENGINE));
        }
    }
    let threads = options.threads.unwrap_or_else(|| (memory_mib / MEMORY_MIB_PER_CPU).max(1));
    set("TRANCHE_THREADS", threads.to_string());
    if let Some(engine) = &options.engine {
        set("TRANCHE_ENGINE", engine.clone());
    }
    if !options.optimise {
        set("TRANCHE_OPTIMISE", "false".to_owned());
    }
    environment.extend(options.environment.clone());
    environment
}

/// As much of a description as Lambda takes.
fn shortened(text: &str) -> String {
    text.chars().take(super::limits::DESCRIPTION_LENGTH).collect()
}

/// Whether an image with this `/tmp` can be restored from snapshots.
pub(super) fn can_snap_start(function: &FunctionDescription) -> bool {
    function.package == LambdaPackageKind::Image
        && function.ephemeral_storage_mib <= SNAP_START_EPHEMERAL_STORAGE_MIB
}
