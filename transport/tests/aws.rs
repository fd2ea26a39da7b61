//! The AWS client against a server that says what it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tranche_transport::aws::{AwsClient, AwsError, InvocationKind, PutCondition, PutOutcome};
use tranche_transport::lambda::PAYLOAD_LIMIT;

const TIME: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_throttled_invocation_is_repeated_after_the_wait_asked_for() {
    let throttled = Answer::new(429, "{\"message\": \"Rate exceeded\"}")
        .with("retry-after", "1")
        .with("x-amzn-errortype", "TooManyRequestsException:");
    let ran = Answer::new(200, "{}").with("x-amzn-requestid", "id-1").with("x-amz-executed-version", "7");
    let server = Server::start(vec![throttled, ran.with("x-amz-log-result", "UkVQT1JU")]).await;
    let started = Instant::now();
    let invoked = invoke(&server.client, "toy-s0", InvocationKind::RequestResponse, "{}").await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!((invoked.status, invoked.payload.as_ref()), (200, b"{}".as_slice()));
    assert_eq!((invoked.request_id.as_str(), invoked.executed_version.as_deref()), ("id-1", Some("7")));
    assert_eq!((invoked.log_tail.as_deref(), invoked.function_error), (Some("REPORT"), None));
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].uri, "/2015-03-31/functions/toy-s0/invocations?Qualifier=live");
    assert_eq!(seen[0].headers["x-amz-invocation-type"], "RequestResponse");
    assert!(
        seen[0].headers["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 Credential=test/")
    );
}

#[tokio::test]
async fn what_may_have_run_is_left_to_the_caller() {
    let failed = || Answer::new(500, "{\"Message\": \"oh\"}").with("x-amzn-errortype", "ServiceException");
    let server = Server::start(vec![failed(), failed(), Answer::new(202, "")]).await;
    let error = invoke(&server.client, "f", InvocationKind::RequestResponse, "{}").await.unwrap_err();
    assert!(error.is_transient() && !error.is_throttling());
    assert_eq!(error.to_string(), "Invoke `f`: HTTP 500 ServiceException: oh");
    let invoked = invoke(&server.client, "f", InvocationKind::Event, "{}").await.unwrap();
    assert_eq!((invoked.status, server.seen().len()), (202, 3));
}

#[tokio::test]
async fn refusals_for_good_are_not_repeated() {
    let missing = Answer::new(404, "{\"Message\": \"Function not found: arn\"}");
    let server = Server::start(vec![missing.with("x-amzn-errortype", "ResourceNotFoundException")]).await;
    let error = invoke(&server.client, "f", InvocationKind::Event, "{}").await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), (Some("ResourceNotFoundException"), false));
    assert!(error.hint().contains("deploy again"), "{}", error.hint());
}

#[tokio::test]
async fn payloads_beyond_the_limits_are_not_sent() {
    let server = Server::start(vec![]).await;
    let text = "x".repeat(PAYLOAD_LIMIT as usize + 1);
    for (kind, length) in [(InvocationKind::RequestResponse, text.len()), (InvocationKind::Event, 1_048_577)]
    {
        let error = invoke(&server.client, "f", kind, &text[..length]).await.unwrap_err();
        assert!(matches!(error, AwsError::Configuration { .. }), "{error}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_answer_larger_than_asked_for_is_refused() {
    let server = Server::start(vec![Answer::new(200, "0123456789")]).await;
    let error = server.client.get_object("tensors", "k", None, 9, TIME).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "GetObject `s3://tensors/k`: the answer has 10 bytes, at most 9 were expected"
    );
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let server = Server::start(vec![Answer::hang()]).await;
    let time = Duration::from_millis(300);
    let started = Instant::now();
    let error = server.client.get_object("tensors", "k", None, 9, time).await.unwrap_err();
    assert!(matches!(error, AwsError::Deadline { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nobody_listening_is_said_before_the_deadline_is_over() {
    let client = client("http://127.0.0.1:9");
    let error = client.get_object("tensors", "k", None, 9, Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("cannot connect to 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn s3_is_asked_again_while_it_slows_down() {
    let slow = "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>";
    let server = Server::start(vec![
        Answer::new(503, slow),
        Answer::new(500, "<Error><Code>InternalError</Code></Error>"),
        Answer::new(200, "bytes"),
    ])
    .await;
    let bytes = server.client.get_object("tensors", "a/b c", Some("\"e\""), 9, TIME).await.unwrap();
    assert_eq!(bytes.unwrap().as_ref(), b"bytes");
    let seen = server.seen();
    assert_eq!((seen.len(), seen[2].uri.as_str()), (3, "/tensors/a/b%20c"));
    assert_eq!(seen[2].headers["if-match"], "\"e\"");
}

/// The first write arrives but its answer is lost; the second finds the object.
#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_still_the_writers() {
    let exists = || Answer::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
    let lost = || Answer::new(500, "<Error><Code>InternalError</Code></Error>");
    let own = Answer::new(200, "mine").with("etag", "\"e\"");
    let server =
        Server::start(vec![lost(), exists(), own, lost(), exists(), Answer::new(200, "theirs")]).await;
    let claim = || put(&server.client, "mine");
    assert_eq!(claim().await, PutOutcome::Written { etag: "\"e\"".to_owned() });
    assert_eq!(claim().await, PutOutcome::Exists);
    assert_eq!(server.seen()[0].headers["if-none-match"], "*");
}

#[tokio::test]
async fn an_object_that_exists_at_the_first_try_is_somebody_elses() {
    let server =
        Server::start(vec![Answer::new(412, "<Error><Code>PreconditionFailed</Code></Error>")]).await;
    assert_eq!(put(&server.client, "mine").await, PutOutcome::Exists);
}

#[tokio::test]
async fn a_missing_bucket_is_no_missing_object() {
    let of = |code: &str| Answer::new(404, &format!("<Error><Code>{code}</Code></Error>"));
    let server = Server::start(vec![of("NoSuchKey"), of("NoSuchBucket")]).await;
    assert_eq!(server.client.get_object("tensors", "k", None, 9, TIME).await.unwrap(), None);
    let error = server.client.get_object("tensors", "k", None, 9, TIME).await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"));
}

#[tokio::test]
async fn lists_go_on_where_they_were_cut() {
    let page = |key: &str, rest: &str| {
        let item = format!("<Contents><Key>{key}</Key><Size>3</Size></Contents>");
        Answer::new(200, &format!("<ListBucketResult>{item}{rest}</ListBucketResult>"))
    };
    let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>a/b=</NextContinuationToken>";
    let server =
        Server::start(vec![page("p/1", more), page("p/2", "<IsTruncated>false</IsTruncated>")]).await;
    let listed = server.client.list_objects("tensors", "p/", TIME).await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!((keys, listed[0].bytes), (vec!["p/1", "p/2"], 3));
    let uri = &server.seen()[1].uri;
    assert_eq!(uri, "/tensors/?continuation-token=a%2Fb%3D&list-type=2&prefix=p%2F");
}

#[tokio::test]
async fn an_object_that_cannot_be_deleted_is_named() {
    let body = "<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    let server = Server::start(vec![Answer::new(200, body)]).await;
    let error = server.client.delete_objects("tensors", &["k"], TIME).await.unwrap_err();
    assert!(error.to_string().contains("`k`") && error.code() == Some("AccessDenied"), "{error}");
}

#[tokio::test]
async fn keys_that_would_become_other_paths_are_refused() {
    let server = Server::start(vec![]).await;
    for key in ["", "a/../b", "./a"] {
        let error = server.client.head_object("tensors", key, TIME).await.unwrap_err();
        assert!(matches!(error, AwsError::Configuration { .. }), "{error}");
    }
}

async fn invoke(
    client: &AwsClient,
    function: &str,
    kind: InvocationKind,
    payload: &str,
) -> Result<tranche_transport::aws::Invoked, AwsError> {
    client.invoke(function, Some("live"), Bytes::copy_from_slice(payload.as_bytes()), kind, TIME).await
}

async fn put(client: &AwsClient, body: &'static str) -> PutOutcome {
    client
        .put_object("tensors", "claim", Bytes::from_static(body.as_bytes()), PutCondition::IfAbsent, TIME)
        .await
        .unwrap()
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Answer {
    fn new(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: Some(body.to_owned()) }
    }

    fn hang() -> Self {
        Self { status: 200, headers: Vec::new(), body: None }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

struct Seen {
    uri: String,
    headers: HeaderMap,
}

/// Gives its answers one after the other.
struct Server {
    client: AwsClient,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}", listener.local_addr().unwrap()));
        let (answers, seen) = (Arc::new(Mutex::new(VecDeque::from(answers))), Arc::default());
        let recorded = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&recorded));
                tokio::spawn(async move {
                    let service =
                        service_fn(|request| answer(Arc::clone(&answers), Arc::clone(&seen), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { client, seen, task }
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn answer(
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let _ = body.collect().await;
    seen.lock().unwrap().push(Seen { uri: parts.uri.to_string(), headers: parts.headers });
    let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::new(418, "nothing is left to say"));
    let Some(body) = answer.body else { return std::future::pending().await };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from(body))).unwrap())
}
