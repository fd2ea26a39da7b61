//! The front door's contract, before functions of the driver's tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::common::server::Fault;
use support::{Door, X, Y, functions, read, values};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tranche_front_door::{FrontDoorError, FrontDoorOptions};
use tranche_schema::{Address, Deployment, Document as _, ElementType, OpenFaasDeployment};

#[tokio::test]
async fn json_goes_in_and_comes_out() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    for path in ["/", "/invoke", "/toy", "/toy/invoke", "/toy/"] {
        let (status, answer) = door.post(path, X).await;
        assert_eq!((status, values(&answer)), (200, Y.to_vec()), "{path}: {answer}");
        assert_eq!(answer["outputs"]["y"]["shape"], json!([4]));
        assert_eq!(answer["outputs"]["y"]["element_type"], "float32");
        assert_eq!(answer["deployment"], "toy");
        assert_eq!(answer["request_id"].as_str().unwrap().len(), 32);
    }
    let nested = door.post("/", r#"{"inputs": {"x": [0, 1, 2, 3]}}"#).await;
    assert_eq!(values(&nested.1), Y, "nested arrays are tensors too");
    assert_eq!(door.get("/_/health").await.1["answered"], 6);
    door.finish().await;
}

#[tokio::test]
async fn it_says_what_it_takes() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    let (status, told) = door.get("/").await;
    assert_eq!(status, 200);
    assert_eq!(told["inputs"], json!([{"name": "x", "element_type": "float32", "shape": [4]}]));
    assert_eq!(told["outputs"], json!([{"name": "y", "element_type": "float32", "shape": [4]}]));
    assert_eq!(told["slices"], json!(["first", "second"]));
}

#[tokio::test]
async fn it_is_ready_when_its_functions_are() {
    let loading = Fault::Status(503, "loading");
    let (deployment, _functions) = functions("toy", vec![loading.clone(), loading]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    assert_eq!(door.get("/_/health").await.0, 200);
    for _ in 0..500 {
        if door.get("/_/ready").await.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(door.get("/_/ready").await.1["state"], "ready");
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_reason() {
    let (deployment, functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    let refused = async |body: &'static str| {
        let (status, answer) = door.post("/", body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["hint"].as_str().unwrap().len() > 10);
        format!("{}: {}", answer["code"].as_str().unwrap(), answer["message"].as_str().unwrap())
    };
    insta::assert_snapshot!(refused("").await, @"bad-json: the body is no JSON: EOF while parsing a value at line 1 column 0");
    insta::assert_snapshot!(refused("[1]").await, @"bad-input: invalid type: sequence, expected an object with `inputs` at line 1 column 0");
    insta::assert_snapshot!(refused("{}").await, @"bad-input: missing field `inputs` at line 1 column 2");
    insta::assert_snapshot!(refused(r#"{"inputs": {}}"#).await, @"bad-input: input `x` float32 [4] is missing");
    insta::assert_snapshot!(refused(r#"{"inputs": {"x": [1, 2]}}"#).await, @"bad-input: input `x`: it is float32 [2], expected float32 [4] at line 1 column 24");
    insta::assert_snapshot!(refused(r#"{"inputs": {"x": [1, 2, 3, 4, 5]}}"#).await, @"bad-input: input `x`: it has more elements than float32 [4] at line 1 column 31");
    insta::assert_snapshot!(refused(r#"{"inputs": {"x": ["a", 2, 3, 4]}}"#).await, @r#"bad-input: input `x`: element 0, "a", is no float32 at line 1 column 21"#);
    insta::assert_snapshot!(refused(r#"{"inputs": {"z": [1]}}"#).await, @"bad-input: the model has no input `z`; its inputs are `x` float32 [4] at line 1 column 15");
    insta::assert_snapshot!(refused(r#"{"inputs": {"x": [1, 2, 3, 4], "x": [1, 2, 3, 4]}}"#).await, @"bad-input: input `x` is given twice at line 1 column 34");
    insta::assert_snapshot!(refused(r#"{"inputs": {"x": [1, 2, 3, 4]}, "parameters": {}}"#).await, @"bad-input: unknown field `parameters`, expected `inputs` at line 1 column 44");
    insta::assert_snapshot!(refused(r#"{"inputs": {"x": [1, 2, 3, 4]}} more"#).await, @"bad-json: the body is no JSON: trailing characters at line 1 column 33");
    assert!(functions[0].requests.lock().unwrap().is_empty(), "nothing was called");
}

#[tokio::test]
async fn failures_of_functions_are_told_apart() {
    let (mut deployment, _functions) = functions("toy", vec![]).await;
    let Address::Http { url } = &mut deployment.functions[1].address else { unreachable!() };
    *url = url.replace("second", "third");
    let door = Door::start(vec![deployment.clone()], |_| {}).await;
    let (status, answer) = door.post("/", X).await;
    assert_eq!((status, &answer["code"]), (502, &json!("function-failed")), "{answer}");
    assert!(
        answer["message"].as_str().unwrap().contains("function `second` failed at the first try"),
        "{answer}"
    );
    assert!(answer["hint"].as_str().unwrap().contains("deploy the bundle again"), "{answer}");
    assert_eq!(door.get("/_/ready").await.0, 503, "one of its functions is not there");

    let _silent = silence(&mut deployment).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    let answer = door.request("/", X).header("x-timeout", "300ms").send().await.unwrap();
    let (status, answer) = read(answer).await;
    assert_eq!((status, &answer["code"]), (504, &json!("deadline")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("waiting for `first`"), "{answer}");
}

/// Moves the first function to an address where nobody answers: requests wait for their deadline.
async fn silence(deployment: &mut Deployment) -> tokio::net::TcpListener {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    deployment.functions[0].address = Address::Http { url };
    silent
}

#[tokio::test]
async fn more_requests_than_it_may_hold_are_sent_away() {
    let (mut deployment, _functions) = functions("toy", vec![]).await;
    let _silent = silence(&mut deployment).await;
    let bounds = |options: &mut FrontDoorOptions| {
        (options.server.max_in_flight, options.max_waiting) = (1, 0);
    };
    let door = Door::start(vec![deployment], bounds).await;
    let held = door.request("/", X).header("x-timeout", "2s").send();
    let held = tokio::spawn(held);
    while door.get("/_/health").await.1["in_flight"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = door.request("/", X).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, refused) = read(refused).await;
    assert_eq!((status, &refused["code"]), (429, &json!("busy")));
    let (status, _) = read(held.await.unwrap().unwrap()).await;
    assert_eq!(status, 504);
    assert_eq!(door.get("/_/health").await.1["in_flight"], 0);
}

#[tokio::test]
async fn bodies_are_bounded_and_may_come_in_chunks() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |options| options.server.max_body_bytes = 1000).await;
    let (status, answer) = door.post("/", "x".repeat(2000)).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too-large")));
    assert!(in_chunks(&door, X).await.starts_with("HTTP/1.1 200 "));
    assert!(in_chunks(&door, &"x".repeat(2000)).await.starts_with("HTTP/1.1 413 "));
}

/// Sends a body as gateways do, in chunks without its length; gives what comes back.
async fn in_chunks(door: &Door, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(door.url.trim_start_matches("http://")).await.unwrap();
    let mut text =
        "POST / HTTP/1.1\r\nhost: d\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for chunk in body.as_bytes().chunks(7) {
        text.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()));
    }
    text.push_str("0\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn traces_and_calls_keep_their_names() {
    let (deployment, functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = door.request("/", X).header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let response = request.header("x-call-id", "call-7").send().await.unwrap();
    assert_eq!(response.headers()["x-call-id"], "call-7");
    let (status, answer) = read(response).await;
    assert_eq!(status, 200);
    for function in &functions {
        let requests = function.requests.lock().unwrap();
        assert_eq!(requests[0].traceparent.as_ref().unwrap()[3..35], *trace);
        assert_eq!(requests[0].request_id_hex(), answer["request_id"].as_str().unwrap());
    }
}

#[tokio::test]
async fn times_that_are_none_and_wrong_paths_are_refused() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    let wrong = door.request("/", X).header("x-timeout", "soon").send().await.unwrap();
    assert_eq!(read(wrong).await.1["code"], "bad-timeout");
    for (method, path, status, allow) in [
        ("GET", "/invoke", 405, Some("POST")),
        ("PUT", "/", 405, Some("GET, POST")),
        ("POST", "/_/health", 405, Some("GET")),
        ("POST", "/other", 404, None),
        ("GET", "/other/invoke", 404, None),
    ] {
        let url = format!("{}{path}", door.url);
        let response = door.client.request(method.parse().unwrap(), url).send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let allowed = response.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(allowed.as_deref(), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn several_deployments_are_served_by_name() {
    let (first, _first) = functions("one", vec![]).await;
    let (second, _second) = functions("two", vec![]).await;
    let door = Door::start(vec![first, second], |_| {}).await;
    assert_eq!(door.post("/one", X).await.1["deployment"], "one");
    assert_eq!(door.post("/two/invoke", X).await.1["deployment"], "two");
    let (_, index) = door.get("/").await;
    assert_eq!(index["deployments"].as_array().unwrap().len(), 2);
    let (status, refused) = door.post("/", X).await;
    assert_eq!(status, 405, "which of them is not said: {refused}");
    assert_eq!(door.post("/invoke", X).await.0, 404);
}

#[tokio::test]
async fn told_to_stop_it_answers_what_it_has() {
    let (mut deployment, _functions) = functions("toy", vec![]).await;
    let _silent = silence(&mut deployment).await;
    let mut door = Door::start(vec![deployment], |_| {}).await;
    let held = tokio::spawn(door.request("/", X).header("x-timeout", "1s").send());
    while door.get("/_/health").await.1["in_flight"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    door.tell_to_stop();
    let (status, answer) = read(held.await.unwrap().unwrap()).await;
    assert_eq!((status, &answer["code"]), (504, &json!("deadline")));
    let started = Instant::now();
    door.finish().await;
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn deployments_it_cannot_serve_are_refused_at_once() {
    let options = || tranche_front_door::FrontDoorOptions::new("127.0.0.1:0".parse().unwrap());
    let refused = async |deployments| {
        let error = tranche_front_door::serve(deployments, &options(), async {}, |_| {}).await.unwrap_err();
        assert!(!error.hint().is_empty() && error.exit_code() != 0);
        error.to_string()
    };
    let (toy, _functions) = functions("toy", vec![]).await;
    insta::assert_snapshot!(refused(vec![]).await, @"there is no deployment to serve");
    insta::assert_snapshot!(refused(vec![toy.clone(), toy.clone()]).await, @"two deployments have the name `toy`");
    let mut complex = toy.clone();
    complex.inputs[0].element_type = ElementType::Complex64;
    complex.functions.iter_mut().flat_map(|function| &mut function.inputs).for_each(|spec| {
        if spec.name == "x" {
            spec.element_type = ElementType::Complex64;
        }
    });
    insta::assert_snapshot!(refused(vec![complex]).await, @"input `x` complex64 of deployment `toy` has no form in JSON");
}

#[tokio::test]
async fn a_gateway_may_have_another_url_from_here() {
    let (mut deployment, _functions) = functions("toy", vec![]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployment.json");
    deployment.write(&path).unwrap();
    let error = tranche_front_door::read_deployment(&path, Some("http://10.62.0.1:8080")).unwrap_err();
    assert!(matches!(error, FrontDoorError::NoGateway { .. }), "{error}");

    deployment.openfaas = Some(OpenFaasDeployment {
        gateway: "http://127.0.0.1:8080".to_owned(),
        namespace: None,
        provider: "faasd".to_owned(),
        functions: vec![],
        front_door: None,
    });
    let url = "http://127.0.0.1:8080/function/toy-first".to_owned();
    deployment.functions[0].address = Address::Http { url };
    deployment.write(&path).unwrap();
    let read = tranche_front_door::read_deployment(&path, Some("http://10.62.0.1:8080/")).unwrap();
    let url = "http://10.62.0.1:8080/function/toy-first".to_owned();
    assert_eq!(read.functions[0].address, Address::Http { url });
    assert_eq!(read.functions[1].address, deployment.functions[1].address, "behind no such gateway");
}

#[tokio::test]
async fn callers_that_leave_free_their_place() {
    let (mut deployment, _functions) = functions("toy", vec![]).await;
    let _silent = silence(&mut deployment).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    let held = tokio::spawn(door.request("/", X).send());
    while door.get("/_/health").await.1["in_flight"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    held.abort();
    let mut free = false;
    for _ in 0..1000 {
        free = door.get("/_/health").await.1["in_flight"] == 0;
        if free {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(free);
}

#[tokio::test]
async fn a_deployment_that_is_replaced_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployment.json");
    let (old, functions_before) = functions("toy", vec![]).await;
    old.write(&file).unwrap();
    let door = Door::start(vec![old], |options| options.deployments = vec![file.clone()]).await;
    assert_eq!(values(&door.post("/", X).await.1), Y);

    std::fs::write(&file, "{").unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(values(&door.post("/", X).await.1), Y, "what cannot be read changes nothing");

    let (new, functions_after) = functions("toy", vec![]).await;
    new.write(&file).unwrap();
    for _ in 0..100 {
        assert_eq!(values(&door.post("/", X).await.1), Y);
        if !functions_after[0].requests.lock().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!functions_after[0].requests.lock().unwrap().is_empty());
    drop(functions_before);
    assert_eq!(values(&door.post("/", X).await.1), Y);
    door.finish().await;
}
