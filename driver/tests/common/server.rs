//! Functions that speak the contract over a Unix socket or behind a gateway's path, and break it
//! on demand.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame as BodyFrame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tranche_driver::METRICS_HEADER;
use tranche_schema::{ByteCount, Codec, FunctionMetrics, Millis, Tensor, TensorSpec};
use tranche_transport::{CodedTensor, Frame, FrameLimits, Placement, RequestHeader, SharedFolder};

/// What a function does with one request instead of answering it.
#[derive(Clone, Debug)]
pub enum Fault {
    Status(u16, &'static str),
    /// 429, to be tried again after these seconds.
    Busy(u32),
    /// 302 to somewhere.
    Redirect(&'static str),
    /// Half of the answer, then the connection ends.
    BreakOff,
    Hang,
    Garbage,
    /// The right answer under another tensor's name.
    WrongTensor,
    /// The right answer with another shape.
    WrongShape,
    MissingTensor,
    /// A megabyte, announced.
    TooLong,
    /// A megabyte, not announced.
    TooLongUnannounced,
    NoMetrics,
    OtherRequest,
    OtherSlice,
    /// A bit of the output's bytes flipped.
    BitFlip,
}

/// A function that adds its inputs, and to each output its index plus one.
pub struct Function {
    pub requests: Arc<Mutex<Vec<RequestHeader>>>,
    pub connections: Arc<Mutex<u32>>,
    /// Of the requests with frames.
    pub headers: Arc<Mutex<Vec<HeaderMap>>>,
    task: JoinHandle<()>,
}

impl Drop for Function {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Behaviour {
    slice: String,
    outputs: Vec<TensorSpec>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    requests: Arc<Mutex<Vec<RequestHeader>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
    shared: Option<Arc<SharedFolder>>,
    /// What the gateway cuts off paths.
    prefix: String,
    cold: Cold,
}

/// A function's start, which its first request or ping begins and all wait for.
#[derive(Clone, Default)]
pub struct Cold {
    /// How long it takes.
    pub takes: Duration,
    /// What happens: `ping SLICE`, `started SLICE`, `answered SLICE`.
    pub events: Arc<Mutex<Vec<String>>>,
    started: Arc<tokio::sync::OnceCell<()>>,
}

impl Cold {
    pub fn taking(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }

    /// A start of its own, told to the same list.
    pub fn another(&self) -> Self {
        Self { started: Arc::default(), ..self.clone() }
    }

    fn tell(&self, what: &str, slice: &str) {
        self.events.lock().unwrap().push(format!("{what} {slice}"));
    }

    async fn start(&self, slice: &str) {
        let start = || async {
            tokio::time::sleep(self.takes).await;
            self.tell("started", slice);
        };
        self.started.get_or_init(start).await;
    }
}

impl Function {
    /// Answers at `socket`; the first requests meet `faults`, one each.
    pub fn start(
        socket: &Path,
        (slice, outputs): (&str, &[TensorSpec]),
        faults: Vec<Fault>,
        shared: Option<Arc<SharedFolder>>,
    ) -> Self {
        let listener = Arc::new(UnixListener::bind(socket).unwrap());
        let accept = move || {
            let listener = Arc::clone(&listener);
            async move { listener.accept().await.unwrap().0 }
        };
        Self::serve(accept, behaviour((slice, outputs), faults, shared, String::new()))
    }

    /// Answers at `socket` once it has started.
    pub fn cold(
        socket: &Path,
        (slice, outputs): (&str, &[TensorSpec]),
        faults: Vec<Fault>,
        cold: Cold,
    ) -> Self {
        let listener = Arc::new(UnixListener::bind(socket).unwrap());
        let accept = move || {
            let listener = Arc::clone(&listener);
            async move { listener.accept().await.unwrap().0 }
        };
        let behaviour = behaviour((slice, outputs), faults, None, String::new());
        Self::serve(accept, Behaviour { cold, ..behaviour })
    }

    /// Answers at `/function/SLICE` of a gateway of its own; gives that URL too.
    pub async fn behind_gateway(
        (slice, outputs): (&str, &[TensorSpec]),
        faults: Vec<Fault>,
    ) -> (Self, String) {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let prefix = format!("/function/{slice}");
        let url = format!("http://{}{prefix}", listener.local_addr().unwrap());
        let accept = move || {
            let listener = Arc::clone(&listener);
            async move { listener.accept().await.unwrap().0 }
        };
        (Self::serve(accept, behaviour((slice, outputs), faults, None, prefix)), url)
    }

    fn serve<S, F>(accept: impl Fn() -> F + Send + 'static, behaviour: Behaviour) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = S> + Send,
    {
        let (requests, headers) = (Arc::clone(&behaviour.requests), Arc::clone(&behaviour.headers));
        let connections = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let stream = accept().await;
                *counter.lock().unwrap() += 1;
                let behaviour = behaviour.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(behaviour.clone(), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { requests, connections, headers, task }
    }
}

fn behaviour(
    (slice, outputs): (&str, &[TensorSpec]),
    faults: Vec<Fault>,
    shared: Option<Arc<SharedFolder>>,
    prefix: String,
) -> Behaviour {
    Behaviour {
        slice: slice.to_owned(),
        outputs: outputs.to_vec(),
        faults: Arc::new(Mutex::new(faults.into())),
        requests: Arc::default(),
        headers: Arc::default(),
        shared,
        prefix,
        cold: Cold::default(),
    }
}

async fn answer(behaviour: Behaviour, request: Request<Incoming>) -> Result<Response<Pieces>, Infallible> {
    let path = match request.uri().path().strip_prefix(&behaviour.prefix) {
        Some(path) => path.to_owned(),
        None => return Ok(plain(404, "error finding function: not found")),
    };
    assert!(matches!(path.as_str(), "/" | "/_/ready"), "{path}");
    if path == "/_/ready" {
        behaviour.cold.tell("ping", &behaviour.slice);
        behaviour.cold.start(&behaviour.slice).await;
        let fault = behaviour.faults.lock().unwrap().pop_front();
        return Ok(match fault {
            Some(Fault::Status(status, text)) => plain(status, text),
            _ => plain(200, "ready"),
        });
    }
    assert!(request.headers().contains_key("content-length"));
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let frame = Frame::parse(body, &FrameLimits::default()).unwrap();
    behaviour.requests.lock().unwrap().push(frame.header.clone());
    behaviour.headers.lock().unwrap().push(headers);
    behaviour.cold.start(&behaviour.slice).await;
    behaviour.cold.tell("answered", &behaviour.slice);
    let fault = behaviour.faults.lock().unwrap().pop_front();
    Ok(match fault {
        None => respond(&behaviour, &frame, None),
        Some(Fault::Status(status, text)) => plain(status, text),
        Some(Fault::Busy(seconds)) => {
            let mut response = plain(429, "{\"message\": \"two requests run\"}");
            response.headers_mut().insert("retry-after", seconds.into());
            response
        }
        Some(Fault::Redirect(to)) => {
            let mut response = plain(302, "");
            response.headers_mut().insert("location", to.parse().unwrap());
            response
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(fault) => respond(&behaviour, &frame, Some(fault)),
    })
}

fn plain(status: u16, text: &'static str) -> Response<Pieces> {
    Response::builder().status(status).body(Pieces::whole(Bytes::from_static(text.as_bytes()))).unwrap()
}

fn respond(behaviour: &Behaviour, request: &Frame, fault: Option<Fault>) -> Response<Pieces> {
    let inputs = request.decode(&FrameLimits::default(), behaviour.shared.as_deref()).unwrap();
    let output_bytes = ByteCount(16 * behaviour.outputs.len() as u64);
    let metrics = FunctionMetrics {
        request_id: request.header.request_id_hex(),
        slice: behaviour.slice.clone(),
        attempt: request.header.attempt,
        billed_ms: Millis(0.25),
        input_coded_bytes: ByteCount(request.coded_bytes()),
        output_coded_bytes: output_bytes,
        ..FunctionMetrics::default()
    };
    let mut tensors: Vec<CodedTensor> = (behaviour.outputs.iter().enumerate())
        .map(|(index, spec)| {
            let sum = |at: usize| -> f32 {
                inputs.iter().map(|(_, tensor)| tensor.as_slice::<f32>().unwrap()[at]).sum()
            };
            let values: Vec<f32> = (0..4).map(|at| sum(at) + index as f32 + 1.0).collect();
            let tensor = Tensor::from_f32(spec.shape.clone(), &values).unwrap();
            let placement = behaviour.shared.as_deref().map_or(Placement::Inline, Placement::Shared);
            CodedTensor::encode(&spec.name, &tensor, Codec::Raw, placement).unwrap()
        })
        .collect();
    let mut header = request.header.clone();
    match fault {
        Some(Fault::WrongTensor) => tensors[0].spec.name = "nonsense".to_owned(),
        Some(Fault::WrongShape) => tensors[0].spec.shape = vec![2, 2],
        Some(Fault::MissingTensor) => drop(tensors.pop()),
        Some(Fault::OtherRequest) => header.request_id = [0; 16],
        Some(Fault::OtherSlice) => header.slice = "other".to_owned(),
        Some(Fault::BitFlip) => tensors[0].checksum ^= 1,
        _ => {}
    }
    let body = Frame { header, tensors }.to_bytes().unwrap();
    let body = match fault {
        Some(Fault::Garbage) => Pieces::whole(Bytes::from_static(b"<html>hello</html>")),
        Some(Fault::TooLong) => Pieces::whole(vec![0; 1 << 20].into()),
        Some(Fault::TooLongUnannounced) => Pieces::of(vec![Ok(vec![0; 1 << 20].into())]),
        Some(Fault::BreakOff) => {
            Pieces::of(vec![Ok(body.slice(..body.len() / 2)), Err(io::ErrorKind::Other.into())])
        }
        _ => Pieces::whole(body),
    };
    let mut response = Response::builder();
    if !matches!(fault, Some(Fault::NoMetrics)) {
        response = response.header(METRICS_HEADER, serde_json::to_string(&metrics).unwrap());
    }
    response.body(body).unwrap()
}

/// A body of given pieces.
pub struct Pieces {
    pieces: VecDeque<io::Result<Bytes>>,
    length: Option<u64>,
}

impl Pieces {
    fn whole(bytes: Bytes) -> Self {
        let length = Some(bytes.len() as u64);
        Self { pieces: [Ok(bytes)].into(), length }
    }

    fn of(pieces: Vec<io::Result<Bytes>>) -> Self {
        Self { pieces: pieces.into(), length: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<BodyFrame<Bytes>>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| piece.map(BodyFrame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Waits until the condition holds, at most five seconds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {what}");
}
