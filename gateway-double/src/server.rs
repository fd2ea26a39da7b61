//! Connections and routes.

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream};

use crate::answer::{Answer, Cut, status, text, whole};
use crate::asynchronous::Waiting;
use crate::body::{short, slow};
use crate::faults::{CallRecord, FaultAction};
use crate::gateway::{Choice, Gateway};
use crate::provider::MOST_ASYNC_BYTES;
use crate::proxy::{Call, forward, incoming, unreachable};
use crate::{control, system};

const CALL_ID: &str = "x-call-id";
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until its task is dropped.
pub(crate) async fn accept(gateway: Arc<Gateway>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(converse(Arc::clone(&gateway), stream, peer));
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(gateway: Arc<Gateway>, stream: TcpStream, peer: SocketAddr) {
    // Kept so that the connection can be reset when hyper has let go of it.
    let kept = stream.as_fd().try_clone_to_owned();
    let reset = AtomicBool::new(false);
    let service = service_fn(|request| {
        let gateway = Arc::clone(&gateway);
        let reset = &reset;
        async move {
            let answered = recorded(&gateway, request, peer).await;
            if answered.as_ref().is_err_and(|cut| *cut == Cut::Reset) {
                reset.store(true, Ordering::Relaxed);
            }
            answered
        }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("connection: {error}");
    }
    if let (true, Ok(kept)) = (reset.load(Ordering::Relaxed), kept) {
        // Closing a socket that does not linger sends RST in place of FIN.
        let _ = rustix::net::sockopt::set_socket_linger(&kept, Some(Duration::ZERO));
    }
}

async fn recorded(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Answer, Cut> {
    if request.uri().path().starts_with("/_double/") {
        let local = peer.ip().is_loopback();
        return Ok(if local { control::answer(gateway, request).await } else { status(404, "") });
    }
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or("/", |both| both.as_str()).to_owned();
    let fault = gateway.script.next(&method, &path);
    let answered = with_fault(gateway, request, peer, fault.clone()).await;
    let status = answered.as_ref().ok().map(|answer| answer.status().as_u16());
    gateway.script.record(CallRecord { method, path, status, fault });
    answered
}

async fn with_fault(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    peer: SocketAddr,
    fault: Option<FaultAction>,
) -> Result<Answer, Cut> {
    let report = |result: Result<(), crate::DoubleError>| {
        if let Err(error) = result {
            tracing::warn!("fault: {error}");
        }
    };
    match &fault {
        Some(FaultAction::Status { status: code }) => return Ok(status(*code, "injected")),
        Some(FaultAction::Reset) => return Err(Cut::Reset),
        Some(FaultAction::Stall { milliseconds }) => {
            tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
        }
        Some(FaultAction::Kill { function }) => report(gateway.kill(function)),
        Some(FaultAction::Drop { function }) => report(gateway.drop_replicas(function)),
        _ => {}
    }
    let answer = route(gateway, request, peer).await?;
    Ok(match fault {
        Some(FaultAction::SlowBody { bytes, milliseconds }) => {
            slow(answer, bytes, Duration::from_millis(milliseconds))
        }
        Some(FaultAction::ShortBody { bytes }) => short(answer, bytes),
        Some(FaultAction::WrongJson) => {
            whole(StatusCode::OK, "application/json", Bytes::from_static(b"{\"name\": \"br"))
        }
        _ => answer,
    })
}

async fn route(gateway: &Arc<Gateway>, request: Request<Incoming>, peer: SocketAddr) -> Result<Answer, Cut> {
    let path = request.uri().path();
    let rest = |prefix: &str| path.strip_prefix(prefix).map(str::to_owned);
    if path == "/healthz" {
        return Ok(text(StatusCode::OK, "OK"));
    }
    if path.starts_with("/system/") {
        return system::answer(gateway, request).await;
    }
    if let Some(rest) = rest("/function/") {
        let (name, below) = split(&rest, request.uri().query());
        return synchronous(gateway, &name, below, request, peer).await;
    }
    if let Some(rest) = rest("/async-function/") {
        let (name, below) = split(&rest, request.uri().query());
        return Ok(asynchronous(gateway, &name, below, request, peer).await);
    }
    Ok(text(StatusCode::NOT_FOUND, "404 page not found\n"))
}

/// `NAME[/path]` as the name, and path and query for the function.
fn split(rest: &str, query: Option<&str>) -> (String, String) {
    let (name, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    (name.to_owned(), format!("{path}{query}"))
}

async fn synchronous(
    gateway: &Arc<Gateway>,
    name: &str,
    path: String,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Answer, Cut> {
    let generated = identify(&mut request);
    let allowed = [
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::GET,
        Method::OPTIONS,
        Method::HEAD,
    ];
    if !allowed.contains(request.method()) {
        return Ok(status(405, ""));
    }
    let Some(function) = gateway.find(name) else {
        return Ok(status(404, &format!("error finding function {name}: not found")));
    };
    let mut answer = match gateway.choose(&function).await {
        Choice::Replica(replica) => {
            let (parts, body) = request.into_parts();
            let (method, headers) = (parts.method, parts.headers);
            let call = Call { method, path, headers, body: incoming(body), peer };
            forward(name, &replica, call, gateway.times()).await?
        }
        Choice::Refused => unreachable(name),
        Choice::NoEndpoints => status(503, &format!("No endpoints available for: {name}.")),
    };
    if let Some(id) = generated {
        answer.headers_mut().insert(HeaderName::from_static(CALL_ID), id);
    }
    Ok(answer)
}

/// Sees to it that the call has an id; the id if the gateway made it.
fn identify(request: &mut Request<Incoming>) -> Option<HeaderValue> {
    let start = HeaderName::from_static("x-start-time");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if let Ok(now) = HeaderValue::try_from(now.as_nanos().to_string()) {
        request.headers_mut().entry(start).or_insert(now);
    }
    if request.headers().contains_key(CALL_ID) {
        return None;
    }
    let id = new_call_id();
    request.headers_mut().insert(HeaderName::from_static(CALL_ID), id.clone());
    Some(id)
}

/// Unique in this process, and shaped like the gateway's UUIDs.
fn new_call_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id());
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("0"))
}

async fn asynchronous(
    gateway: &Arc<Gateway>,
    name: &str,
    path: String,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Answer {
    let Some(queue) = &gateway.queue else { return text(StatusCode::NOT_FOUND, "404 page not found\n") };
    if gateway.find(name).is_none() {
        return status(404, &format!("error finding function {name}: not found"));
    }
    let _ = identify(&mut request);
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MOST_ASYNC_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return status(500, &format!("the body is larger than {MOST_ASYNC_BYTES} bytes"));
        }
        Err(_) => return status(400, "the body ended early"),
    };
    let mut headers = parts.headers;
    let id = headers.get(CALL_ID).cloned().unwrap_or(HeaderValue::from_static("0"));
    let callback = headers.remove("x-callback-url").and_then(|url| url.to_str().ok().map(str::to_owned));
    let waiting = Waiting {
        function: name.to_owned(),
        method: parts.method,
        path,
        headers,
        body,
        peer,
        call_id: id.to_str().unwrap_or_default().to_owned(),
        callback,
    };
    if queue.send(waiting).is_err() {
        return status(500, "the queue is closed");
    }
    let mut answer = status(202, "");
    answer.headers_mut().insert(HeaderName::from_static(CALL_ID), id);
    answer
}
