//! The life of a process that serves: its log, its signals, and the duties of process 1.

use std::future::Future;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::ServingError;

/// Runs `serve` on one thread until it ends and returns what it gives. It is handed what ends
/// when the process is told to stop: SIGTERM, SIGINT, SIGQUIT or SIGHUP.
///
/// Logs go to stderr; `TRANCHE_LOG` filters them.
///
/// Process 1 of a PID namespace is not ended by signals that it does not handle and inherits
/// every orphan (pid_namespaces(7)), so the signals are handled and ended orphans are reaped.
///
/// # Errors
/// When the system refuses what a runtime needs.
pub fn run<T, F: Future<Output = T>>(serve: impl FnOnce(Stop) -> F) -> Result<T, ServingError> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRANCHE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).try_init();
    let system = |source| ServingError::System { source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let stop = {
        let _context = runtime.enter();
        if std::process::id() == 1 {
            let ended = signal(SignalKind::child()).map_err(system)?;
            runtime.spawn(reap(ended));
        }
        stop().map_err(system)?
    };
    let given = runtime.block_on(serve(stop));
    runtime.shutdown_background();
    Ok(given)
}

/// Ends when the process is told to stop.
pub type Stop = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn stop() -> io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = hang_up.recv() => {}
        }
    }))
}

/// Takes the exit of every process that ended as ours. Only process 1 may: elsewhere this would
/// take exits from whoever started the processes.
async fn reap(mut ended: Signal) {
    loop {
        while let Ok(Some((process, status))) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            tracing::debug!(?process, ?status, "reaped");
        }
        if ended.recv().await.is_none() {
            return;
        }
    }
}
