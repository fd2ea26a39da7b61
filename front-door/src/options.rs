use secrecy::SecretString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tranche_schema::{Address, Deployment, Document as _};
use tranche_serving::{Listen, ServerOptions, milliseconds};

use crate::FrontDoorError;

/// What a front door is told.
#[derive(Clone, Debug, clap::Args)]
pub struct FrontDoorOptions {
    /// deployment.json of what it serves; several may be given
    #[arg(
        long = "deployment",
        env = "TRANCHE_DEPLOYMENT",
        value_name = "PATH",
        required = true,
        value_delimiter = ','
    )]
    pub deployments: Vec<PathBuf>,
    /// Base URL of the gateway as seen from here, instead of the one that deployed
    #[arg(long, env = "TRANCHE_GATEWAY", value_name = "URL")]
    pub gateway: Option<String>,
    /// Time for a request that does not ask for less
    #[arg(long = "request-deadline-ms", env = "TRANCHE_REQUEST_DEADLINE_MS", value_name = "MS",
          default_value = "60000", value_parser = milliseconds)]
    pub request_deadline: Duration,
    /// Requests that wait for one of `--max-in-flight` places; more are answered 429
    #[arg(long, env = "TRANCHE_MAX_WAITING", value_name = "COUNT", default_value_t = 64)]
    pub max_waiting: usize,
    /// File whose first line is the token that callers must send; without it TRANCHE_TOKEN is, if it is set
    #[arg(long, env = "TRANCHE_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// The token itself, in place of a file's
    #[arg(skip)]
    pub token: Option<SecretString>,
    /// Collector that takes traces by OTLP over HTTP: base URL, `/v1/traces` is appended
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp: Option<String>,
    /// How it serves
    #[command(flatten)]
    pub server: ServerOptions,
}

impl FrontDoorOptions {
    /// Options with every default, for no deployment.
    #[must_use]
    pub fn new(listen: Listen) -> Self {
        Self {
            deployments: Vec::new(),
            gateway: None,
            request_deadline: Duration::from_secs(60),
            max_waiting: 64,
            token_file: None,
            token: None,
            otlp: None,
            server: ServerOptions::new(listen),
        }
    }

    /// The deployments at [`FrontDoorOptions::deployments`], their functions behind
    /// [`FrontDoorOptions::gateway`] where that is set.
    ///
    /// # Errors
    /// When a file cannot be read, or its functions are behind no gateway that could be another.
    pub fn read_deployments(&self) -> Result<Vec<Deployment>, FrontDoorError> {
        let read = |path: &PathBuf| read_deployment(path, self.gateway.as_deref());
        self.deployments.iter().map(read).collect()
    }
}

/// Reads a deployment.json. A gateway that is reached under another URL from here than from where
/// it was deployed (from inside faasd: `http://10.62.0.1:8080`) is put in the place of its own.
///
/// # Errors
/// As [`FrontDoorOptions::read_deployments`].
pub fn read_deployment(path: &Path, gateway: Option<&str>) -> Result<Deployment, FrontDoorError> {
    let mut deployment = Deployment::read(path)?;
    let Some(gateway) = gateway.map(|url| url.trim_end_matches('/')) else { return Ok(deployment) };
    let no_gateway = || FrontDoorError::NoGateway { deployment: deployment.name.clone() };
    let own = deployment.openfaas.as_ref().map(|openfaas| openfaas.gateway.clone()).ok_or_else(no_gateway)?;
    for function in &mut deployment.functions {
        if let Address::Http { url } = &mut function.address
            && let Some(path) =
                url.strip_prefix(own.trim_end_matches('/')).filter(|path| path.starts_with('/'))
        {
            *url = format!("{gateway}{path}");
        }
    }
    Ok(deployment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        door: FrontDoorOptions,
    }

    /// The two lists of defaults are one.
    #[test]
    fn flags_and_constructor_agree() {
        let arguments = ["door", "--deployment", "a.json,b.json", "--listen", "127.0.0.1:0"];
        let parsed = Program::try_parse_from(arguments).unwrap().door;
        let mut built = FrontDoorOptions::new("127.0.0.1:0".parse().unwrap());
        built.deployments = vec!["a.json".into(), "b.json".into()];
        assert_eq!(format!("{parsed:?}"), format!("{built:?}"));
    }
}
