use super::{
    FunctionDeployment, OpenFaasError, Resources, cpu_quantity, function_name, keys, label_value,
    memory_quantity,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tranche_schema::{ByteCount, FunctionSize, Manifest, MilliCpu, SliceManifest, TensorSpec};

/// How long a function may take, as of-watchdog and the shim read it from the
/// environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To answer a request (`exec_timeout`).
    pub exec: Duration,
    /// To receive a request (`read_timeout`).
    pub read: Duration,
    /// To receive a request and send its answer (`write_timeout`).
    pub write: Duration,
}

impl Default for Timeouts {
    /// A little less than the gateway's minute, so that the function's own
    /// answer reaches the caller and not the gateway's.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { exec: seconds(50), read: seconds(55), write: seconds(55) }
    }
}

/// How functions are described.
#[derive(Clone, Debug)]
pub struct DescribeOptions {
    /// Name of the deployment: a DNS label.
    pub deployment: String,
    /// Namespace; the provider's default when `None`.
    pub namespace: Option<String>,
    /// Engine instead of the manifest's.
    pub engine: Option<String>,
    /// Whether the engine rewrites graphs for speed.
    pub optimise: bool,
    /// CPU share of every function instead of the manifest's.
    pub cpu: Option<MilliCpu>,
    /// Whether functions are held to their sizes.
    pub limits: bool,
    /// Memory set aside; the limit when `None`.
    pub memory_request: Option<ByteCount>,
    /// CPU set aside; the limit when `None`.
    pub cpu_request: Option<MilliCpu>,
    /// Least and most replicas.
    pub replicas: (u32, u32),
    /// How long a function may take.
    pub timeouts: Timeouts,
    /// Requests that a function holds at one time; more are answered 429.
    pub max_inflight: u32,
    /// Whether only `/tmp` can be written.
    pub read_only_root: bool,
    /// Names of secrets to mount.
    pub secrets: Vec<String>,
    /// More environment, over what the options above set.
    pub environment: BTreeMap<String, String>,
}

impl DescribeOptions {
    /// The manifest's engine and sizes, one replica, sixteen requests at a time
    /// and a read-only root.
    #[must_use]
    pub fn new(deployment: &str) -> Self {
        Self {
            deployment: deployment.to_owned(),
            namespace: None,
            engine: None,
            optimise: true,
            cpu: None,
            limits: true,
            memory_request: None,
            cpu_request: None,
            replicas: (1, 1),
            timeouts: Timeouts::default(),
            max_inflight: 16,
            read_only_root: true,
            secrets: Vec::new(),
            environment: BTreeMap::new(),
        }
    }
}

/// One function a slice, in the manifest's order. `images` gives each slice's
/// image, pushed and best pinned by digest.
///
/// # Errors
/// When a slice has no image.
pub fn describe_functions(
    manifest: &Manifest,
    images: &BTreeMap<String, String>,
    options: &DescribeOptions,
) -> Result<Vec<FunctionDeployment>, OpenFaasError> {
    let describe = |slice: &SliceManifest| {
        let image =
            images.get(&slice.name).ok_or_else(|| OpenFaasError::NoImage { slice: slice.name.clone() })?;
        Ok(FunctionDeployment {
            image: image.clone(),
            namespace: options.namespace.clone(),
            env_vars: environment(options),
            secrets: options.secrets.clone(),
            labels: labels(&slice.name, options),
            annotations: annotations(manifest, slice),
            limits: options.limits.then(|| limits(slice.size, options)),
            requests: options.limits.then(|| requests(slice.size, options)),
            read_only_root_filesystem: options.read_only_root,
            ..FunctionDeployment::default()
        }
        .named(&options.deployment))
    };
    manifest.slices.iter().map(describe).collect()
}

/// The function that answers whole requests. Its name stays the same whatever it
/// is, so that callers need one address: `{deployment}-front-door`.
#[must_use]
pub fn describe_front_door(image: &str, size: FunctionSize, options: &DescribeOptions) -> FunctionDeployment {
    let (least, most) = options.replicas;
    FunctionDeployment {
        service: function_name(&options.deployment, "", "front-door"),
        image: image.to_owned(),
        namespace: options.namespace.clone(),
        env_vars: environment(options),
        secrets: options.secrets.clone(),
        labels: BTreeMap::from([
            (keys::DEPLOYMENT.to_owned(), options.deployment.clone()),
            (keys::FRONT_DOOR.to_owned(), "true".to_owned()),
            (keys::SCALE_MIN.to_owned(), least.to_string()),
            (keys::SCALE_MAX.to_owned(), most.to_string()),
        ]),
        limits: options.limits.then(|| limits(size, options)),
        requests: options.limits.then(|| limits(size, options)),
        read_only_root_filesystem: options.read_only_root,
        ..FunctionDeployment::default()
    }
}

fn environment(options: &DescribeOptions) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("exec_timeout".to_owned(), go_duration(options.timeouts.exec)),
        ("read_timeout".to_owned(), go_duration(options.timeouts.read)),
        ("write_timeout".to_owned(), go_duration(options.timeouts.write)),
        ("max_inflight".to_owned(), options.max_inflight.to_string()),
    ]);
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    if let Some(engine) = &options.engine {
        set("TRANCHE_ENGINE", engine.clone());
    }
    if !options.optimise {
        set("TRANCHE_OPTIMISE", "false".to_owned());
    }
    if let Some(cpu) = options.cpu {
        set("TRANCHE_THREADS", cpu.threads().to_string());
    }
    environment.extend(options.environment.clone());
    environment
}

/// As Go's `time.ParseDuration` reads it.
fn go_duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

fn labels(slice: &str, options: &DescribeOptions) -> BTreeMap<String, String> {
    let (least, most) = options.replicas;
    BTreeMap::from([
        (keys::DEPLOYMENT.to_owned(), options.deployment.clone()),
        (keys::SLICE.to_owned(), label_value(slice)),
        (keys::SCALE_MIN.to_owned(), least.to_string()),
        (keys::SCALE_MAX.to_owned(), most.to_string()),
    ])
}

fn annotations(manifest: &Manifest, slice: &SliceManifest) -> BTreeMap<String, String> {
    let mut next: Vec<&str> = Vec::new();
    for edge in manifest.edges.iter().filter(|edge| edge.from.as_deref() == Some(&slice.name)) {
        for reader in &edge.to {
            if !next.contains(&reader.as_str()) {
                next.push(reader);
            }
        }
    }
    let bytes = |tensors: &[TensorSpec]| {
        let of = |tensor: &TensorSpec| tensor.element_type.byte_size(&tensor.shape).unwrap_or(0);
        tensors.iter().map(of).fold(0, u64::saturating_add).to_string()
    };
    let next = (!next.is_empty()).then(|| (keys::NEXT.to_owned(), next.join(",")));
    let annotations = [
        (keys::SLICE.to_owned(), slice.name.clone()),
        (keys::PLAN_DIGEST.to_owned(), manifest.plan_digest.to_string()),
        (keys::REQUEST_BYTES.to_owned(), bytes(&slice.inputs)),
        (keys::RESPONSE_BYTES.to_owned(), bytes(&slice.outputs)),
    ];
    annotations.into_iter().chain(next).collect()
}

fn limits(size: FunctionSize, options: &DescribeOptions) -> Resources {
    Resources {
        memory: memory_quantity(size.memory_bytes),
        cpu: cpu_quantity(options.cpu.unwrap_or(size.cpu_milli)),
    }
}

fn requests(size: FunctionSize, options: &DescribeOptions) -> Resources {
    let cpu = options.cpu_request.or(options.cpu).unwrap_or(size.cpu_milli);
    Resources {
        memory: memory_quantity(options.memory_request.unwrap_or(size.memory_bytes)),
        cpu: cpu_quantity(cpu),
    }
}
