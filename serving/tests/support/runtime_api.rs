//! A double of Lambda's Runtime API: events are queued, what a runtime says is kept.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
pub const ARN: &str = "arn:aws:lambda:eu-central-1:123456789012:function:toy-slice-0:live";

/// What `next` does when it is asked.
enum Step {
    Event(Event),
    /// The connection is closed without an answer.
    Break,
    /// The event's body ends early.
    Cut(String),
    /// Another status.
    Refuse(StatusCode),
}

struct Event {
    request_id: String,
    deadline_ms: u64,
    payload: Bytes,
}

/// What a runtime said.
#[derive(Clone, Debug)]
pub struct Call {
    /// Below the prefix, as `/2018-06-01/runtime/init/error`.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Call {
    /// The last part of the path: `response` or `error`.
    pub fn kind(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    steps: Mutex<VecDeque<Step>>,
    calls: Mutex<Vec<Call>>,
    polls: Mutex<usize>,
    changed: Notify,
}

pub struct RuntimeApiDouble {
    /// `HOST:PORT`, or a URL with the prefix.
    pub address: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for RuntimeApiDouble {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RuntimeApiDouble {
    /// `prefix` is empty, or as `/.rt/slice-0`.
    pub async fn start(prefix: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = listener.local_addr().unwrap();
        let address = if prefix.is_empty() { socket.to_string() } else { format!("http://{socket}{prefix}") };
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&serving);
                let service = service_fn(move |request| answer(Arc::clone(&shared), prefix, request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, shared, task }
    }

    /// Queues an event and returns its id.
    pub fn send(&self, payload: impl Into<Bytes>) -> String {
        self.send_within(payload, Duration::from_secs(60))
    }

    /// Queues an event that must be answered within `time` from now.
    pub fn send_within(&self, payload: impl Into<Bytes>, time: Duration) -> String {
        let request_id = format!("8476a536-e9f4-11e8-9739-{:012x}", fresh());
        self.deliver(&request_id, payload, time);
        request_id
    }

    /// Queues an event under an id, as a second delivery has it.
    pub fn deliver(&self, request_id: &str, payload: impl Into<Bytes>, time: Duration) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let deadline_ms = u64::try_from((now + time).as_millis()).unwrap();
        let payload = payload.into();
        self.push(Step::Event(Event { request_id: request_id.to_owned(), deadline_ms, payload }));
    }

    pub fn break_connection(&self) {
        self.push(Step::Break);
    }

    pub fn cut_event(&self, request_id: &str) {
        self.push(Step::Cut(request_id.to_owned()));
    }

    pub fn refuse(&self, status: u16) {
        self.push(Step::Refuse(StatusCode::from_u16(status).unwrap()));
    }

    fn push(&self, step: Step) {
        self.shared.steps.lock().unwrap().push_back(step);
        self.shared.changed.notify_waiters();
    }

    /// What was said so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// Waits for what is said of an id.
    pub async fn said_of(&self, request_id: &str) -> Call {
        let part = format!("/{request_id}/");
        self.find(|call| call.path.contains(&part)).await
    }

    /// Waits for a call whose path ends so.
    pub async fn said_at(&self, end: &str) -> Call {
        self.find(|call| call.path.ends_with(end)).await
    }

    async fn find(&self, such: impl Fn(&Call) -> bool) -> Call {
        self.until(|shared| shared.calls.lock().unwrap().iter().find(|call| such(call)).cloned()).await
    }

    /// Waits until `next` was asked so many times.
    pub async fn polled(&self, times: usize) {
        self.until(|shared| (*shared.polls.lock().unwrap() >= times).then_some(())).await;
    }

    pub fn polls(&self) -> usize {
        *self.shared.polls.lock().unwrap()
    }

    async fn until<T>(&self, such: impl Fn(&Shared) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = such(&self.shared) {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it did not come to that")
    }
}

fn fresh() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>>;

async fn answer(
    shared: Arc<Shared>,
    prefix: &str,
    request: Request<Incoming>,
) -> Result<Answer, std::io::Error> {
    let path = request.uri().path();
    let path = path.strip_prefix(prefix).unwrap_or_else(|| panic!("{path} is not below {prefix}")).to_owned();
    if path == "/2018-06-01/runtime/invocation/next" {
        *shared.polls.lock().unwrap() += 1;
        shared.changed.notify_waiters();
        return next(&shared).await;
    }
    let (parts, body) = request.into_parts();
    let collected = body.collect().await.map_err(std::io::Error::other)?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let call = Call { path, headers: parts.headers, body: collected.to_bytes(), trailers };
    shared.calls.lock().unwrap().push(call);
    shared.changed.notify_waiters();
    Ok(whole(Response::builder().status(StatusCode::ACCEPTED), b"{\"status\":\"OK\"}\n".as_slice().into()))
}

async fn next(shared: &Shared) -> Result<Answer, std::io::Error> {
    let step = loop {
        let changed = shared.changed.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        let step = shared.steps.lock().unwrap().pop_front();
        match step {
            Some(step) => break step,
            None => changed.await,
        }
    };
    Ok(match step {
        Step::Event(event) => whole(head(&event.request_id, event.deadline_ms), event.payload),
        Step::Break => return Err(std::io::Error::other("broken as asked")),
        Step::Cut(request_id) => {
            let begun = stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"tranche")))]);
            // Only what has been sent when the connection breaks arrives.
            let broken = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("cut as asked"))
            });
            let body = StreamBody::new(begun.chain(broken)).boxed_unsync();
            head(&request_id, 1_900_000_000_000).header("content-length", 100).body(body).unwrap()
        }
        Step::Refuse(status) => {
            whole(Response::builder().status(status), Bytes::from_static(b"{\"errorType\":\"InvalidState\"}"))
        }
    })
}

fn head(request_id: &str, deadline_ms: u64) -> hyper::http::response::Builder {
    Response::builder()
        .header("Lambda-Runtime-Aws-Request-Id", request_id)
        .header("Lambda-Runtime-Deadline-Ms", deadline_ms)
        .header("Lambda-Runtime-Invoked-Function-Arn", ARN)
        .header("Lambda-Runtime-Trace-Id", TRACE)
}

fn whole(response: hyper::http::response::Builder, body: Bytes) -> Answer {
    response.body(http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync()).unwrap()
}
