//! /async-function: one call at a time from a queue, results to a callback.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

use crate::gateway::{Choice, Gateway};
use crate::proxy::{Call, forward};

/// How long a callback's address may take.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(60);

/// A call that waits.
pub(crate) struct Waiting {
    pub function: String,
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub peer: SocketAddr,
    pub call_id: String,
    pub callback: Option<String>,
}

pub(crate) type Queue = mpsc::UnboundedSender<Waiting>;

/// The queue worker of the Community Edition: `max_inflight` is 1.
pub(crate) async fn work(gateway: Weak<Gateway>, mut queue: mpsc::UnboundedReceiver<Waiting>) {
    while let Some(waiting) = queue.recv().await {
        let Some(gateway) = gateway.upgrade() else { return };
        run(&gateway, waiting).await;
    }
}

async fn run(gateway: &Arc<Gateway>, waiting: Waiting) {
    let start = Instant::now();
    let Waiting { function: name, method, path, headers, body, peer, call_id, callback } = waiting;
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let call = Call { method, path, headers, body, peer };
    let (status, body) = match gateway.find(&name) {
        None => (404, Bytes::new()),
        Some(function) => match gateway.choose(&function).await {
            Choice::Refused => (500, Bytes::new()),
            Choice::NoEndpoints => (503, Bytes::new()),
            Choice::Replica(replica) => match forward(&name, &replica, call, gateway.times()).await {
                Err(_) => (500, Bytes::new()),
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let body = answer.into_body().collect().await;
                    (status, body.map(|body| body.to_bytes()).unwrap_or_default())
                }
            },
        },
    };
    let Some(callback) = callback else { return };
    let request = gateway
        .client
        .post(&callback)
        .timeout(CALLBACK_TIMEOUT)
        .header("x-call-id", call_id)
        .header("x-function-name", name)
        .header("x-function-status", status.to_string())
        .header("x-duration-seconds", format!("{:.6}", start.elapsed().as_secs_f64()))
        .body(body);
    if let Err(error) = request.send().await {
        tracing::warn!("callback: {error}");
    }
}
