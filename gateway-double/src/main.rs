//! The double as a program, for tests of other programs.

use clap::{Parser, ValueEnum};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tranche_gateway_double::{BasicAuth, GatewayDouble, Options, Provider};

/// A double of an OpenFaaS gateway and its provider, for tests. It is not OpenFaaS.
///
/// Prints its address, then serves until SIGTERM or SIGINT.
#[derive(Parser)]
#[command(name = "openfaas-gateway-double", version)]
struct Arguments {
    /// Whose behaviour.
    #[arg(long, value_enum, default_value = "faasd")]
    provider: Whose,
    /// Where to listen; must be on loopback.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// User of `/system/*`.
    #[arg(long, default_value = "admin")]
    user: String,
    /// File with the password of `/system/*`; without it all may call.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Where images are cached; a temporary folder without it.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// How long a call may take.
    #[arg(long, default_value = "60000")]
    upstream_timeout_ms: u64,
    /// How long a function may take to end after SIGTERM.
    #[arg(long, default_value = "30000")]
    grace_period_ms: u64,
    /// Kubernetes: time between probes of a replica.
    #[arg(long, default_value = "2000")]
    probe_period_ms: u64,
    /// There is no queue: /async-function is not found.
    #[arg(long)]
    no_async: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Whose {
    Faasd,
    Kubernetes,
}

fn main() -> ExitCode {
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).try_init();
    match serve(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tracing::error!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> Result<(), String> {
    let provider = match arguments.provider {
        Whose::Faasd => Provider::Faasd,
        Whose::Kubernetes => Provider::Kubernetes,
    };
    let password = arguments.password_file.as_deref().map(std::fs::read_to_string).transpose();
    let password = password.map_err(|error| format!("cannot read the password: {error}"))?;
    let user = arguments.user;
    let options = Options {
        listen: arguments.listen,
        auth: password.map(|password| BasicAuth { user, password: password.trim_end().to_owned() }),
        cache: arguments.cache,
        upstream_timeout: Duration::from_millis(arguments.upstream_timeout_ms),
        grace_period: Duration::from_millis(arguments.grace_period_ms),
        probe_period: Duration::from_millis(arguments.probe_period_ms),
        asynchronous: !arguments.no_async,
        ..Options::new(provider)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let failed = |error: std::io::Error| error.to_string();
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let double = GatewayDouble::start(options).map_err(|error| format!("{error} ({})", error.hint()))?;
        writeln!(std::io::stdout(), "{}", double.url()).map_err(failed)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
