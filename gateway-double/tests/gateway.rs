//! What both providers share: authentication, secrets, logs, asynchronous calls, proxying.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{Bench, DEADLINE, call, describe, expect_continue, wait_until};
use tranche_gateway_double::{BasicAuth, MOST_ASYNC_BYTES, Provider};

fn bench() -> Bench {
    Bench::new(Provider::Faasd)
}

#[test]
fn wrong_credentials_are_401_on_system_and_functions_are_open() {
    let auth = BasicAuth { user: "admin".to_owned(), password: "pass".to_owned() };
    let bench = Bench::with(Provider::Faasd, |options| options.auth = Some(auth));
    let get = |headers: &[(&str, &str)]| {
        call("GET", &format!("{}/system/functions", bench.double.url()), headers, "").status
    };
    assert_eq!(get(&[]), 401);
    assert_eq!(get(&[("authorization", "Basic YWRtaW46d3Jvbmc=")]), 401);
    assert_eq!(get(&[("authorization", "Basic YWRtaW46cGFzcw==")]), 200);
    assert_eq!(bench.get("/function/none").status, 404);
    assert_eq!(bench.get("/healthz").status, 200);
}

#[test]
fn info_and_namespaces_tell_the_provider() {
    for (provider, name) in [(Provider::Faasd, "faasd"), (Provider::Kubernetes, "faas-netes-ce")] {
        let bench = Bench::new(provider);
        let info: Value = bench.get("/system/info").json();
        assert_eq!(info["provider"]["provider"], name);
        assert_eq!(bench.get("/system/namespaces").text(), r#"["openfaas-fn"]"#);
    }
}

#[test]
fn secrets_are_listed_without_values() {
    for (provider, ok, again, missing) in
        [(Provider::Faasd, 200, 200, 500), (Provider::Kubernetes, 202, 409, 404)]
    {
        let bench = Bench::new(provider);
        let send = |method: &str, name: &str| {
            let body = json!({ "name": name, "value": "hidden" }).to_string();
            bench.call(method, "/system/secrets", body).status
        };
        assert_eq!(["POST", "POST", "PUT"].map(|method| send(method, "s")), [ok, again, ok]);
        let list = bench.get("/system/secrets").text();
        assert!(list.contains(r#""name":"s""#) && !list.contains("hidden"));
        assert_eq!((send("DELETE", "s"), send("DELETE", "s")), (ok, missing));
        assert_eq!(send("POST", "../s"), 400);
    }
}

#[test]
fn logs_are_lines_of_json() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    bench.get("/function/a/log?one");
    bench.get("/function/a/log?two");
    let last = || bench.get("/system/logs?name=a&tail=1").text();
    wait_until(|| last().contains("two"));
    let line: Value = serde_json::from_str(&last()).unwrap();
    assert_eq!(
        (&line["name"], &line["text"], &line["namespace"]),
        (&json!("a"), &json!("two"), &json!("openfaas-fn"))
    );
    let since = format!("/system/logs?name=a&since={}", line["timestamp"].as_str().unwrap());
    assert_eq!(bench.get(&since).text().lines().count(), 1);
    assert_eq!(bench.get("/system/logs").status, 400);
}

#[test]
fn logs_are_followed_while_they_are_written() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let stream = std::net::TcpStream::connect(bench.double.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(&stream, "GET /system/logs?name=a&follow=true HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    bench.get("/function/a/log?later");
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.any(|line| line.unwrap().contains("later")));
}

#[test]
fn asynchronous_calls_are_202_and_call_back() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let callback = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/done", callback.local_addr().unwrap());
    let address = format!("{}/async-function/a/echo", bench.double.url());
    let accepted = call("POST", &address, &[("x-callback-url", &url), ("x-call-id", "7")], "body");
    assert_eq!((accepted.status, accepted.header("x-call-id")), (202, "7"));
    let request = receive(&callback);
    for part in [
        "x-function-name: a",
        "x-function-status: 200",
        "x-duration-seconds: ",
        "x-call-id: 7",
        "\r\n\r\nbody",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
}

/// One request, answered 200.
fn receive(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.ends_with(b"body") {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0);
        request.extend_from_slice(&piece[..length]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    String::from_utf8(request).unwrap()
}

#[test]
fn asynchronous_bodies_over_256000_bytes_are_500() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let send = |bytes: usize| bench.call("POST", "/async-function/a", vec![0; bytes]).status;
    assert_eq!((send(MOST_ASYNC_BYTES), send(MOST_ASYNC_BYTES + 1)), (202, 500));
}

#[test]
fn asynchronous_calls_without_a_queue_are_404() {
    let bench = Bench::with(Provider::Faasd, |options| options.asynchronous = false);
    bench.deploy("a", &json!({}));
    assert_eq!(bench.call("POST", "/async-function/a", "").status, 404);
}

/// Trap 1.
#[test]
fn bodies_reach_the_function_chunked_without_their_length() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let head = bench.call("POST", "/function/a/head?x=1", "body").text().to_lowercase();
    assert!(head.starts_with("post /head?x=1 http/1.1\n"), "{head}");
    assert!(head.contains("transfer-encoding: chunked\n") && !head.contains("content-length"), "{head}");
    assert_eq!(bench.call("POST", "/function/a/echo", vec![7; 3_000_000]).body, vec![7; 3_000_000]);
}

/// Trap 2. The wait is longer than the test may take: an answer shows that there was none.
#[test]
fn expect_is_forwarded_and_answered_by_the_function() {
    let bench = Bench::with(Provider::Faasd, |options| options.expect_timeout = 10 * DEADLINE);
    bench.deploy("a", &json!({}));
    let (told, reply) = expect_continue(bench.double.address(), "/function/a/head", b"body");
    assert!(told && reply.to_lowercase().contains("expect: 100-continue\n"), "{reply}");
}

/// Trap 2, a function that does not answer.
#[test]
fn a_function_that_ignores_expect_costs_the_wait() {
    let wait = Duration::from_millis(300);
    let bench = Bench::with(Provider::Faasd, |options| options.expect_timeout = wait);
    bench.deploy("a", &json!({ "envVars": { "NO_CONTINUE": "1" } }));
    let start = Instant::now();
    let (told, reply) = expect_continue(bench.double.address(), "/function/a/echo", b"body");
    assert!(told && reply.ends_with("body") && start.elapsed() >= wait, "{reply}");
}

/// Trap 6.
#[test]
fn call_ids_are_made_forwarded_and_echoed_only_when_made() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let made = bench.get("/function/a/head");
    assert!(made.text().contains(&format!("x-call-id: {}\n", made.header("x-call-id"))));
    let url = format!("{}/function/a/head", bench.double.url());
    let given = call("GET", &url, &[("x-call-id", "mine")], "");
    assert!(given.text().contains("x-call-id: mine\n"));
    assert_eq!(given.header("x-call-id"), "");
}

/// Trap 7.
#[test]
fn without_prometheus_a_list_of_functions_kills_the_connection() {
    let bench = Bench::with(Provider::Faasd, |options| options.prometheus = false);
    assert_eq!(bench.get("/system/functions").text(), "[]");
    bench.post(&describe("a"));
    assert_eq!(bench.get("/system/functions").status, 0);
    assert_eq!(bench.get("/system/function/a").status, 200);
}

#[test]
fn calls_longer_than_the_upstream_timeout_are_504() {
    let bench = Bench::with(Provider::Faasd, |options| options.upstream_timeout = Duration::from_secs(1));
    bench.deploy("a", &json!({}));
    assert_eq!(bench.get("/function/a/slow?30000").status, 504);
}

#[test]
fn x_timeout_and_other_headers_reach_the_function() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let url = format!("{}/function/a.openfaas-fn/head", bench.double.url());
    let head = call("POST", &url, &[("x-timeout", "3s"), ("connection", "x-gone")], "b").text();
    assert!(head.contains("x-timeout: 3s\n") && head.contains("x-forwarded-host: "), "{head}");
}

#[test]
fn invocations_are_counted() {
    let bench = bench();
    bench.post(&describe("a"));
    bench.get("/function/a");
    bench.get("/function/a");
    assert_eq!(bench.status("a").invocation_count, 2.0);
}
