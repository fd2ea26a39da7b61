use std::path::PathBuf;
use std::time::Duration;

use tranche_serving::{Listen, ServerOptions, ServingError, milliseconds};

use crate::LambdaOptions;

/// What a function's process is told. Every flag has an environment twin, because that
/// is how platforms configure functions.
#[derive(Clone, Debug, clap::Args)]
pub struct ShimOptions {
    /// The bundle's manifest.json
    #[arg(long, env = "TRANCHE_MANIFEST", value_name = "PATH")]
    pub manifest: PathBuf,
    /// Name of the slice to run
    #[arg(long, env = "TRANCHE_SLICE", value_name = "NAME")]
    pub slice: String,
    /// How it serves
    #[command(flatten)]
    pub server: ServerOptions,
    /// Engine, instead of the manifest's
    #[arg(long, env = "TRANCHE_ENGINE", value_name = "NAME")]
    pub engine: Option<String>,
    /// ONNX Runtime's shared library
    #[arg(long, env = "TRANCHE_ONNXRUNTIME", value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
    /// Engine threads, instead of the manifest's
    #[arg(long, env = "TRANCHE_THREADS", value_name = "COUNT")]
    pub threads: Option<u32>,
    /// Let the engine rewrite the graph for speed
    #[arg(long, env = "TRANCHE_OPTIMISE", default_value_t = true, action = clap::ArgAction::Set)]
    pub optimise: bool,
    /// Let the engine copy weights into a layout of its own for speed; off, less memory and start-up
    #[arg(long, env = "TRANCHE_PREPACK", default_value_t = true, action = clap::ArgAction::Set)]
    pub prepack: bool,
    /// Folder of mapped files shared with the other functions of this host
    #[arg(long, env = "TRANCHE_SHARED_FOLDER", value_name = "PATH")]
    pub shared_folder: Option<PathBuf>,
    /// Base URLs that tensors may be handed on to, where a request asks for it
    #[arg(long, env = "TRANCHE_CONTINUE_TO", value_name = "URL", value_delimiter = ',')]
    pub continue_to: Vec<String>,
    /// Longest time to load the slice
    #[arg(long = "load-deadline-ms", env = "TRANCHE_LOAD_DEADLINE_MS", value_name = "MS",
          default_value = "300000", value_parser = milliseconds)]
    pub load_deadline: Duration,
    /// Time for a request whose frame has no deadline
    #[arg(long = "request-deadline-ms", env = "TRANCHE_REQUEST_DEADLINE_MS", value_name = "MS",
          default_value = "300000", value_parser = milliseconds)]
    pub request_deadline: Duration,
    /// End after so long without a request, once the slice is loaded [default: never]
    #[arg(long = "idle-exit-ms", env = "TRANCHE_IDLE_EXIT_MS", value_name = "MS", value_parser = milliseconds)]
    pub idle_exit: Option<Duration>,
    /// What AWS Lambda needs besides
    #[command(flatten)]
    pub lambda: LambdaOptions,
}

impl ShimOptions {
    /// Options with every default.
    #[must_use]
    pub fn new(manifest: PathBuf, slice: impl Into<String>, listen: Listen) -> Self {
        Self {
            manifest,
            slice: slice.into(),
            server: ServerOptions::new(listen),
            engine: None,
            onnxruntime: None,
            threads: None,
            optimise: true,
            prepack: true,
            shared_folder: None,
            continue_to: Vec::new(),
            load_deadline: Duration::from_secs(300),
            request_deadline: Duration::from_secs(300),
            idle_exit: None,
            lambda: LambdaOptions::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ServingError> {
        if self.threads == Some(0) {
            return Err(ServingError::Zero { flag: "--threads" });
        }
        if self.idle_exit == Some(Duration::ZERO) {
            return Err(ServingError::Zero { flag: "--idle-exit-ms" });
        }
        self.server.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        shim: ShimOptions,
    }

    /// The two lists of defaults are one.
    #[test]
    fn flags_and_constructor_agree() {
        let parsed = Program::try_parse_from([
            "shim",
            "--manifest",
            "bundle/manifest.json",
            "--slice",
            "slice-0",
            "--listen",
            "unix:/run/slice-0",
        ]);
        let mut built =
            ShimOptions::new("bundle/manifest.json".into(), "slice-0", Listen::Unix("/run/slice-0".into()));
        built.onnxruntime = std::env::var_os("TRANCHE_ONNXRUNTIME").map(PathBuf::from);
        assert_eq!(format!("{:?}", parsed.unwrap().shim), format!("{built:?}"));
    }
}
