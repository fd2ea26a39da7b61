//! Where functions that hand on by themselves post the outputs of the model.

use crate::DriverError;
use crate::refusal::MAX_REASON_BYTES;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::debug;
use tranche_schema::FunctionMetrics;
use tranche_transport::{CONTENT_TYPE, TRAIL_HEADER, aligned_buffer};

/// Longest time that a sender may take for a head, or pause within a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest request head: the trail of every slice is in it.
const MAX_HEAD_BYTES: usize = 256 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is posted for a request.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// A frame, or the JSON of a failure.
    pub(crate) body: Bytes,
    pub(crate) is_frame: bool,
    /// What every slice measured, in the order in which they ran.
    pub(crate) trail: Vec<FunctionMetrics>,
}

struct Expected {
    most_bytes: u64,
    sender: oneshot::Sender<Arrived>,
}

type Pending = Arc<Mutex<HashMap<String, Expected>>>;

/// A listener that functions post answers to. One serves any number of requests at once; it ends
/// when it is dropped. Answers are taken at paths of 128 random bits only, each once.
#[derive(Debug)]
pub struct Callback {
    url: String,
    pending: PendingDebug,
    task: AbortHandle,
}

/// Keeps what is pending out of debugging output: its keys are what lets one post.
struct PendingDebug(Pending);

impl std::fmt::Debug for PendingDebug {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Callback {
    /// Listens on `address`. `url` is how functions reach it, where that is another than
    /// `http://ADDRESS`: from inside containers, loopback is somebody else.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn listen(address: SocketAddr, url: Option<&str>) -> Result<Self, DriverError> {
        let failed = |source| DriverError::Callback { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let url = url.map_or_else(|| format!("http://{bound}"), |url| url.trim_end_matches('/').to_owned());
        let pending = Pending::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&pending))).abort_handle();
        Ok(Self { url, pending: PendingDebug(pending), task })
    }

    /// Base URL that functions post below; their `--continue-to` must allow it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Expects one answer; gives the URL that it is to be posted to.
    pub(crate) fn expect(&self, most_bytes: u64) -> (Waiting, oneshot::Receiver<Arrived>) {
        let secret: [u8; 16] = rand::random();
        let key = tranche_transport::RequestHeader::new(secret, "").request_id_hex();
        let (sender, receiver) = oneshot::channel();
        lock(&self.pending.0).insert(key.clone(), Expected { most_bytes, sender });
        let url = format!("{}/{key}", self.url);
        (Waiting { key, url, pending: Arc::clone(&self.pending.0) }, receiver)
    }
}

/// An answer that is expected; dropped, it is not any more.
pub(crate) struct Waiting {
    key: String,
    pub(crate) url: String,
    pending: Pending,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.pending).remove(&self.key);
    }
}

fn lock(pending: &Pending) -> std::sync::MutexGuard<'_, HashMap<String, Expected>> {
    // Nothing that holds it can leave the map half changed.
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, pending: Pending) {
    // Connections end with their listener.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(converse(stream, Arc::clone(&pending)))),
            Err(error) => {
                debug!("cannot accept an answer: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, pending: Pending) {
    let service = service_fn(move |request| {
        let pending = Arc::clone(&pending);
        async move {
            let status = take(&pending, request).await;
            let mut response = Response::new(Nothing);
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        debug!("an answer's connection: {error}");
    }
}

/// Takes an answer. A second one to the same request finds nobody waiting; that is no failure of
/// its sender's, who may have been told nothing the first time.
async fn take(pending: &Pending, request: Request<Incoming>) -> StatusCode {
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let key = request.uri().path().trim_start_matches('/').to_owned();
    let Some(most_bytes) = lock(pending).get(&key).map(|expected| expected.most_bytes) else {
        return StatusCode::GONE;
    };
    let header = |name: &str| Some(request.headers().get(name)?.as_bytes().to_vec());
    let is_frame = header("content-type").is_some_and(|kind| kind == CONTENT_TYPE.as_bytes());
    let trail = header(TRAIL_HEADER).unwrap_or_else(|| b"[]".to_vec());
    let Ok(trail) = serde_json::from_slice(&trail) else { return StatusCode::BAD_REQUEST };
    let most_bytes = if is_frame { most_bytes } else { 4 * MAX_REASON_BYTES as u64 };
    let body = match read(request.into_body(), most_bytes).await {
        Ok(body) => body,
        Err(status) => return status,
    };
    let Some(expected) = lock(pending).remove(&key) else { return StatusCode::GONE };
    // Whoever waited may have left this moment: the sender has done its part.
    let _ = expected.sender.send(Arrived { body, is_frame, trail });
    StatusCode::NO_CONTENT
}

async fn read(mut body: Incoming, most_bytes: u64) -> Result<Bytes, StatusCode> {
    let declared = body.size_hint().exact().unwrap_or(most_bytes);
    if declared > most_bytes {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut buffer: BytesMut = aligned_buffer(usize::try_from(declared).unwrap_or(0));
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let piece = tokio::time::timeout(PATIENCE, next).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let Some(piece) = piece else { return Ok(buffer.freeze()) };
        let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        if let Ok(data) = piece.into_data() {
            if buffer.len() as u64 + data.len() as u64 > most_bytes {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            buffer.extend_from_slice(&data);
        }
    }
}

/// An empty body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
