use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::faults::{CallRecord, Fault};
use crate::gateway::Gateway;
use crate::launch::{ImageLauncher, Launcher};
use crate::{DoubleError, Options, asynchronous, server};

/// How long the server's threads may take to end; pulls and starts are waited for.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// A running double. Dropping it ends it and every process that it started.
pub struct GatewayDouble {
    gateway: Arc<Gateway>,
    address: SocketAddr,
    /// `None` once it is shut down.
    runtime: Option<Runtime>,
}

impl GatewayDouble {
    /// Starts it on threads of its own, so that blocking and asynchronous tests may use it.
    ///
    /// # Errors
    /// When the address is not on loopback or in use, or the cache cannot be made.
    pub fn start(options: Options) -> Result<Self, DoubleError> {
        let failed = |source| DoubleError::Listen { address: options.listen.to_string(), source };
        if !options.listen.ip().is_loopback() {
            let reason = "it starts what it is told to: only loopback is listened on";
            return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason)));
        }
        let launcher: Arc<dyn Launcher> = match &options.launcher {
            Some(launcher) => Arc::clone(launcher),
            None => Arc::new(ImageLauncher::new(options.cache.as_deref())?),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("gateway-double")
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = TcpListener::bind(options.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let (queue, waiting) = mpsc::unbounded_channel();
        let queue = options.asynchronous.then_some(queue);
        let gateway = Arc::new(Gateway::new(options, launcher, queue));
        runtime.spawn(asynchronous::work(Arc::downgrade(&gateway), waiting));
        runtime.spawn(server::accept(Arc::clone(&gateway), listener));
        Ok(Self { gateway, address, runtime: Some(runtime) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.gateway.script.inject(fault);
    }

    /// Takes all faults out.
    pub fn clear_faults(&self) {
        self.gateway.script.clear();
    }

    /// Every call so far, in the order in which they were answered.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.gateway.script.calls()
    }

    /// How many calls had this method and a path that begins so.
    #[must_use]
    pub fn count(&self, method: &str, path: &str) -> usize {
        let meant = |call: &&CallRecord| call.method == method && call.path.starts_with(path);
        self.calls().iter().filter(meant).count()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.gateway.script.forget_calls();
    }

    /// Kills all replicas of a function (SIGKILL).
    ///
    /// # Errors
    /// When there is no such function.
    pub fn kill(&self, function: &str) -> Result<(), DoubleError> {
        self.gateway.kill(function)
    }

    /// Takes all replicas of a function away until it is scaled or deployed.
    ///
    /// # Errors
    /// When there is no such function.
    pub fn drop_replicas(&self, function: &str) -> Result<(), DoubleError> {
        self.gateway.drop_replicas(function)
    }
}

impl Drop for GatewayDouble {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // First the server, so that nothing is started any more. In a thread of its own:
            // a runtime may not be waited for inside another.
            let end = std::thread::Builder::new().spawn(move || runtime.shutdown_timeout(SHUTDOWN_TIMEOUT));
            if let Ok(end) = end {
                let _ = end.join();
            }
        }
        self.gateway.end();
    }
}
