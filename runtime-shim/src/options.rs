use std::path::PathBuf;
use std::time::Duration;

use crate::{Listen, ShimError};

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
    /// Where to listen: `127.0.0.1:8080` or `unix:PATH`
    #[arg(long, env = "TRANCHE_LISTEN", value_name = "ADDRESS")]
    pub listen: Listen,
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
    /// Largest request body
    #[arg(long, env = "TRANCHE_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    pub max_body_bytes: u64,
    /// Requests received, waiting or running at one time; more are answered 429
    #[arg(long, env = "TRANCHE_MAX_IN_FLIGHT", value_name = "COUNT", default_value_t = 16)]
    pub max_in_flight: usize,
    /// Connections open at one time; more wait to be accepted
    #[arg(long, env = "TRANCHE_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 256)]
    pub max_connections: usize,
    /// Longest time to load the slice
    #[arg(long = "load-deadline-ms", env = "TRANCHE_LOAD_DEADLINE_MS", value_name = "MS",
          default_value = "300000", value_parser = milliseconds)]
    pub load_deadline: Duration,
    /// Time for a request whose frame has no deadline
    #[arg(long = "request-deadline-ms", env = "TRANCHE_REQUEST_DEADLINE_MS", value_name = "MS",
          default_value = "300000", value_parser = milliseconds)]
    pub request_deadline: Duration,
    /// Longest time to receive a request's head, and that a connection stays idle
    #[arg(long = "header-timeout-ms", env = "TRANCHE_HEADER_TIMEOUT_MS", value_name = "MS",
          default_value = "30000", value_parser = milliseconds)]
    pub header_timeout: Duration,
    /// Longest pause between two pieces of a body
    #[arg(long = "body-timeout-ms", env = "TRANCHE_BODY_TIMEOUT_MS", value_name = "MS",
          default_value = "10000", value_parser = milliseconds)]
    pub body_timeout: Duration,
    /// Time for requests in flight when told to stop
    #[arg(long = "drain-deadline-ms", env = "TRANCHE_DRAIN_DEADLINE_MS", value_name = "MS",
          default_value = "10000", value_parser = milliseconds)]
    pub drain_deadline: Duration,
}

impl ShimOptions {
    /// Options with every default.
    #[must_use]
    pub fn new(manifest: PathBuf, slice: impl Into<String>, listen: Listen) -> Self {
        Self {
            manifest,
            slice: slice.into(),
            listen,
            engine: None,
            onnxruntime: None,
            threads: None,
            optimise: true,
            prepack: true,
            shared_folder: None,
            max_body_bytes: 256 << 20,
            max_in_flight: 16,
            max_connections: 256,
            load_deadline: Duration::from_secs(300),
            request_deadline: Duration::from_secs(300),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            drain_deadline: Duration::from_secs(10),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ShimError> {
        let zero = [
            ("--max-in-flight", self.max_in_flight == 0),
            ("--max-connections", self.max_connections == 0),
            ("--max-body-bytes", self.max_body_bytes == 0),
            ("--threads", self.threads == Some(0)),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((flag, _)) => Err(ShimError::Zero { flag }),
            None => Ok(()),
        }
    }
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
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
