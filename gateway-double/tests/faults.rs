//! Faults injected, through options and through /_double.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpStream;
use support::{Bench, DEADLINE, wait_until};
use tranche_gateway_double::{CallRecord, Fault, FaultAction, Provider};

fn bench() -> Bench {
    let bench = Bench::new(Provider::Faasd);
    bench.deploy("a", &json!({}));
    bench
}

#[test]
fn the_nth_call_gets_a_status_and_is_not_passed_on() {
    let bench = bench();
    let fault = Fault { call: 2, ..Fault::on("/function/a/log", FaultAction::Status { status: 500 }) };
    bench.double.inject(fault);
    let statuses = ["1", "2", "3"].map(|text| bench.get(&format!("/function/a/log?{text}")).status);
    assert_eq!(statuses, [200, 500, 200]);
    wait_until(|| bench.get("/system/logs?name=a").text().contains("\"3\""));
    assert!(!bench.get("/system/logs?name=a").text().contains("\"2\""));
}

#[test]
fn a_connection_is_reset() {
    let bench = bench();
    bench.double.inject(Fault::on("/function/a", FaultAction::Reset));
    let mut stream = TcpStream::connect(bench.double.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /function/a HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let error = stream.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn bodies_are_slow_short_or_wrong() {
    let bench = bench();
    bench.double.inject(Fault::on("/function/a", FaultAction::SlowBody { bytes: 1, milliseconds: 1 }));
    assert_eq!(bench.call("POST", "/function/a/echo", "slowly").text(), "slowly");
    bench.double.inject(Fault::on("/function/a", FaultAction::ShortBody { bytes: 2 }));
    let short = bench.call("POST", "/function/a/echo", "broken");
    assert_eq!((short.status, &*short.text()), (200, ""));
    bench.double.inject(Fault::on("/system/function/a", FaultAction::WrongJson));
    let wrong = bench.get("/system/function/a");
    assert!(wrong.status == 200 && serde_json::from_slice::<Value>(&wrong.body).is_err());
}

#[test]
fn a_stalled_call_goes_its_way_later() {
    let bench = bench();
    bench.double.inject(Fault::on("/function/a", FaultAction::Stall { milliseconds: 50 }));
    assert_eq!(bench.get("/function/a").status, 200);
}

#[test]
fn a_killed_function_is_refused_once_and_comes_back() {
    let bench = bench();
    bench.double.kill("a").unwrap();
    wait_until(|| bench.status("a").available_replicas == 0);
    assert_eq!(bench.get("/function/a").status, 500);
    bench.wait_for("a");
    assert!(bench.double.kill("none").is_err());
}

#[test]
fn a_dropped_function_has_no_endpoints_until_it_is_scaled() {
    for provider in [Provider::Faasd, Provider::Kubernetes] {
        let bench = Bench::new(provider);
        bench.deploy("a", &json!({}));
        bench.double.drop_replicas("a").unwrap();
        assert_eq!((bench.get("/function/a").status, bench.status("a").available_replicas), (503, 0));
        bench.call("POST", "/system/scale-function/a", r#"{"replicas":1}"#);
        bench.wait_for("a");
    }
}

#[test]
fn other_processes_use_the_control_path() {
    let bench = bench();
    let fault = json!({ "path": "/function/a", "times": 2, "action": { "kind": "status", "status": 418 } });
    assert_eq!(bench.call("POST", "/_double/faults", fault.to_string()).status, 200);
    bench.double.forget_calls();
    let statuses = [1, 2, 3].map(|_| bench.get("/function/a").status);
    assert_eq!(statuses, [418, 418, 200]);
    let calls: Vec<CallRecord> = bench.get("/_double/calls").json();
    assert_eq!(calls.iter().map(|call| call.status).collect::<Vec<_>>(), [Some(418), Some(418), Some(200)]);
    assert_eq!(bench.double.count("GET", "/function/a"), 3);
    assert_eq!(bench.call("POST", "/_double/kill", r#"{"function":"none"}"#).status, 404);
    assert_eq!(bench.call("POST", "/_double/drop", r#"{"function":"a"}"#).status, 200);
    assert_eq!(bench.call("POST", "/_double/faults", "{}").status, 400);
}
