//! Connections, and the way to stop.

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::patient::Patient;
use crate::{Answer, Listener, ServerOptions};

/// Longest request head, and the pause after an accept that failed.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far a process is with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It takes requests.
    Serving,
    /// It was told to stop and still takes requests, but says that it is not ready.
    Leaving,
    /// It takes no more requests.
    Draining,
}

/// Serves until `stop` ends or somebody else sets the phase to [`Phase::Draining`], leaves, then
/// drains. When it returns, all requests are answered or the drain deadline has passed.
pub async fn accept<S, F>(
    listener: Listener,
    options: &ServerOptions,
    phase: &watch::Sender<Phase>,
    service: S,
    stop: impl Future<Output = ()>,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(options.max_connections));
    let mut tasks = JoinSet::new();
    let mut stop = pin!(async {
        let drained = becomes(phase, |phase| *phase == Phase::Draining);
        tokio::select! {
            () = leave(stop, phase, options.drain_delay) => {}
            () = drained => {}
        }
    });
    loop {
        let free = Arc::clone(&connections).acquire_owned();
        let accepted = async {
            let permit = free.await.ok();
            let converse = Converse {
                service: service.clone(),
                header_timeout: options.header_timeout,
                body_timeout: options.body_timeout,
                phase: phase.subscribe(),
                permit,
            };
            let spawned = match &listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    tasks.spawn(converse.run(stream));
                }),
                Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                    tasks.spawn(converse.run(stream));
                }),
            };
            if let Err(failure) = spawned {
                // Out of descriptors, as a rule: some will be free again.
                warn!("cannot accept a connection: {failure}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = accepted => {}
        }
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    phase.send_replace(Phase::Draining);
    info!(connections = tasks.len(), "draining");
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(options.drain_deadline, drained).await.is_err() {
        warn!(connections = tasks.len(), "stopped with requests unanswered");
    }
}

/// From being told to stop until no more is taken.
async fn leave(stop: impl Future<Output = ()>, phase: &watch::Sender<Phase>, delay: Duration) {
    stop.await;
    if !delay.is_zero() {
        phase.send_replace(Phase::Leaving);
        info!(delay_ms = delay.as_millis() as u64, "told to stop; requests are still taken");
        tokio::time::sleep(delay).await;
    }
}

struct Converse<S> {
    service: S,
    header_timeout: Duration,
    body_timeout: Duration,
    phase: watch::Receiver<Phase>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<S, F> Converse<S>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    /// Serves one connection until it ends, or until its current request is answered when draining.
    async fn run<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: T) {
        let Self { service, header_timeout, body_timeout, mut phase, permit } = self;
        let service = service_fn(move |request| {
            let answering = service(request);
            async move { Ok::<Response<_>, Infallible>(answering.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(Patient::new(stream, body_timeout)), service);
        let mut connection = pin!(connection);
        let draining = async move {
            // The reference to the phase must not be held over what follows.
            let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = draining => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(failure) = ended {
            debug!("connection: {failure}");
        }
        drop(permit);
    }
}

/// Waits until the value is such; the value is not held, so others may change it.
pub async fn becomes<T>(value: &watch::Sender<T>, such: impl FnMut(&T) -> bool) {
    // The sender is borrowed, so it lives, so this does not fail.
    let _ = value.subscribe().wait_for(such).await;
}
