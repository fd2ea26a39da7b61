//! Passing a call on to a replica, as gateway and provider do it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, combinators::UnsyncBoxBody};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::{Answer, BoxError, Cut, text};
use crate::replica::Replica;

/// Hop-by-hop headers (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// How long connecting to a local port may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Outgoing = UnsyncBoxBody<Bytes, BoxError>;

/// Connections that may serve another call.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<SendRequest<Outgoing>>>);

impl Pool {
    fn take(&self) -> Option<SendRequest<Outgoing>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.is_closed());
        let ready = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(ready))
    }

    /// Also one that is still busy with an answer: it is passed over until it is ready.
    fn put(&self, connection: SendRequest<Outgoing>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// A call as it reaches the gateway.
pub(crate) struct Call {
    pub method: Method,
    /// Path and query below the function's name.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Outgoing,
    /// Where it came from.
    pub peer: SocketAddr,
}

/// Times of a call.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub upstream: Duration,
    pub expect: Duration,
}

/// The body as hyper received it.
pub(crate) fn incoming(body: Incoming) -> Outgoing {
    if body.is_end_stream() {
        return Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    body.map_err(Into::into).boxed_unsync()
}

/// Passes the call on and streams the answer back.
pub(crate) async fn forward(
    function: &str,
    replica: &Arc<Replica>,
    call: Call,
    times: Times,
) -> Result<Answer, Cut> {
    let deadline = Instant::now() + times.upstream;
    let requested_type = call.headers.get(CONTENT_TYPE).cloned();
    let request = outgoing(call, replica.address, times.expect);
    let answered = async {
        tokio::select! {
            sent = send(replica, request) => Some(sent),
            () = sleep_until(deadline) => None,
        }
    };
    let sent = tokio::select! {
        biased;
        // No packet reaches the function any more, and none comes back to say so.
        () = replica.network_cut() => {
            sleep_until(deadline).await;
            return Err(Cut::Close);
        }
        sent = answered => sent,
    };
    let response = match sent {
        None => return Ok(text(StatusCode::GATEWAY_TIMEOUT, "")),
        Some(Ok(response)) => response,
        Some(Err(error)) => {
            tracing::info!(function, "{error}");
            return Ok(unreachable(function));
        }
    };
    let (mut parts, body) = response.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    let kind = requested_type.unwrap_or(HeaderValue::from_static("text/plain"));
    parts.headers.entry(CONTENT_TYPE).or_insert(kind);
    let replica = Arc::clone(replica);
    let stop = async move {
        tokio::select! {
            () = replica.network_cut() => sleep_until(deadline).await,
            () = sleep_until(deadline) => {}
        }
    };
    Ok(Response::from_parts(parts, Until { body, stop: Box::pin(stop) }.boxed_unsync()))
}

/// The provider's answer when a call fails on its way (`faas-provider/proxy`).
pub(crate) fn unreachable(function: &str) -> Answer {
    let message = format!("Can't reach service for: {function}.");
    let mut answer = text(StatusCode::INTERNAL_SERVER_ERROR, &message);
    let internal = HeaderName::from_static("x-openfaas-internal");
    answer.headers_mut().insert(internal, HeaderValue::from_static("proxy"));
    answer
}

/// The request as the function sees it: chunked when there is a body, never with its length.
fn outgoing(call: Call, address: SocketAddr, expect_timeout: Duration) -> Request<Outgoing> {
    let Call { method, path, mut headers, body, peer } = call;
    let host = headers.remove(HOST);
    headers.remove(CONTENT_LENGTH);
    remove_hop_by_hop(&mut headers);
    let forwarded = |name: &'static str| HeaderName::from_static(name);
    if let Some(host) = host {
        headers.entry(forwarded("x-forwarded-host")).or_insert(host);
    }
    if let Ok(peer) = HeaderValue::try_from(peer.to_string()) {
        headers.entry(forwarded("x-forwarded-for")).or_insert(peer);
    }
    if let Ok(host) = HeaderValue::try_from(address.to_string()) {
        headers.insert(HOST, host);
    }
    let waits =
        headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let (go, may_go) = watch::channel(!waits);
    let body = if body.is_end_stream() {
        body
    } else {
        let gate = async move {
            let mut may_go = may_go;
            // The callback that holds the sender goes with the request's head at times.
            let told = async {
                if may_go.wait_for(|go| *go).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let _ = timeout(expect_timeout, told).await;
        };
        Chunked { body, gate: waits.then(|| Box::pin(gate) as Gate) }.boxed_unsync()
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or(Uri::from_static("/"));
    *request.headers_mut() = headers;
    if waits {
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                go.send_replace(true);
            }
        });
    }
    request
}

async fn send(replica: &Replica, mut request: Request<Outgoing>) -> Result<Response<Incoming>, BoxError> {
    while let Some(mut connection) = replica.pool.take() {
        match connection.try_send_request(request).await {
            Ok(response) => {
                replica.pool.put(connection);
                return Ok(response);
            }
            // Nothing was written: the function had closed the idle connection.
            Err(mut error) => match error.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(error.into_error().into()),
            },
        }
    }
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(replica.address)).await??;
    stream.set_nodelay(true)?;
    let (mut connection, work) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _ = work.await;
    });
    let response = connection.send_request(request).await?;
    replica.pool.put(connection);
    Ok(response)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

type Gate = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body whose length is not told, held back until the gate opens.
struct Chunked {
    body: Outgoing,
    gate: Option<Gate>,
}

impl HttpBody for Chunked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(gate) = &mut self.gate {
            if gate.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.gate = None;
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// An answer's body that breaks off when `stop` is ready.
struct Until {
    body: Incoming,
    stop: Gate,
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.stop.as_mut().poll(context).map(|()| Some(Err("the call's time is up".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
