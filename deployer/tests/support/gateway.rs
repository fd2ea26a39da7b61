//! A gateway with a table of functions in place of containers, that answers as
//! faasd's or Kubernetes' does and can be told to fail.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step ends the test")]
#![allow(dead_code, reason = "each test file uses a part")]

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tranche_packager::openfaas::{Provider, parse_memory};

pub const USER: &str = "admin";
pub const PASSWORD: &str = "s3cret-pa55word";

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status with a line of text.
    Status(u16),
    /// A success that does nothing.
    FalseSuccess,
    /// It is done, and the connection ends without an answer.
    LostAnswer,
    /// The connection ends at once.
    Reset,
    /// No answer.
    Silence,
    /// An answer of which most never comes.
    SlowBody,
    /// An answer that is no JSON.
    WrongJson,
    /// Another address.
    Redirect,
}

/// What a function does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Ready,
    /// It loads for ever.
    Loading,
    /// Its model is damaged.
    Broken,
    /// No replica comes up.
    NoReplica,
    /// It is ready and holds requests.
    Busy(u64),
}

#[derive(Default)]
struct Table {
    provider: Option<Provider>,
    functions: BTreeMap<String, Value>,
    replicas: BTreeMap<String, u64>,
    /// Requests that functions have answered.
    answered: BTreeMap<String, u64>,
    secrets: BTreeMap<String, String>,
    /// Faults by `METHOD path-prefix`, each used once.
    faults: Vec<(String, VecDeque<Fault>)>,
    /// By part of the function's name.
    behaviours: Vec<(String, Behaviour)>,
    /// `METHOD path`, for changes with the function's name.
    calls: Vec<String>,
    /// Headers of calls of functions.
    function_headers: Vec<String>,
}

/// The gateway; it ends with the value.
pub struct TestGateway {
    pub address: SocketAddr,
    table: Arc<Mutex<Table>>,
    _runtime: tokio::runtime::Runtime,
}

impl TestGateway {
    pub fn start(provider: Provider) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let table = Arc::new(Mutex::new(Table { provider: Some(provider), ..Table::default() }));
        let shared = table.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                let service = service_fn(move |request| answer(shared.clone(), request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self { address, table, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap()
    }

    /// The next requests that begin so, as `PUT /system/functions`, fail so. With
    /// the name of a function after it, only its.
    pub fn fail(&self, request: &str, faults: &[Fault]) {
        self.table().faults.push((request.to_owned(), faults.iter().copied().collect()));
    }

    /// Functions with this in their names behave so.
    pub fn behave(&self, part: &str, behaviour: Behaviour) {
        let mut table = self.table();
        table.behaviours.retain(|(known, _)| known != part);
        table.behaviours.push((part.to_owned(), behaviour));
    }

    /// Functions that are not tranche's.
    pub fn add_others(&self, count: usize) {
        let mut table = self.table();
        for index in 0..count {
            let name = format!("other-{index}");
            table.functions.insert(name.clone(), json!({ "service": name, "image": "other" }));
            table.replicas.insert(name, 1);
        }
    }

    pub fn functions(&self) -> Vec<String> {
        self.table().functions.keys().cloned().collect()
    }

    /// Names of functions that run `slice`.
    pub fn of_slice(&self, slice: &str) -> Vec<String> {
        self.functions().into_iter().filter(|name| name.contains(slice)).collect()
    }

    pub fn function(&self, name: &str) -> Value {
        self.table().functions.get(name).cloned().unwrap_or(Value::Null)
    }

    /// Changes a function as someone else would.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        change(self.table().functions.get_mut(name).unwrap());
    }

    pub fn remove(&self, name: &str) {
        self.table().functions.remove(name).unwrap();
    }

    /// The status with which a function answers.
    pub fn invoke(&self, name: &str) -> u16 {
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        let head = "Host: gateway\r\nContent-Length: 0\r\nConnection: close";
        write!(stream, "POST /function/{name} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
    }

    pub fn set_replicas(&self, name: &str, count: u64) {
        self.table().replicas.insert(name.to_owned(), count);
    }

    pub fn secrets(&self) -> BTreeMap<String, String> {
        self.table().secrets.clone()
    }

    /// Requests since the last time, with their functions.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.table().calls)
    }

    /// Those that change something.
    pub fn changes(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| !call.starts_with("GET")).collect()
    }

    pub fn function_headers(&self) -> Vec<String> {
        self.table().function_headers.clone()
    }
}

type Answer = Response<Either<Full<Bytes>, Stuck>>;

/// A body that begins and never ends.
struct Stuck {
    has_begun: bool,
}

impl Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.has_begun {
            return Poll::Pending;
        }
        self.has_begun = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"[")))))
    }
}

fn text(status: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder().status(status).body(Either::Left(Full::new(body.into()))).unwrap()
}

async fn answer(table: Arc<Mutex<Table>>, request: Request<Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let name = ["service", "functionName", "serviceName", "name"].iter().find_map(|key| json[*key].as_str());
    let name = name.unwrap_or_default().to_owned();
    let asked = head.uri.path_and_query().map_or("", |asked| asked.as_str());
    let call = format!("{} {asked} {name}", head.method).trim_end().to_owned();
    let fault = {
        let mut table = table.lock().unwrap();
        table.calls.push(call.clone());
        if path.starts_with("/function/") {
            table.function_headers.push(format!("{:?}", head.headers));
        }
        let matching = |(prefix, left): &&mut (String, VecDeque<Fault>)| {
            let (request, function) = match prefix.splitn(3, ' ').collect::<Vec<_>>()[..] {
                [method, path, function] => (format!("{method} {path}"), function.to_owned()),
                _ => (prefix.clone(), String::new()),
            };
            !left.is_empty() && call.starts_with(&request) && call.contains(&function)
        };
        table.faults.iter_mut().find(matching).and_then(|(_, left)| left.pop_front())
    };
    match fault {
        Some(Fault::Status(status)) => return Ok(text(status, format!("told to fail: {name}"))),
        Some(Fault::FalseSuccess) => return Ok(text(200, "")),
        Some(Fault::Reset) => return Err(io::Error::other("told to")),
        Some(Fault::WrongJson) => return Ok(text(200, "<html>a web page</html>")),
        Some(Fault::Silence) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return Err(io::Error::other("told to"));
        }
        Some(Fault::SlowBody) => {
            return Ok(Response::new(Either::Right(Stuck { has_begun: false })));
        }
        Some(Fault::Redirect) => {
            let answer =
                Response::builder().status(308).header("location", "https://user:pass@elsewhere.example/");
            return Ok(answer.body(Either::Left(Full::default())).unwrap());
        }
        Some(Fault::LostAnswer) | None => {}
    }
    if path.starts_with("/system/") && !is_authorised(&head.headers) {
        return Ok(text(401, "invalid credentials"));
    }
    let answer = table.lock().unwrap().answer(&head.method, &path, &query, &json, &name);
    if fault == Some(Fault::LostAnswer) { Err(io::Error::other("told to")) } else { Ok(answer) }
}

fn is_authorised(headers: &hyper::HeaderMap) -> bool {
    use base64::Engine as _;
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    headers
        .get("authorization")
        .is_some_and(|value| value.as_bytes() == format!("Basic {expected}").as_bytes())
}

impl Table {
    fn is_faasd(&self) -> bool {
        self.provider == Some(Provider::Faasd)
    }

    fn done(&self) -> Answer {
        text(if self.is_faasd() { 200 } else { 202 }, "")
    }

    fn behaviour(&self, name: &str) -> Behaviour {
        let found = self.behaviours.iter().find(|(part, _)| name.contains(part));
        found.map_or(Behaviour::Ready, |(_, behaviour)| *behaviour)
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, json: &Value, name: &str) -> Answer {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), &parts[..]) {
            ("GET", ["healthz"]) => text(200, "OK"),
            ("GET", ["system", "info"]) => text(200, self.info().to_string()),
            ("GET", ["system", "functions"]) => {
                let list: Vec<Value> = self.functions.keys().map(|name| self.describe(name, false)).collect();
                text(200, Value::from(list).to_string())
            }
            ("GET", ["system", "function", name]) if self.functions.contains_key(*name) => {
                text(200, self.describe(name, true).to_string())
            }
            ("POST", ["system", "functions"]) => self.create(name, json),
            ("PUT", ["system", "functions"]) if self.functions.contains_key(name) => {
                self.functions.insert(name.to_owned(), json.clone());
                self.done()
            }
            ("DELETE", ["system", "functions"]) if self.functions.remove(name).is_some() => self.done(),
            ("POST", ["system", "scale-function", _]) if self.functions.contains_key(name) => {
                self.replicas.insert(name.to_owned(), json["replicas"].as_u64().unwrap());
                self.done()
            }
            ("GET", ["system", "secrets"]) => {
                let list: Vec<Value> = self.secrets.keys().map(|name| json!({ "name": name })).collect();
                text(200, Value::from(list).to_string())
            }
            ("POST" | "PUT", ["system", "secrets"]) => {
                self.secrets.insert(name.to_owned(), json["value"].as_str().unwrap().to_owned());
                self.done()
            }
            ("DELETE", ["system", "secrets"]) if self.secrets.remove(name).is_some() => self.done(),
            ("GET", ["system", "namespaces"]) => text(200, "[\"openfaas-fn\"]"),
            ("GET", ["system", "logs"]) => text(200, log(query)),
            ("GET", ["function", name, "_", "ready"]) => self.ready(name),
            ("POST", ["function", name]) if self.functions.contains_key(*name) => {
                *self.answered.entry((*name).to_owned()).or_default() += 1;
                text(200, "answer")
            }
            _ => text(404, "not found"),
        }
    }

    fn info(&self) -> Value {
        let (name, orchestration) =
            if self.is_faasd() { ("faasd-ce", "containerd") } else { ("faas-netes-ce", "kubernetes") };
        json!({
            "provider": { "provider": name, "orchestration": orchestration, "version": { "release": "0.18.6" } },
            "version": { "release": "0.27.1" },
        })
    }

    fn create(&mut self, name: &str, json: &Value) -> Answer {
        if self.functions.contains_key(name) {
            return text(if self.is_faasd() { 400 } else { 500 }, format!("{name} already exists"));
        }
        if json["image"].as_str().is_none_or(|image| image.contains("missing")) {
            return text(400, "unable to pull image: not found");
        }
        self.functions.insert(name.to_owned(), json.clone());
        self.replicas.insert(name.to_owned(), 1);
        self.done()
    }

    /// faasd counts available replicas only of one function and reports no cpu
    /// limits; `64MB` is no limit.
    fn describe(&self, name: &str, alone: bool) -> Value {
        let function = &self.functions[name];
        let replicas = self.replicas.get(name).copied().unwrap_or(0);
        let runs = self.behaviour(name) != Behaviour::NoReplica;
        let memory = function["limits"]["memory"].as_str().unwrap_or("");
        let mut described = json!({
            "name": name,
            "image": function["image"],
            "replicas": replicas,
            "envVars": function["envVars"],
            "labels": function["labels"],
            "annotations": function["annotations"],
            "secrets": null,
            "createdAt": "2026-01-01T00:00:00Z",
        });
        if self.is_faasd() {
            let bytes = parse_memory(memory).map_or(0, |memory| memory.0);
            described["limits"] = json!({ "memory": bytes.to_string() });
        } else {
            described["limits"] = function["limits"].clone();
            described["requests"] = function["requests"].clone();
        }
        if alone || !self.is_faasd() {
            described["availableReplicas"] = json!(if runs { replicas } else { 0 });
        }
        described
    }

    fn ready(&self, name: &str) -> Answer {
        if !self.functions.contains_key(name) {
            return text(404, format!("error finding function {name}"));
        }
        let answered = self.answered.get(name).copied().unwrap_or(0);
        let body = |state: &str, in_flight: u64, message: &str| {
            json!({ "state": state, "in_flight": in_flight, "answered": answered, "message": message })
                .to_string()
        };
        match self.behaviour(name) {
            Behaviour::Ready => text(200, body("ready", 0, "")),
            Behaviour::Busy(in_flight) => text(200, body("ready", in_flight, "")),
            Behaviour::Loading => text(503, body("loading", 0, "")),
            Behaviour::Broken => text(500, body("failed", 0, "the model is damaged")),
            Behaviour::NoReplica => text(502, "Can't reach service"),
        }
    }
}

fn log(query: &str) -> String {
    let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}=")));
    let name = value("name").unwrap_or_default();
    let tail: usize = value("tail").and_then(|count| count.parse().ok()).unwrap_or(3);
    let line = |index: usize| {
        json!({ "name": name, "instance": "1", "text": format!("line {index}\n") }).to_string()
    };
    (3_usize.saturating_sub(tail)..3).map(line).collect::<Vec<_>>().join("\n")
}
