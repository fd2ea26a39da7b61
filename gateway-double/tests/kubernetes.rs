//! The rows of the facts' table for faas-netes, Community Edition.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{Bench, describe, wait_until};
use tranche_gateway_double::Provider;

fn bench() -> Bench {
    Bench::new(Provider::Kubernetes)
}

fn with(more: &Value) -> Value {
    let mut description = describe("a");
    description.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    description
}

#[test]
fn post_answers_202_before_it_runs() {
    let bench = bench();
    assert_eq!(bench.post(&describe("a")).status, 202);
    wait_until(|| bench.status("a").available_replicas == 1);
    assert_eq!(bench.get("/function/a").status, 200);
}

#[test]
fn post_with_an_image_that_nobody_may_pull_is_400() {
    let bench = bench();
    assert_eq!(bench.post(&json!({ "service": "a", "image": "nowhere:1" })).status, 400);
    assert_eq!(bench.get("/system/functions").text(), "[]");
}

#[test]
fn post_of_an_existing_name_is_500() {
    let bench = bench();
    bench.post(&describe("a"));
    assert_eq!(bench.post(&describe("a")).status, 500);
}

#[test]
fn put_answers_202_and_rolls_without_a_gap() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let update = json!({ "service": "a", "image": "function:2", "envVars": { "NEW": "1" } });
    assert_eq!(bench.put(&update).status, 202);
    wait_until(|| {
        let reply = bench.get("/function/a/env");
        assert_eq!(reply.status, 200);
        reply.text().contains("NEW=1\n")
    });
}

#[test]
fn put_of_an_unknown_name_is_404() {
    assert_eq!(bench().put(&describe("a")).status, 404);
}

#[test]
fn put_that_fails_is_200_and_changes_nothing() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let failing = [
        json!({ "service": "a", "image": "nowhere:1" }),
        with(&json!({ "limits": { "memory": "64MB" } })),
        with(&json!({ "secrets": ["none"] })),
    ];
    assert_eq!(failing.each_ref().map(|one| bench.put(one).status), [200; 3]);
    let status = bench.status("a");
    assert_eq!((&*status.image, status.limits, status.secrets.len()), (support::IMAGE, None, 0));
}

#[test]
fn delete_is_202_and_of_an_unknown_name_404() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    assert_eq!(bench.delete("a").status, 202);
    assert_eq!(bench.delete("a").status, 404);
}

#[test]
fn calls_in_flight_are_answered_when_their_function_is_deleted() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let (deleted, call) = std::thread::scope(|scope| {
        let call = scope.spawn(|| bench.get("/function/a/slow?1000").status);
        std::thread::sleep(Duration::from_millis(400));
        (bench.delete("a").status, call.join().unwrap())
    });
    assert_eq!((deleted, call), (202, 200));
}

#[test]
fn names_are_dns_labels() {
    let bench = bench();
    let long = "a".repeat(64);
    for name in ["Slice_A", "-a", "a-", "a.b", "", &long] {
        assert_eq!(bench.post(&describe(name)).status, 400, "{name}");
    }
    assert_eq!(bench.post(&describe(&"a".repeat(63))).status, 202);
}

#[test]
fn quantities_are_checked() {
    let bench = bench();
    assert_eq!(bench.post(&with(&json!({ "limits": { "memory": "64MB" } }))).status, 400);
    assert_eq!(bench.post(&with(&json!({ "requests": { "cpu": "12Q" } }))).status, 400);
}

#[test]
fn the_sixteenth_function_is_400() {
    let bench = bench();
    let statuses: Vec<u16> = (0..16).map(|i| bench.post(&describe(&format!("f{i}"))).status).collect();
    assert_eq!((&statuses[..15], statuses[15]), (&[202; 15][..], 400));
}

#[test]
fn labels_of_paid_scaling_are_400() {
    let bench = bench();
    for (label, value, status) in [
        ("zero", "true", 400),
        ("zero-duration", "1m", 400),
        ("target", "50", 400),
        ("type", "rps", 400),
        ("max", "6", 400),
        ("min", "6", 400),
    ] {
        let labels = json!({ "labels": { format!("com.openfaas.scale.{label}"): value } });
        assert_eq!(bench.post(&with(&labels)).status, status, "{label}");
    }
    let allowed = json!({ "com.openfaas.scale.zero": "false", "com.openfaas.scale.max": "5" });
    assert_eq!(bench.post(&with(&json!({ "labels": allowed }))).status, 202);
}

#[test]
fn replicas_are_clamped_to_1_and_5() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    for (asked, got) in [(9, 5), (0, 1)] {
        let body = json!({ "serviceName": "a", "replicas": asked }).to_string();
        assert_eq!(bench.call("POST", "/system/scale-function/a", body).status, 202);
        wait_until(|| bench.status("a").available_replicas == got);
    }
}

#[test]
fn limits_requests_and_read_only_root_are_kept_and_constraints_are_not() {
    let bench = bench();
    let more = json!({
        "limits": { "memory": "64Mi", "cpu": "500m" },
        "requests": { "memory": "32Mi" },
        "constraints": ["gone"],
        "readOnlyRootFilesystem": true,
    });
    bench.deploy("a", &more);
    let status = bench.status("a");
    assert_eq!(status.limits.unwrap().cpu.as_deref(), Some("500m"));
    assert_eq!(status.requests.unwrap().memory.as_deref(), Some("32Mi"));
    assert!(status.read_only_root_filesystem);
    assert_eq!(support::memory_limit_of(&bench, "a"), Some(67_108_864));
}

#[test]
fn its_own_labels_and_annotations_show() {
    let bench = bench();
    bench.post(&with(&json!({ "labels": { "mine": "1" } })));
    let status = bench.status("a");
    assert_eq!(status.labels["faas_function"], "a");
    assert_eq!(status.labels["mine"], "1");
    assert_eq!(status.annotations["prometheus.io.scrape"], "false");
}

#[test]
fn liveness_kills_what_is_not_healthy_from_the_start() {
    let bench =
        Bench::with(Provider::Kubernetes, |options| options.probe_period = Duration::from_millis(200));
    bench.post(&with(&json!({ "envVars": { "UNHEALTHY": "1" } })));
    assert_eq!(bench.get("/function/a").status, 503);
    let started = || bench.get("/system/logs?name=a").text().matches("listening on").count();
    wait_until(|| started() >= 2);
    assert_eq!(bench.status("a").available_replicas, 0);
}

#[test]
fn a_replica_that_ran_out_of_memory_is_started_again_without_a_call() {
    let bench = bench();
    bench.deploy("a", &json!({ "limits": { "memory": "32Mi" } }));
    assert_eq!(bench.get("/function/a/oom").status, 500);
    bench.wait_for("a");
}
