//! Arguments of the verbs that speak to an OpenFaaS gateway.

use super::AwsArguments;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Which target a deployment is on, and how its gateway is reached.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Target")]
pub struct PlaceArguments {
    /// Where it is [default: where a deployment of that name is known, else local]
    #[arg(short, long, value_parser = ["local", "openfaas", "lambda"])]
    #[serde(skip)]
    pub target: Option<String>,
    /// The gateway.
    #[command(flatten)]
    #[serde(flatten)]
    pub gateway: GatewayArguments,
    /// AWS.
    #[command(flatten)]
    #[serde(flatten)]
    pub aws: AwsArguments,
}

/// How an OpenFaaS gateway is reached. Its password comes from a file, the
/// environment or faas-cli's own login, never from the command line.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "OpenFaaS gateway")]
pub struct GatewayArguments {
    /// The gateway's URL [default: that of the deployment, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Namespace of the functions [default: the provider's]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// File with the gateway's password [default: TRANCHE_OPENFAAS_PASSWORD, OPENFAAS_PASSWORD, or faas-cli's login]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub password_file: Option<PathBuf>,
    /// Send the password over plain HTTP also outside of private networks
    #[arg(long)]
    #[serde(skip)]
    pub allow_plain_http: bool,
}

/// What `deploy --target openfaas` needs besides.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "OpenFaaS")]
pub struct OpenFaasArguments {
    /// Registry and path that images are pushed below, as ghcr.io/me or 127.0.0.1:5000
    #[arg(long, value_name = "HOST/PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Push over plain HTTP, to this machine only
    #[arg(long)]
    #[serde(skip)]
    pub insecure_registry: bool,
    /// Certificates (PEM) to trust at the registry beside the machine's own
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub registry_certificates: Option<PathBuf>,
    /// The functions' program [default: found beside tranche]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shim: Option<PathBuf>,
    /// Folder of the images [default: BUNDLE.images]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip)]
    pub images: Option<PathBuf>,
    /// Deploy one more function that takes whole requests as JSON
    #[arg(long)]
    #[serde(skip)]
    pub front_door: bool,
    /// The front door's program [default: found beside tranche]
    #[arg(long, value_name = "FILE", requires = "front_door")]
    #[serde(skip)]
    pub front_door_program: Option<PathBuf>,
    /// The gateway's URL as functions reach it [default: the provider's own]
    #[arg(long, value_name = "URL", requires = "front_door")]
    #[serde(skip)]
    pub gateway_inside: Option<String>,
    /// Seconds that a function may take for a request [default: 60]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip)]
    pub exec_timeout: Option<u64>,
    /// Requests that a function takes at one time [default: 16]
    #[arg(long, value_name = "COUNT")]
    #[serde(skip)]
    pub max_in_flight: Option<u32>,
    /// Replicas of each function [default: 1]
    #[arg(long, value_name = "COUNT")]
    #[serde(skip)]
    pub replicas: Option<u32>,
    /// Base URL that slices may hand requests on to, for `invoke --via hand-on`: the gateway's, the callback's (may be repeated)
    #[arg(long = "continue-to", value_name = "URL")]
    #[serde(skip)]
    pub continue_to: Vec<String>,
    /// A secret of the gateway that the functions get (may be repeated)
    #[arg(long = "secret", value_name = "NAME")]
    #[serde(skip)]
    pub secrets: Vec<String>,
    /// Remove old functions before new ones come, also where both fit
    #[arg(long)]
    #[serde(skip)]
    pub in_place: bool,
    /// Most functions that the gateway takes, 0 for any number [default: 15, the Community Edition's]
    #[arg(long, value_name = "COUNT")]
    #[serde(skip)]
    pub function_limit: Option<usize>,
    /// Write the images as one OCI archive, and deploy nothing
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    #[serde(skip)]
    pub oci_archive: Option<PathBuf>,
}

/// `scale`
#[derive(Debug, Args)]
pub struct ScaleArguments {
    /// Name of the deployment
    pub name: String,
    /// Replicas
    pub replicas: u32,
    /// Only this slice's function
    #[arg(long)]
    pub slice: Option<String>,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArguments,
}

/// `secret`
#[derive(Debug, clap::Subcommand)]
pub enum SecretVerb {
    /// List the names of the gateway's secrets
    #[command(after_help = "Examples:\n  tranche secret list --gateway http://127.0.0.1:8080")]
    List(GatewayArguments),
    /// Set a secret from a file
    #[command(after_help = "Examples:\n  tranche secret set token --from token.txt")]
    Set {
        /// Its name
        name: String,
        /// File with its value; `-` for standard input
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The gateway.
        #[command(flatten)]
        gateway: GatewayArguments,
    },
    /// Remove a secret
    #[command(after_help = "Examples:\n  tranche secret remove token")]
    Remove {
        /// Its name
        name: String,
        /// The gateway.
        #[command(flatten)]
        gateway: GatewayArguments,
    },
}

/// `serve`
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Names of deployments
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Where to listen: ADDRESS:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    pub listen: String,
    /// Seconds that one request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub deadline: u64,
    /// Requests at one time; more wait
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub max_in_flight: usize,
    /// Requests that wait; more are answered 429
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub max_waiting: usize,
    /// File with the token that callers must send [default: TRANCHE_TOKEN, if it is set]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Collector of traces, by OTLP over HTTP [default: OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Largest request body, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub max_body: u64,
    /// Where the deployments are.
    #[command(flatten)]
    pub place: PlaceArguments,
}
