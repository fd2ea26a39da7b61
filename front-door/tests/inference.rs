//! The Open Inference Protocol, request by request; what Triton's client does is in triton.rs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Duration;
use support::common::server::Fault;
use support::{Door, functions, read};

/// What `X` is in the protocol.
const X: &str = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [4], "data": [0, 1, 2, 3]}]}"#;

async fn toy() -> (Door, Vec<support::common::server::Function>) {
    let (deployment, functions) = functions("toy", vec![]).await;
    (Door::start(vec![deployment], |_| {}).await, functions)
}

const INFER: &str = "/v2/models/toy/infer";

#[tokio::test]
async fn json_goes_in_and_comes_out_in_any_order_of_fields() {
    let (door, _functions) = toy().await;
    let data_first = r#"{"later": {"inputs": 1}, "id": "a\"b", "inputs":
        [{"data": [0, 1, 2.0, 3e0], "shape": [4], "name": "x", "datatype": "FP32"}]}"#;
    for body in [X, data_first] {
        let (status, answer) = door.post(INFER, body).await;
        assert_eq!(status, 200, "{answer}");
        let y = json!([{"name": "y", "datatype": "FP32", "shape": [4], "data": [2.0, 4.0, 6.0, 8.0]}]);
        assert_eq!((&answer["outputs"], &answer["model_name"]), (&y, &"toy".into()));
        assert_eq!(answer["parameters"]["request_id"].as_str().unwrap().len(), 32);
        assert!(answer["id"] == "a\"b" || answer.get("id").is_none());
    }
    assert_eq!(door.post("/v2/models/toy/versions/1/infer", X).await.0, 200);
}

#[tokio::test]
async fn a_body_without_json_is_the_only_input() {
    let (door, _functions) = toy().await;
    let raw: Vec<u8> = [0.0_f32, 1.0, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let request = door.request(INFER, raw).header("inference-header-content-length", "0");
    let answer = request.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/octet-stream".parse().unwrap())
    );
    let length: usize =
        answer.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let body = answer.bytes().await.unwrap();
    let head: Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"], json!({"binary_data_size": 16}));
    let y: Vec<f32> =
        body[length..].chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(y, [2.0, 4.0, 6.0, 8.0]);
}

#[tokio::test]
async fn refusals_are_an_error_and_a_code() {
    let (door, _functions) = toy().await;
    let input = |fields: &str| {
        format!(r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [4]{fields}}}]}}"#)
    };
    let cases = [
        ("POST", INFER, "{".to_owned(), 400, "bad-json"),
        ("POST", INFER, "{}".to_owned(), 400, "bad-input"),
        ("POST", INFER, input(""), 400, "bad-input"),
        ("POST", INFER, input(r#", "data": [1, 2, 3]"#), 400, "bad-input"),
        ("POST", INFER, input(r#", "data": [[1, 2], [3, 4]]"#), 400, "bad-input"),
        ("POST", INFER, input(r#", "data": [1, 2, 3, "x"]"#), 400, "bad-input"),
        ("POST", INFER, input(r#", "data": 1"#), 400, "bad-input"),
        ("POST", INFER, input(r#", "data": [0, 1, 2, 3], "data": [0, 1, 2, 3]"#), 400, "bad-input"),
        ("POST", INFER, X.replace("[4]", "[-4]"), 400, "bad-input"),
        ("GET", INFER, String::new(), 405, "method-not-allowed"),
        ("POST", "/v2", String::new(), 405, "method-not-allowed"),
        ("GET", "/v2/models/toy/other", String::new(), 404, "not-found"),
        ("GET", "/v2/models/other", String::new(), 404, "unknown-model"),
        ("POST", "/v2/models/toy/versions/7/infer", String::new(), 404, "unknown-model"),
    ];
    for (method, path, body, status, code) in cases {
        let request = door.client.request(method.parse().unwrap(), format!("{}{path}", door.url));
        let response = request.body(body.clone()).send().await.unwrap();
        let told = response.headers()["tranche-code"].to_str().unwrap().to_owned();
        let (found, answer) = read(response).await;
        assert_eq!((found, told.as_str()), (status, code), "{method} {path} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap().len() > 10 && answer.as_object().unwrap().len() == 1);
    }
    let wrong =
        door.request(INFER, X).header("inference-header-content-length", "many").send().await.unwrap();
    assert_eq!(wrong.headers()["tranche-code"], "bad-header");
    let long = door.request(INFER, X).header("inference-header-content-length", "9999").send().await.unwrap();
    assert_eq!(
        (long.status().as_u16(), &long.headers()["tranche-code"]),
        (400, &"bad-input".parse().unwrap())
    );
}

#[tokio::test]
async fn coded_bodies_are_bounded_when_they_are_decoded() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |options| options.server.max_body_bytes = 100_000).await;
    let coded = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let send = async |path: &str, coding: &str, body| {
        let sent = door.request(path, body).header("content-encoding", coding).send().await.unwrap();
        sent.status().as_u16()
    };
    assert_eq!(send(INFER, "gzip", coded(X.as_bytes())).await, 200);
    assert_eq!(send("/", "gzip", coded(support::X.as_bytes())).await, 200);
    let bomb = coded(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 100_000);
    assert_eq!(send(INFER, "gzip", bomb).await, 413);
    assert_eq!(send(INFER, "gzip", X.into()).await, 400);
    assert_eq!(send(INFER, "br", X.into()).await, 415);
}

#[tokio::test]
async fn only_who_has_the_token_gets_in_and_health_is_open() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let door = Door::start(vec![deployment], |options| options.token = Some("s3cret".into())).await;
    for (path, status) in
        [("/_/health", 200), ("/v2/health/live", 200), ("/v2", 401), ("/", 401), ("/metrics", 401)]
    {
        let response = door.client.get(format!("{}{path}", door.url)).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let asks = response.headers().get("www-authenticate").is_some_and(|value| value == "Bearer");
        assert_eq!(asks, status == 401, "{path}");
    }
    let ask = async |token: &str| {
        let request = door.request(INFER, X).header("authorization", format!("Bearer {token}"));
        read(request.send().await.unwrap()).await
    };
    assert_eq!(ask("s3cret").await.0, 200);
    let (status, refused) = ask("s3cres").await;
    assert_eq!((status, refused["error"].as_str().unwrap().contains("s3cre")), (401, false));
}

#[tokio::test]
async fn requests_wait_in_line_for_a_place() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let bounds = |options: &mut tranche_front_door::FrontDoorOptions| {
        (options.server.max_in_flight, options.max_waiting) = (1, 64);
    };
    let door = Door::start(vec![deployment], bounds).await;
    let send = |_| tokio::spawn(door.request(INFER, X).send());
    let sent: Vec<_> = (0..32).map(send).collect();
    for sent in sent {
        assert_eq!(sent.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn when_the_line_is_full_the_rest_is_told_when_to_come_back() {
    let (deployment, _functions) = functions("toy", vec![Fault::Hang; 4]).await;
    let bounds = |options: &mut tranche_front_door::FrontDoorOptions| {
        (options.server.max_in_flight, options.max_waiting) = (1, 0);
    };
    let door = Door::start(vec![deployment], bounds).await;
    let held = tokio::spawn(door.request(INFER, X).header("x-timeout", "2s").send());
    while door.get("/_/health").await.1["in_flight"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = door.request(INFER, X).send().await.unwrap();
    let headers = refused.headers();
    assert_eq!(
        (&headers["retry-after"], &headers["tranche-code"]),
        (&"1".parse().unwrap(), &"busy".parse().unwrap())
    );
    assert_eq!(refused.status(), 429);
    assert_eq!(held.await.unwrap().unwrap().status(), 504);
}

#[tokio::test]
async fn health_is_200_or_400_and_a_request_waits_no_longer_than_it_asks() {
    let (deployment, _functions) = functions("toy", vec![Fault::Hang; 3]).await;
    let mut away = deployment.clone();
    (away.name, away.functions[0].address) =
        ("away".to_owned(), tranche_schema::Address::Unix { path: "/nowhere".into() });
    let door = Door::start(vec![deployment, away], |_| {}).await;
    let status =
        async |path: &str| door.client.get(format!("{}{path}", door.url)).send().await.unwrap().status();
    assert_eq!(status("/v2/health/live").await, 200);
    assert_eq!(
        (status("/v2/health/ready").await, status("/v2/models/away/ready").await),
        (400.try_into().unwrap(), 400.try_into().unwrap())
    );
    let (_, index) = door.post("/v2/repository/index", "").await;
    assert_eq!(
        index[1],
        json!({"name": "away", "version": "1", "state": "UNAVAILABLE", "reason": "its functions are starting"})
    );

    let timeout = X.replacen('{', r#"{"parameters": {"timeout": 200000}, "#, 1);
    let started = std::time::Instant::now();
    let (status, refused) = door.post(INFER, timeout).await;
    assert_eq!(status, 504, "{refused}");
    assert!(started.elapsed() >= Duration::from_millis(200) && started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn types_without_a_name_in_the_protocol_are_told() {
    let (deployment, _echo) = support::echo::echo("small", &[tranche_schema::ElementType::Int4], &[2]).await;
    let door = Door::start(vec![deployment], |_| {}).await;
    let (status, refused) = door.get("/v2/models/small").await;
    assert_eq!(status, 501);
    insta::assert_snapshot!(refused["error"].as_str().unwrap(), @"`in_int4` is int4, for which the protocol has no datatype; POST to /NAME instead, or convert the tensor inside the model");
}

#[tokio::test]
async fn names_that_would_hide_a_path_are_refused() {
    for name in ["v2", "metrics"] {
        let (deployment, _functions) = functions(name, vec![]).await;
        let options = tranche_front_door::FrontDoorOptions::new("127.0.0.1:0".parse().unwrap());
        let error =
            tranche_front_door::serve(vec![deployment], &options, async {}, |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("a path of the front door's own"), "{error}");
    }
}
