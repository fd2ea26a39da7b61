//! Settings: flags over environment over project file over defaults.

use crate::accuracy;
use crate::arguments::OutputArguments;
use crate::failure::Failure;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use tranche_schema::{Accuracy, Billing, ByteCount, Codec, Constraints, MilliCpu, Millis, PlanWorkload};

/// Everything a project file (`tranche.toml`) or the environment (`TRANCHE_…`)
/// can set; flags of the same names win.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `tract` or `onnxruntime`.
    pub engine: String,
    /// ONNX Runtime library to load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<PathBuf>,
    /// Whether the engine rewrites the graph for speed.
    pub optimise: bool,
    /// Unmeasured runs first.
    pub warmup: u32,
    /// Measured runs.
    pub repeats: u32,
    /// Seed of random inputs.
    pub seed: u64,
    /// Seconds that one measuring process may take.
    pub deadline: u64,
    /// Further CPU shares to measure models at, as `0.5,1,2`, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<String>,
    /// Whether to look for the memory that functions need, by running.
    pub memory_search: bool,
    /// How to partition.
    pub strategy: String,
    /// Largest memory of a function, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<u64>,
    /// Largest number of slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_slices: Option<u32>,
    /// Smallest number of slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_slices: Option<u32>,
    /// Longest latency of one warm request, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<f64>,
    /// CPU share of each function.
    pub cpu: f64,
    /// OpenFaaS gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Namespace of functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Registry and path that images are pushed below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The functions' program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shim: Option<PathBuf>,
    /// AWS region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Profile of the AWS configuration files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_profile: Option<String>,
    /// Endpoint of all AWS services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// ARN of the role of functions on Lambda.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Bucket for code and tensors on Lambda.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Price file, or the name of a built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<String>,
    /// What is paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<String>,
    /// Share of requests that meet no started function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<f64>,
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Seconds that an idle function is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<f64>,
    /// Longest latency of a request that meets no started function, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_slo: Option<f64>,
    /// Largest weights of a slice, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_weights: Option<u64>,
    /// Most parts that layers may be split into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parts: Option<u32>,
    /// Lossy codec that tensors may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lossy: Option<String>,
    /// How far that may move outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<String>,
    /// Folder of profiles, models and engines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Folder of deployments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
}

const KEYS: &[&str] = &[
    "engine",
    "onnxruntime",
    "optimise",
    "warmup",
    "repeats",
    "seed",
    "deadline",
    "shares",
    "memory_search",
    "strategy",
    "max_memory",
    "max_slices",
    "min_slices",
    "slo",
    "cpu",
    "gateway",
    "namespace",
    "registry",
    "shim",
    "region",
    "aws_profile",
    "endpoint_url",
    "role",
    "bucket",
    "prices",
    "billing",
    "cold",
    "rate",
    "keep_alive",
    "cold_slo",
    "max_weights",
    "max_parts",
    "lossy",
    "accuracy",
    "cache",
    "state",
];

/// No more CPUs are measured unasked: Lambda's largest function has 5.8.
const MOST_CPUS: usize = 6;

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: "tract".to_owned(),
            onnxruntime: None,
            optimise: true,
            warmup: 1,
            repeats: 5,
            seed: 0,
            deadline: 300,
            shares: None,
            memory_search: true,
            strategy: "optimal".to_owned(),
            max_memory: None,
            max_slices: None,
            min_slices: None,
            slo: None,
            cpu: 1.0,
            gateway: None,
            namespace: None,
            registry: None,
            shim: None,
            region: None,
            aws_profile: None,
            endpoint_url: None,
            role: None,
            bucket: None,
            prices: None,
            billing: None,
            cold: None,
            rate: None,
            keep_alive: None,
            cold_slo: None,
            max_weights: None,
            max_parts: None,
            lossy: None,
            accuracy: None,
            cache: None,
            state: None,
        }
    }
}

/// Flags of one group, as settings.
pub trait Flags {
    /// Lays the flags that were given over `figment`.
    fn over(&self, figment: Figment) -> Figment;
}

impl<T: Serialize> Flags for T {
    fn over(&self, figment: Figment) -> Figment {
        figment.merge(Serialized::defaults(self))
    }
}

impl Settings {
    /// Resolves the settings of a run.
    ///
    /// # Errors
    /// When the project file cannot be read, or a value has the wrong type or is out of range.
    pub fn resolve(output: &OutputArguments, flags: &[&dyn Flags]) -> Result<Self, Failure> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match &output.project {
            Some(path) => figment.merge(Toml::file_exact(path)),
            None => figment.merge(Toml::file("tranche.toml")),
        };
        figment = figment.merge(Env::prefixed("TRANCHE_").only(KEYS));
        for group in flags {
            figment = group.over(figment);
        }
        let settings: Self = figment.extract().map_err(|error| {
            Failure::usage(format!("configuration: {error}"))
                .hint("the keys are those of `tranche run --help`, with `_` for `-`")
        })?;
        if !(settings.cpu.is_finite() && settings.cpu >= 0.05 && settings.cpu <= 1024.0) {
            return Err(Failure::usage(format!(
                "a CPU share of {} is not between 0.05 and 1024",
                settings.cpu
            )));
        }
        if settings.repeats == 0 {
            return Err(Failure::usage("at least one measured run is needed (`--repeats 1`)"));
        }
        if settings.slo.is_some_and(|slo| !(slo.is_finite() && slo > 0.0)) {
            return Err(Failure::usage("the latency bound (`--slo`) is a positive number of milliseconds"));
        }
        if settings.cold_slo.is_some_and(|slo| !(slo.is_finite() && slo > 0.0)) {
            return Err(Failure::usage(
                "the bound on a cold request (`--cold-slo`) is a positive number of milliseconds",
            ));
        }
        settings.check_workload()?;
        settings.lossy()?;
        settings.shares()?;
        Ok(settings)
    }

    /// The lossy codec asked for, and what it may do.
    fn lossy(&self) -> Result<(Option<Codec>, Option<Accuracy>), Failure> {
        let lossy = self.lossy.as_deref().map(accuracy::lossy).transpose()?;
        let bound = self.accuracy.as_deref().map(accuracy::accuracy).transpose()?;
        if lossy.is_none() && bound.is_some() {
            return Err(Failure::usage("`--accuracy` bounds what a lossy codec does, and none is asked for")
                .hint("give `--lossy f16` too"));
        }
        Ok((lossy, lossy.map(|_| bound.unwrap_or(accuracy::DEFAULT_ACCURACY))))
    }

    fn check_workload(&self) -> Result<(), Failure> {
        if let Some(cold) = self.cold.filter(|cold| !(0.0..=1.0).contains(cold)) {
            return Err(Failure::usage(format!("`--cold {cold}` is no share between 0 and 1")));
        }
        if let Some(rate) = self.rate.filter(|rate| !(rate.is_finite() && *rate > 0.0 && *rate < 1e9)) {
            return Err(Failure::usage(format!("`--rate {rate}` is no rate of requests")));
        }
        if self.keep_alive.is_some() && (self.rate.is_none() || self.cold.is_some()) {
            return Err(Failure::usage(
                "`keep_alive` needs a rate, and leaves no share of cold requests to give",
            )
            .hint("give `--keep-alive` with `--rate` and without `--cold`"));
        }
        let keep_alive = self.keep_alive.filter(|seconds| !(seconds.is_finite() && *seconds >= 0.0));
        if let Some(seconds) = keep_alive {
            return Err(Failure::usage(format!("`--keep-alive {seconds}` is no number of seconds")));
        }
        Ok(())
    }

    /// The requests to plan for. Where functions are kept for a time, the share of requests
    /// that come after it follows from the rate ([`tranche_partitioner::cold_fraction`]).
    #[must_use]
    pub fn workload(&self) -> PlanWorkload {
        let kept = self.rate.zip(self.keep_alive);
        PlanWorkload {
            cold_fraction: self.cold.unwrap_or_else(|| {
                kept.map_or(0.0, |(rate, seconds)| tranche_partitioner::cold_fraction(rate, seconds))
            }),
            rate_per_second: self.rate,
            keep_alive_seconds: self.keep_alive,
        }
    }

    /// What is paid for, where that was asked for.
    ///
    /// # Errors
    /// When it is neither `per-request` nor `always-on`.
    pub fn billing(&self) -> Result<Option<Billing>, Failure> {
        match self.billing.as_deref() {
            None => Ok(None),
            Some("per-request") => Ok(Some(Billing::PerRequest)),
            Some("always-on") => Ok(Some(Billing::AlwaysOn)),
            Some(other) => Err(Failure::usage(format!("`{other}` is no billing"))
                .hint("use `--billing per-request` or `--billing always-on`")),
        }
    }

    /// The CPU shares to measure models at besides that of functions: those asked for, else a
    /// quarter, a half, and whole numbers up to what this machine and Lambda have.
    ///
    /// # Errors
    /// When one is no share that this machine has.
    pub fn shares(&self) -> Result<Vec<MilliCpu>, Failure> {
        let most = tranche_host::usable_cpus();
        let Some(text) = &self.shares else {
            let whole = (1..=most.min(MOST_CPUS)).map(|cpus| MilliCpu(cpus as u32 * 1000));
            return Ok([MilliCpu(250), MilliCpu(500)].into_iter().chain(whole).collect());
        };
        if text.trim() == "none" {
            return Ok(Vec::new());
        }
        let share = |part: &str| {
            let cpus: f64 = part.trim().parse().ok()?;
            (0.05..=most as f64).contains(&cpus).then(|| MilliCpu((cpus * 1000.0).round() as u32))
        };
        let mut shares: Vec<MilliCpu> = text
            .split(',')
            .map(|part| {
                share(part).ok_or_else(|| {
                    Failure::usage(format!("`{}` is no CPU share between 0.05 and {most}", part.trim()))
                        .hint("shares are given as `--shares 0.5,1,2`, or `--shares none`")
                })
            })
            .collect::<Result<_, _>>()?;
        shares.sort_unstable();
        shares.dedup();
        Ok(shares)
    }

    /// CPU share of each function.
    #[must_use]
    pub fn cpu(&self) -> MilliCpu {
        MilliCpu((self.cpu * 1000.0).round() as u32)
    }

    /// Engine threads of each function.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.cpu().threads()
    }

    /// What the plan must respect.
    #[must_use]
    pub fn constraints(&self) -> Constraints {
        // Checked where settings are resolved.
        let (lossy, accuracy) = self.lossy().unwrap_or_default();
        Constraints {
            lossy,
            accuracy,
            max_memory_bytes: self.max_memory.map(ByteCount::mebibytes),
            max_slices: self.max_slices,
            min_slices: self.min_slices,
            latency_ms: self.slo.map(Millis),
            cold_latency_ms: self.cold_slo.map(Millis),
            max_weights_bytes: self.max_weights.map(ByteCount::mebibytes),
            max_parts: self.max_parts.filter(|&most| most > 1),
        }
    }

    /// Time that one measuring process may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }

    /// Where `engine add` puts ONNX Runtime's library.
    #[must_use]
    pub fn cached_library(&self) -> PathBuf {
        tranche_engine::library_in(&self.cache())
    }

    /// The ONNX Runtime library to load: the one that is named, or the one in a
    /// cache that only the project file names. Others the engines find themselves,
    /// so that a deployment does not depend on who finds them.
    #[must_use]
    pub fn library(&self) -> Option<PathBuf> {
        let cached = self.cached_library();
        let own = std::env::var_os("ORT_DYLIB_PATH").is_none()
            && tranche_engine::cached_library().is_none_or(|found| found != cached)
            && cached.is_file();
        self.onnxruntime.clone().or_else(|| own.then_some(cached))
    }

    /// Folder of profiles, models and engines.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| base_folder("XDG_CACHE_HOME", ".cache"))
    }

    /// Folder of deployments.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| base_folder("XDG_STATE_HOME", ".local/state"))
    }
}

/// The user's folder of this kind (XDG Base Directory Specification), below it `tranche`.
fn base_folder(variable: &str, below_home: &str) -> PathBuf {
    let base = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(below_home);
    base.unwrap_or_else(home).join("tranche")
}
