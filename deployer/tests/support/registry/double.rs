//! A registry in memory that can be made to fail, and keeps a record of what it
//! was asked. It holds clients to the specification: a part that does not begin
//! where the last one ended, or a location without its query, is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tranche_schema::Digest;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What goes wrong instead of an answer.
#[derive(Clone)]
pub enum Fault {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: &'static str,
    },
    /// Takes and keeps so many bytes of the body, then breaks the connection.
    CutAfter(usize),
    /// Takes and keeps so many bytes of the body, and says so.
    TakeOnly(usize),
    /// Does what it is asked and breaks the connection before the answer.
    Swallow,
    /// Never answers.
    Silent,
    /// Begins an answer and never ends it.
    Trickle,
    /// Answers with another digest.
    WrongDigest,
}

impl Fault {
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: "" }
    }

    pub fn redirect(status: u16, to: String) -> Self {
        Self::Answer { status, headers: vec![("location", to)], body: "" }
    }
}

/// Whom the double lets in.
#[derive(Clone, Default)]
pub enum Login {
    #[default]
    Anyone,
    /// Name and password with every request.
    Basic(&'static str, &'static str),
    /// Tokens for name and password, each good for so many requests.
    Token { account: (&'static str, &'static str), uses: usize },
    /// Tokens for an identity token.
    Identity(&'static str),
    /// Tokens from elsewhere.
    Realm(String),
}

#[derive(Default)]
pub struct State {
    pub blobs: HashMap<(String, String), Bytes>,
    pub manifests: HashMap<(String, String), Bytes>,
    pub seen: Vec<Seen>,
    uploads: BTreeMap<usize, Vec<u8>>,
    next_upload: usize,
    tokens: HashMap<String, (String, usize)>,
    faults: Vec<(usize, Method, &'static str, Fault)>,
    login: Login,
    refuse_mounts: bool,
    address: String,
}

pub struct Double {
    pub host: String,
    pub state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State { address: host.clone(), ..State::default() }));
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { host, state, task }
    }

    pub async fn with_login(login: Login) -> Self {
        let double = Self::start().await;
        double.state.lock().unwrap().login = login;
        double
    }

    /// The next `times` requests of that method with that text in their path fail.
    pub fn fail(&self, times: usize, method: Method, path: &'static str, fault: Fault) {
        self.state.lock().unwrap().faults.push((times, method, path, fault));
    }

    pub fn refuse_mounts(&self) {
        self.state.lock().unwrap().refuse_mounts = true;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn forget(&self) {
        self.state.lock().unwrap().seen.clear();
    }

    /// How many requests had that method and that text in their path.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.path.contains(path)).count()
    }

    /// `Content-Range` of every PATCH.
    pub fn ranges(&self) -> Vec<String> {
        self.seen()
            .iter()
            .filter(|seen| seen.method == "PATCH")
            .filter_map(|seen| seen.range.clone())
            .collect()
    }

    pub fn blob(&self, repository: &str, contents: &[u8]) -> Option<Bytes> {
        let place = (repository.to_owned(), Digest::of(contents).0);
        self.state.lock().unwrap().blobs.get(&place).cloned()
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        let service = service_fn(move |request| handle(state.clone(), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn handle(state: Arc<Mutex<State>>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        range: header("content-range"),
    };
    state.lock().unwrap().seen.push(seen.clone());
    let fault = state.lock().unwrap().fault(&parts.method, &seen.path);
    match fault {
        None => {
            let body = read(body, usize::MAX).await;
            Ok(state.lock().unwrap().answer(&seen, &body))
        }
        Some(Fault::Answer { status, headers, body: text }) => {
            // Unread, it would break the connection, at times before the answer is read.
            read(body, usize::MAX).await;
            Ok(answer(status, &headers, text))
        }
        Some(Fault::CutAfter(count)) => {
            let body = read(body, count).await;
            state.lock().unwrap().keep(&seen, &body);
            Err(io::ErrorKind::BrokenPipe.into())
        }
        Some(Fault::TakeOnly(count)) => {
            let body = read(body, usize::MAX).await;
            Ok(state.lock().unwrap().answer(&seen, &body[..count]))
        }
        Some(Fault::Swallow) => {
            let body = read(body, usize::MAX).await;
            state.lock().unwrap().answer(&seen, &body);
            Err(io::ErrorKind::BrokenPipe.into())
        }
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Trickle) => Ok(Response::new(trickle())),
        Some(Fault::WrongDigest) => {
            let body = read(body, usize::MAX).await;
            let mut response = state.lock().unwrap().answer(&seen, &body);
            let other = Digest::of(b"something else").0.parse().unwrap();
            response.headers_mut().insert("docker-content-digest", other);
            Ok(response)
        }
    }
}

async fn read(mut body: Incoming, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < limit
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    bytes.truncate(limit);
    bytes
}

fn trickle() -> Body {
    let pieces = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok(Frame::data(Bytes::from_static(b" "))), ()))
    });
    http_body_util::StreamBody::new(pieces).boxed_unsync()
}

fn answer(status: u16, headers: &[(&'static str, String)], body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

fn refusal(status: u16, code: &str) -> Response<Body> {
    let body = serde_json::json!({"errors": [{"code": code, "message": "as the double says"}]});
    answer(status, &[], body.to_string())
}

impl State {
    fn fault(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let matches = |(times, wanted, part, _): &&mut (usize, Method, &str, Fault)| {
            *times > 0 && *wanted == *method && path.contains(*part)
        };
        let (times, _, _, fault) = self.faults.iter_mut().find(matches)?;
        *times -= 1;
        Some(fault.clone())
    }

    /// An upload that no one has asked for.
    pub fn begin_upload(&mut self, repository: &str) {
        self.begin(repository, "");
    }

    /// The bytes of an upload that a broken connection brought.
    fn keep(&mut self, seen: &Seen, body: &[u8]) {
        if let Some(upload) =
            seen.path.rsplit('/').next().and_then(|id| self.uploads.get_mut(&id.parse().ok()?))
        {
            upload.extend_from_slice(body);
        }
    }

    fn answer(&mut self, seen: &Seen, body: &[u8]) -> Response<Body> {
        if seen.path == "/token" {
            return self.token(seen, body);
        }
        let Some(path) = seen.path.strip_prefix("/v2/") else { return refusal(404, "NOT_AN_API") };
        let parts: Vec<&str> = path.split('/').collect();
        let mark = parts.iter().position(|part| matches!(*part, "blobs" | "manifests")).unwrap();
        let repository = parts[..mark].join("/");
        if let Some(refused) = self.check_login(seen, &repository) {
            return refused;
        }
        match (seen.method.as_str(), &parts[mark..]) {
            ("POST", ["blobs", "uploads", ""]) => self.begin(&repository, &seen.query),
            (_, ["blobs", "uploads", id]) => self.upload(seen, &repository, id.parse().unwrap(), body),
            ("PUT", ["manifests", name]) => self.put_manifest(&repository, name, body),
            ("HEAD" | "GET", [kind, name]) => {
                let from = if *kind == "blobs" { &self.blobs } else { &self.manifests };
                let Some(found) = from.get(&(repository, (*name).to_owned())) else {
                    return refusal(404, "UNKNOWN");
                };
                let digest = ("docker-content-digest", Digest::of(found).0);
                let length = ("content-length", found.len().to_string());
                match seen.method.as_str() {
                    "HEAD" => answer(200, &[digest, length], Bytes::new()),
                    _ => answer(200, &[digest], found.clone()),
                }
            }
            _ => refusal(405, "UNSUPPORTED"),
        }
    }

    fn begin(&mut self, repository: &str, query: &str) -> Response<Body> {
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if let (Some(digest), Some(from), false) = (query.get("mount"), query.get("from"), self.refuse_mounts)
            && let Some(blob) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
        {
            self.blobs.insert((repository.to_owned(), digest.clone()), blob);
            return answer(201, &[("docker-content-digest", digest.clone())], Bytes::new());
        }
        self.next_upload += 1;
        self.uploads.insert(self.next_upload, Vec::new());
        answer(202, &self.progress(repository, self.next_upload), Bytes::new())
    }

    fn progress(&self, repository: &str, id: usize) -> Vec<(&'static str, String)> {
        let length = self.uploads[&id].len();
        let location = format!("/v2/{repository}/blobs/uploads/{id}?_state={length}%2Fx");
        vec![("location", location), ("range", format!("0-{}", length.saturating_sub(1)))]
    }

    fn upload(&mut self, seen: &Seen, repository: &str, id: usize, body: &[u8]) -> Response<Body> {
        let Some(length) = self.uploads.get(&id).map(Vec::len) else {
            return refusal(404, "BLOB_UPLOAD_UNKNOWN");
        };
        if !seen.query.contains("_state=") {
            return refusal(400, "BLOB_UPLOAD_INVALID");
        }
        match seen.method.as_str() {
            "GET" => answer(204, &self.progress(repository, id), Bytes::new()),
            "PATCH" => {
                let start =
                    seen.range.as_ref().and_then(|range| range.split('-').next()?.parse::<usize>().ok());
                if start != Some(length) {
                    return answer(416, &self.progress(repository, id), Bytes::new());
                }
                self.keep(seen, body);
                answer(202, &self.progress(repository, id), Bytes::new())
            }
            "PUT" => {
                self.keep(seen, body);
                let contents = Bytes::from(self.uploads.remove(&id).unwrap());
                let digest = Digest::of(&contents).0;
                if !seen.query.ends_with(&format!("digest={}", digest.replace(':', "%3A"))) {
                    return refusal(400, "DIGEST_INVALID");
                }
                self.blobs.insert((repository.to_owned(), digest.clone()), contents);
                answer(201, &[("docker-content-digest", digest)], Bytes::new())
            }
            _ => refusal(405, "UNSUPPORTED"),
        }
    }

    fn put_manifest(&mut self, repository: &str, name: &str, body: &[u8]) -> Response<Body> {
        let manifest: serde_json::Value = serde_json::from_slice(body).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        let known = |blob: &serde_json::Value| {
            let digest = blob["digest"].as_str().unwrap().to_owned();
            self.blobs.contains_key(&(repository.to_owned(), digest))
        };
        if !layers.chain([&manifest["config"]]).all(known) {
            return refusal(400, "MANIFEST_BLOB_UNKNOWN");
        }
        let digest = Digest::of(body).0;
        for name in [name, &digest] {
            self.manifests.insert((repository.to_owned(), name.to_owned()), Bytes::copy_from_slice(body));
        }
        answer(201, &[("docker-content-digest", digest)], Bytes::new())
    }

    fn check_login(&mut self, seen: &Seen, repository: &str) -> Option<Response<Body>> {
        let address = &self.address;
        let challenge = |text: String| answer(401, &[("www-authenticate", text)], "{\"errors\":[]}");
        let realm = match &self.login {
            Login::Anyone => return None,
            Login::Basic(name, password) => {
                let right = seen.authorization.as_deref() == Some(&basic(name, password));
                return (!right).then(|| challenge("Basic realm=\"double\"".to_owned()));
            }
            Login::Realm(realm) => realm.clone(),
            Login::Token { .. } | Login::Identity(_) => format!("http://{address}/token"),
        };
        let token = seen.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
        if let Some((scopes, uses)) = token.and_then(|token| self.tokens.get_mut(token))
            && *uses > 0
            && scopes.contains(&format!("repository:{repository}:pull"))
        {
            *uses -= 1;
            return None;
        }
        let scope = format!("repository:{repository}:pull,push");
        Some(challenge(format!("Bearer realm=\"{realm}\",service=\"double\",scope=\"{scope}\"")))
    }

    fn token(&mut self, seen: &Seen, body: &[u8]) -> Response<Body> {
        let form = if seen.method == "POST" { body } else { seen.query.as_bytes() };
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(form).into_owned().collect();
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let (right, uses) = match self.login {
            Login::Token { account: (name, password), uses } => {
                (seen.authorization.as_deref() == Some(&basic(name, password)), uses)
            }
            Login::Identity(token) => (value("refresh_token") == Some(token), usize::MAX),
            _ => (false, 0),
        };
        if !right || value("service") != Some("double") {
            return refusal(401, "UNAUTHORIZED");
        }
        let scopes: Vec<&str> =
            pairs.iter().filter(|(key, _)| key == "scope").map(|(_, value)| value.as_str()).collect();
        let token = format!("token-{}", self.tokens.len());
        self.tokens.insert(token.clone(), (scopes.join(" "), uses));
        answer(200, &[], serde_json::json!({"token": token, "expires_in": 300}).to_string())
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}
