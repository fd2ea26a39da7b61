//! The binary as a function on AWS Lambda: events from a double of the Runtime API, slices in a
//! double of Lambda.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../../driver/tests/aws/mod.rs"]
mod aws;
#[path = "../../serving/tests/support/runtime_api.rs"]
mod runtime_api;
mod support;

use aws::{Aws, Fault};
use runtime_api::RuntimeApiDouble;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::common::deployment;
use support::{X, Y, values};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tranche_schema::Document as _;

#[tokio::test]
async fn a_direct_invocation_is_answered_with_its_bill() {
    let setup = Setup::start().await;
    let answer = setup.ask(X).await;
    assert_eq!(values(&answer), Y);
    assert_eq!(answer["deployment"], "test");
    let entry = &answer["bill"]["lambda"]["entry"];
    assert_eq!((&entry["invocations"], &entry["memory_mib"]), (&1.into(), &512.into()));
    let (billed, memory_time) =
        (entry["billed_ms"].as_f64().unwrap(), entry["memory_time"].as_f64().unwrap());
    assert!(billed >= 1.0 && (memory_time - billed / 1000.0 * 0.5).abs() < 1e-9, "{entry}");
    assert_eq!(answer["bill"]["slices"][0]["lambda"]["billed_ms"], 5.0);
}

#[tokio::test]
async fn a_request_to_the_url_is_answered_as_http() {
    let setup = Setup::start().await;
    let answer = setup.ask(&url_event("POST", "/", X)).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&200.into(), &false.into()));
    assert_eq!(values(&body(&answer)), Y);
    let described = setup.ask(&url_event("GET", "/", "")).await;
    assert_eq!(body(&described)["inputs"][0]["name"], "x");
    for (method, path, sent, status, code) in [
        ("POST", "/", "{\"inputs\": {}}", 400, "bad-input"),
        ("POST", "/", "nonsense", 400, "bad-json"),
        ("POST", "/other", X, 404, "not-found"),
        ("PUT", "/", X, 405, "method-not-allowed"),
    ] {
        let answer = setup.ask(&url_event(method, path, sent)).await;
        assert_eq!((&answer["statusCode"], &body(&answer)["code"]), (&status.into(), &code.into()));
    }
}

#[tokio::test]
async fn failures_of_a_direct_invocation_are_error_documents() {
    let setup = Setup::start().await;
    let document = setup.ask("{\"inputs\": {}}").await;
    assert_eq!(document["errorType"], "tranche.bad-input");
    setup.aws.fault("test-first", Fault::Fails("tranche.engine-failed", "no"));
    let document = setup.ask(X).await;
    assert_eq!(document["errorType"], "tranche.function-failed");
    assert!(document["errorMessage"].as_str().unwrap().contains("`first`"), "{document}");
}

#[tokio::test]
async fn a_ping_warms_the_slices() {
    let setup = Setup::start().await;
    assert_eq!(setup.ask("{\"tranche\": 1, \"ask\": {\"ping\": {}}}").await, json!({ "tranche": 1 }));
    assert_eq!(setup.aws.invocations().len(), 2);
}

#[tokio::test]
async fn what_it_cannot_begin_with_is_told_to_lambda() {
    let api = RuntimeApiDouble::start("").await;
    let folder = TempDir::new().unwrap();
    let mut process = start(&folder.path().join("missing.json"), &api, "http://127.0.0.1:9");
    let told = api.said_at("/init/error").await.json();
    assert_eq!(told["errorType"], "tranche.load-failed");
    let ended = tokio::time::timeout(Duration::from_secs(20), process.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(2));
}

struct Setup {
    aws: Aws,
    api: RuntimeApiDouble,
    _process: Child,
    _folder: TempDir,
}

impl Setup {
    /// `first` makes `h` = `x` + 1, `second` makes `y` = `h` + `x` + 1.
    async fn start() -> Self {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let described = [
            ("first".to_owned(), own(&["x"]), own(&["h"])),
            ("second".to_owned(), own(&["h", "x"]), own(&["y"])),
        ];
        let mut deployment = deployment(&own(&["x"]), &own(&["y"]), &described);
        let aws = Aws::start(&mut deployment, true).await;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("deployment.json");
        deployment.write(&path).unwrap();
        let api = RuntimeApiDouble::start("").await;
        let endpoint = aws.client.config().lambda_endpoint.clone().unwrap();
        let process = start(&path, &api, endpoint.as_str());
        Self { aws, api, _process: process, _folder: folder }
    }

    /// What is said to an event: the answer, or the error document.
    async fn ask(&self, event: &str) -> Value {
        let id = self.api.send(event.to_owned());
        self.api.said_of(&id).await.json()
    }
}

fn start(deployment: &Path, api: &RuntimeApiDouble, endpoint: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tranche-front-door"))
        .env_clear()
        .env("TRANCHE_DEPLOYMENT", deployment)
        .env("AWS_LAMBDA_RUNTIME_API", &api.address)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_ENDPOINT_URL", endpoint)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn url_event(method: &str, path: &str, body: &str) -> String {
    let http = json!({ "method": method, "path": path, "protocol": "HTTP/1.1" });
    let event = json!({
        "version": "2.0", "rawPath": path, "headers": { "content-type": "application/json" },
        "requestContext": { "http": http }, "body": body, "isBase64Encoded": false,
    });
    event.to_string()
}

fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}
