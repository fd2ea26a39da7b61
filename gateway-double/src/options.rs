use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Launcher, Provider};

/// User name and password of `/system/*`.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BasicAuth").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How the double behaves. [`Options::new`] has the real thing's times; tests shorten them.
#[derive(Clone)]
pub struct Options {
    /// Whose behaviour.
    pub provider: Provider,
    /// Where it listens; must be on loopback.
    pub listen: SocketAddr,
    /// What `/system/*` asks for; `None` lets all in.
    pub auth: Option<BasicAuth>,
    /// What runs functions; `None` pulls images from registries on loopback.
    pub launcher: Option<Arc<dyn Launcher>>,
    /// Where images are cached between runs; `None` for a temporary folder.
    pub cache: Option<PathBuf>,
    /// How long a call may take (`upstream_timeout`).
    pub upstream_timeout: Duration,
    /// How long a function may take to answer `Expect: 100-continue`.
    pub expect_timeout: Duration,
    /// How long a function may take to end after SIGTERM.
    pub grace_period: Duration,
    /// Whether there is a queue behind /async-function.
    pub asynchronous: bool,
    /// Whether Prometheus is there: without it the gateway dies of a list of functions.
    pub prometheus: bool,
    /// Whether functions' lines reach journald; faasd's logs are empty without it.
    pub journald: bool,
    /// Kubernetes: time between probes of a replica; their time-out is half of it.
    pub probe_period: Duration,
    /// Kubernetes: first pause before a replica that ended is started again; doubled each time.
    pub restart_backoff: Duration,
    /// Kubernetes: user and group that functions run as, in place of the image's.
    pub function_user: Option<(u32, u32)>,
}

impl Options {
    /// The real times, on any free port of 127.0.0.1, without authentication.
    #[must_use]
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            auth: None,
            launcher: None,
            cache: None,
            upstream_timeout: Duration::from_secs(60),
            expect_timeout: Duration::from_millis(1500),
            grace_period: Duration::from_secs(30),
            asynchronous: true,
            prometheus: true,
            journald: true,
            probe_period: Duration::from_secs(2),
            restart_backoff: Duration::from_secs(10),
            function_user: None,
        }
    }
}
