//! AWS in small: Lambda's and S3's API over HTTP, with functions that add their inputs.
#![allow(dead_code, reason = "each test file uses its part")]

mod stored;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tranche_schema::{
    Address, Deployment, FunctionMetrics, LambdaAnswer, LambdaAsk, LambdaDeployment, LambdaFunction,
    LambdaPackageKind, Millis, ObjectStore, Tensor, TensorSpec,
};
use tranche_transport::aws::{AwsClient, AwsConfig, Credentials};
use tranche_transport::lambda::{
    decode_event, decode_frame, encode_answer, encode_run_answer, encode_streamed, object_uri,
    parse_object_uri, passing_key, run_answer_bytes,
};
use tranche_transport::{
    CodedTensor, Frame, FrameLimits, ObjectReference, Payload, Placement, RequestHeader,
};
use url::Url;

pub const BUCKET: &str = "tensors";
pub const MEMORY_MIB: u32 = 1769;
const REGION: &str = "us-east-1";

/// What a function does with one invocation instead of answering it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 429.
    Throttled,
    /// HTTP 500 of Lambda itself.
    Service,
    /// A document with this type and message.
    Fails(&'static str, &'static str),
    /// Writes its outputs to the store, then dies.
    WritesAndDies,
    Hang,
    /// Answers as it should, after a third of a second.
    Slow,
    /// Refers to an object of somebody else's.
    Foreign,
    /// An event that is taken and never run.
    Lost,
    /// Half of a streamed answer.
    BreakOff,
}

/// What the functions were asked.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub function: String,
    pub streamed: bool,
    pub event: bool,
    /// Length of the event.
    pub bytes: usize,
    /// The frame's header, for runs.
    pub header: Option<RequestHeader>,
    /// Names of the tensors that came as references.
    pub by_reference: Vec<String>,
}

#[derive(Default)]
pub struct State {
    pub objects: BTreeMap<String, Bytes>,
    pub invocations: Vec<Invocation>,
    /// Method and key of every request to the store.
    pub store: Vec<String>,
    pub faults: HashMap<String, VecDeque<Fault>>,
    /// How many invocations of a function run now, and the most that ever did: its instances.
    pub running: HashMap<String, (u32, u32)>,
    /// Names of what a slice reads.
    pub reads: HashMap<String, Vec<String>>,
    /// Slice and outputs, by name.
    pub functions: HashMap<String, (String, Vec<TensorSpec>)>,
}

pub struct Aws {
    pub state: Arc<Mutex<State>>,
    pub client: AwsClient,
    task: JoinHandle<()>,
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Aws {
    /// Functions of a deployment, which is changed to run there, with a store or without.
    pub async fn start(deployment: &mut Deployment, store: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Some(Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap());
        let secret = || "secret".to_owned().into();
        let client = AwsClient::new(AwsConfig {
            region: REGION.to_owned(),
            credentials: Credentials {
                access_key_id: "id".to_owned(),
                secret_access_key: secret(),
                session_token: Some(secret()),
            },
            lambda_endpoint: endpoint.clone(),
            s3_endpoint: endpoint,
        })
        .unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        deploy(deployment, &mut state.lock().unwrap(), store);
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&served);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { state, client, task }
    }

    pub fn fault(&self, function: &str, fault: Fault) {
        self.state.lock().unwrap().faults.entry(function.to_owned()).or_default().push_back(fault);
    }

    pub fn invocations(&self) -> Vec<Invocation> {
        self.state.lock().unwrap().invocations.clone()
    }

    /// Keys that lie in the store.
    pub fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// How many requests of a method the store had.
    pub fn asked(&self, method: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.store.iter().filter(|line| line.starts_with(&format!("{method} "))).count()
    }
}

fn deploy(deployment: &mut Deployment, state: &mut State, store: bool) {
    let mut functions = Vec::new();
    for function in &mut deployment.functions {
        let name = format!("test-{}", function.slice);
        state.functions.insert(name.clone(), (function.slice.clone(), function.outputs.clone()));
        let reads = function.inputs.iter().map(|spec| spec.name.clone()).collect();
        state.reads.insert(function.slice.clone(), reads);
        function.address = Address::Lambda { function: name.clone(), qualifier: "live".to_owned() };
        functions.push(LambdaFunction {
            slice: function.slice.clone(),
            function: name,
            version: "1".to_owned(),
            code_sha256: String::new(),
            package: LambdaPackageKind::ZipInline,
            memory_mib: MEMORY_MIB,
        });
    }
    let prefix = "test".to_owned();
    deployment.target = "lambda".to_owned();
    deployment.lambda = Some(LambdaDeployment {
        region: REGION.to_owned(),
        account: "000000000000".to_owned(),
        endpoint: None,
        alias: "live".to_owned(),
        architecture: "x86_64".to_owned(),
        functions,
        entry: None,
        entry_url: None,
        store: store.then(|| ObjectStore { bucket: BUCKET.to_owned(), prefix }),
        state_machine: None,
    });
}

type Reply = Response<Full<Bytes>>;

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert!(parts.headers.contains_key("authorization"));
    let path = parts.uri.path().to_owned();
    let function =
        path.strip_prefix("/2015-03-31/functions/").or(path.strip_prefix("/2021-11-15/functions/"));
    Ok(match function.and_then(|rest| rest.split_once('/')) {
        Some((function, kind)) => {
            assert_eq!(parts.uri.query(), Some("Qualifier=live"));
            let streamed = kind == "response-streaming-invocations";
            let event = parts.headers["x-amz-invocation-type"] == "Event";
            invoke(&state, function, body, (streamed, event)).await
        }
        None => store(&state, &parts.method, &path, parts.uri.query(), &parts.headers, body),
    })
}

async fn invoke(
    state: &Mutex<State>,
    function: &str,
    payload: Bytes,
    (streamed, event): (bool, bool),
) -> Reply {
    let fault = {
        let mut state = state.lock().unwrap();
        state.invocations.push(Invocation {
            function: function.to_owned(),
            streamed,
            event,
            bytes: payload.len(),
            header: None,
            by_reference: Vec::new(),
        });
        state.faults.get_mut(function).and_then(VecDeque::pop_front)
    };
    let refuse = |status: u16, code: &str| {
        let body = Bytes::from_static(b"{\"Message\": \"m\"}");
        Response::builder().status(status).header("x-amzn-errortype", code).body(Full::new(body)).unwrap()
    };
    if matches!(fault, Some(Fault::Slow)) {
        let running = |by: i32| {
            let mut state = state.lock().unwrap();
            let (now, most) = state.running.entry(function.to_owned()).or_default();
            *now = now.saturating_add_signed(by);
            *most = (*most).max(*now);
        };
        running(1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        running(-1);
    }
    match &fault {
        Some(Fault::Throttled) => return refuse(429, "TooManyRequestsException"),
        Some(Fault::Service) => return refuse(500, "ServiceException"),
        Some(Fault::Hang) => return std::future::pending().await,
        _ => {}
    }
    let ran = match fault.as_ref() {
        Some(Fault::Fails(kind, message)) => Err((*kind, *message)),
        Some(Fault::Lost) => Ok(Bytes::new()),
        fault => run(&mut state.lock().unwrap(), function, &payload, fault),
    };
    if event {
        if let Err((kind, message)) = ran {
            stored::fail(&mut state.lock().unwrap(), &payload, kind, message);
        }
        return Response::builder()
            .status(202)
            .header("x-amzn-requestid", "1")
            .body(Full::default())
            .unwrap();
    }
    let cut = matches!(fault, Some(Fault::BreakOff));
    let (body, failed) = match ran {
        Ok(body) => (body, None),
        Err((kind, message)) => {
            let text = format!("{{\"errorType\": \"{kind}\", \"errorMessage\": \"{message}\"}}");
            (Bytes::from(text), Some(kind))
        }
    };
    if streamed { stream(&body, failed, cut) } else { respond(body, failed) }
}

const LOG: &str = "REPORT RequestId: 1\tDuration: 4.2 ms\tBilled Duration: 5 ms\tMemory Size: 1769 MB";

fn respond(body: Bytes, failed: Option<&str>) -> Reply {
    let mut response = Response::builder()
        .header("x-amzn-requestid", "1")
        .header("x-amz-executed-version", "1")
        .header("x-amz-log-result", STANDARD.encode(LOG));
    if failed.is_some() {
        response = response.header("x-amz-function-error", "Unhandled");
    }
    response.body(Full::new(body)).unwrap()
}

fn stream(body: &Bytes, failed: Option<&str>, cut: bool) -> Reply {
    let mut out = Vec::new();
    let mut end = serde_json::json!({ "LogResult": STANDARD.encode(LOG) });
    if let Some(kind) = failed {
        end["ErrorCode"] = kind.into();
        end["ErrorDetails"] = String::from_utf8_lossy(body).into();
    } else {
        for piece in body.chunks(100_000) {
            message(&mut out, "PayloadChunk", piece);
        }
    }
    if cut {
        out.truncate(out.len() / 2);
    } else {
        message(&mut out, "InvokeComplete", end.to_string().as_bytes());
    }
    Response::new(Full::new(out.into()))
}

fn message(out: &mut Vec<u8>, kind: &str, payload: &[u8]) {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", kind)] {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let start = out.len();
    out.extend_from_slice(&((16 + headers.len() + payload.len()) as u32).to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out[start..]).to_be_bytes());
    out.extend_from_slice(&headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out[start..]).to_be_bytes());
}

/// A function that adds its inputs, and to each output its index plus one.
fn run(
    state: &mut State,
    function: &str,
    payload: &Bytes,
    fault: Option<&Fault>,
) -> Result<Bytes, (&'static str, &'static str)> {
    let (slice, outputs) = state.functions[function].clone();
    let event = decode_event(payload).unwrap();
    let (text, wish) = match event.ask {
        LambdaAsk::Ping {} => {
            let pong = LambdaAnswer { tranche: 1, frame: None, metrics: None };
            return Ok(encode_answer(&pong).unwrap());
        }
        LambdaAsk::Run { frame, answer } => (frame, answer),
        LambdaAsk::RunStored { request, itinerary } => {
            stored::run(state, &slice, &outputs, &request, itinerary.as_ref());
            return Ok(Bytes::new());
        }
    };
    let mut frame = decode_frame(&text, &FrameLimits::default()).unwrap();
    assert_eq!(frame.header.slice, slice);
    let mut by_reference = Vec::new();
    for tensor in &mut frame.tensors {
        if let Payload::Object(object) = &tensor.payload {
            let (_, key) = parse_object_uri(&object.uri).unwrap();
            by_reference.push(tensor.spec.name.clone());
            *tensor = tensor.with_bytes(state.objects[key].clone());
        }
    }
    let invocation =
        state.invocations.iter_mut().rfind(|invocation| invocation.function == function).unwrap();
    invocation.header = Some(frame.header.clone());
    invocation.by_reference = by_reference;
    let inputs: Vec<Tensor> =
        frame.decode(&FrameLimits::default(), None).unwrap().into_iter().map(|(_, tensor)| tensor).collect();
    let mut answer = Frame { header: frame.header.clone(), tensors: add(&inputs, &outputs) };
    let metrics = FunctionMetrics {
        request_id: frame.header.request_id_hex(),
        slice: slice.clone(),
        attempt: frame.header.attempt,
        billed_ms: Millis(0.25),
        ..FunctionMetrics::default()
    };
    if wish.stream {
        return Ok(encode_streamed(&answer, &metrics).unwrap().concat().into());
    }
    let size = |answer: &Frame| run_answer_bytes(answer.to_bytes().unwrap().len() as u64, &metrics);
    for index in 0..answer.tensors.len() {
        let limit = wish.max_bytes.unwrap_or(6_291_556);
        let Some(store) = wish.store.as_ref().filter(|_| size(&answer) > limit) else { break };
        let tensor = answer.tensors[index].clone();
        let Payload::Inline(bytes) = &tensor.payload else { continue };
        let call = (slice.as_str(), frame.header.attempt);
        let key =
            passing_key(store, &frame.header.request_id_hex(), call, tensor.checksum, &tensor.spec.name);
        state.objects.insert(key.clone(), bytes.clone());
        let key = if matches!(fault, Some(Fault::Foreign)) { "elsewhere/x" } else { &key };
        let reference = ObjectReference { uri: object_uri(&store.bucket, key), etag: etag(bytes) };
        answer.tensors[index] = CodedTensor { payload: Payload::Object(reference), ..tensor };
    }
    if matches!(fault, Some(Fault::WritesAndDies)) {
        return Err(("Runtime.ExitError", "Runtime exited with error: signal: killed"));
    }
    encode_run_answer(&answer, &metrics).map_err(|_| ("tranche.too-large", "too large"))
}

/// The sum of the inputs, element by element, plus one for the first output, two for the second.
pub fn add(inputs: &[Tensor], outputs: &[TensorSpec]) -> Vec<CodedTensor> {
    let count = outputs.first().map_or(0, |spec| spec.shape.iter().product::<u64>() as usize);
    let mut sum = vec![0.0_f32; count];
    for input in inputs {
        for (total, value) in sum.iter_mut().zip(input.as_slice::<f32>().unwrap()) {
            *total += value;
        }
    }
    let encode = |(index, spec): (usize, &TensorSpec)| {
        let values: Vec<f32> = sum.iter().map(|value| value + index as f32 + 1.0).collect();
        let tensor = Tensor::from_f32(spec.shape.clone(), &values).unwrap();
        let codec = tranche_schema::Codec::Raw;
        CodedTensor::encode(&spec.name, &tensor, codec, Placement::Inline).unwrap()
    };
    outputs.iter().enumerate().map(encode).collect()
}

fn etag(bytes: &Bytes) -> String {
    format!("\"{:08x}\"", crc32fast::hash(bytes))
}

fn store(
    state: &Mutex<State>,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Bytes,
) -> Reply {
    let key = path.strip_prefix(&format!("/{BUCKET}/")).unwrap().to_owned();
    let mut state = state.lock().unwrap();
    state.store.push(format!("{method} {key}{}", query.map(|query| format!("?{query}")).unwrap_or_default()));
    let fail = |status: u16, code: &str| {
        let text = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        Response::builder().status(status).body(Full::new(text.into())).unwrap()
    };
    match (method.as_str(), query) {
        ("PUT", None) if headers.contains_key("if-none-match") && state.objects.contains_key(&key) => {
            fail(412, "PreconditionFailed")
        }
        ("PUT", None) => {
            let tag = etag(&body);
            state.objects.insert(key, body);
            Response::builder().header("etag", tag).body(Full::default()).unwrap()
        }
        ("GET", None) => match state.objects.get(&key) {
            None => fail(404, "NoSuchKey"),
            Some(bytes) if headers.get("if-match").is_some_and(|tag| *tag != etag(bytes)) => {
                fail(412, "PreconditionFailed")
            }
            Some(bytes) => {
                Response::builder().header("etag", etag(bytes)).body(Full::new(bytes.clone())).unwrap()
            }
        },
        ("HEAD", None) if state.objects.contains_key(&key) => Response::new(Full::default()),
        ("HEAD", None) => fail(404, ""),
        ("GET", Some(query)) => {
            let prefix = query.rsplit_once("prefix=").unwrap().1.replace("%2F", "/");
            let found = state.objects.keys().filter(|key| key.starts_with(&prefix));
            let items: String = found.map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
            Response::new(Full::new(format!("<ListBucketResult>{items}</ListBucketResult>").into()))
        }
        ("POST", Some("delete=")) => {
            let text = String::from_utf8(body.to_vec()).unwrap();
            for item in text.split("<Key>").skip(1) {
                state.objects.remove(item.split_once('<').unwrap().0);
            }
            Response::new(Full::new("<DeleteResult/>".into()))
        }
        _ => fail(405, "MethodNotAllowed"),
    }
}

/// Waits as `eventually` of the other doubles does.
pub async fn empty(aws: &Aws) {
    for _ in 0..500 {
        if aws.keys().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still there after five seconds: {:?}", aws.keys());
}
