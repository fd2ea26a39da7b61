//! The rows of the facts' table for faasd, and its traps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use serde_json::json;
use std::time::Duration;
use support::{Bench, describe, function_program, wait_until};
use tranche_gateway_double::Provider;

fn bench() -> Bench {
    Bench::new(Provider::Faasd)
}

#[test]
fn post_answers_200_once_it_runs() {
    let bench = bench();
    assert_eq!(bench.post(&describe("a")).status, 200);
    let status = bench.status("a");
    assert_eq!((status.replicas, status.available_replicas), (1, 1));
    assert_eq!((&*status.name, &*status.image, &*status.namespace), ("a", support::IMAGE, "openfaas-fn"));
}

#[test]
fn post_of_an_existing_name_is_400() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    assert_eq!(bench.post(&describe("a")).status, 400);
}

#[test]
fn post_with_a_bad_image_json_secret_or_namespace_is_400() {
    let bench = bench();
    let wrong = [
        json!({ "service": "a", "image": "nowhere:1" }),
        json!({ "service": "a", "image": support::IMAGE, "secrets": ["none"] }),
        json!({ "service": "a", "image": support::IMAGE, "namespace": "other" }),
    ];
    assert_eq!(wrong.each_ref().map(|one| bench.post(one).status), [400; 3]);
    assert_eq!(bench.call("POST", "/system/functions", "{").status, 400);
    assert_eq!(bench.get("/system/functions").text(), "[]");
}

#[test]
fn put_of_an_unknown_name_is_404() {
    assert_eq!(bench().put(&describe("a")).status, 404);
}

#[test]
fn put_removes_then_creates_and_answers_200() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let before = bench.get("/function/a/env").text();
    let update = json!({ "service": "a", "image": "function:2", "envVars": { "NEW": "1" } });
    assert_eq!(bench.put(&update).status, 200);
    bench.wait_for("a");
    let after = bench.get("/function/a/env").text();
    assert!(after.contains("NEW=1\n") && !before.contains("NEW=1\n"));
    assert_eq!(bench.status("a").image, "function:2");
}

#[test]
fn put_with_a_bad_image_answers_500_and_leaves_no_function() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    assert_eq!(bench.put(&json!({ "service": "a", "image": "nowhere:1" })).status, 500);
    assert_eq!(bench.get("/system/function/a").status, 404);
}

#[test]
fn delete_is_200_and_of_an_unknown_name_404() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    assert_eq!(bench.delete("a").status, 200);
    assert_eq!(bench.delete("a").status, 404);
    assert_eq!(bench.get("/function/a").status, 404);
}

#[test]
fn any_name_passes() {
    let bench = bench();
    bench.deploy("Slice_A", &json!({}));
    assert_eq!(bench.get("/function/Slice_A").status, 200);
}

#[test]
fn memory_with_an_unknown_suffix_is_accepted_and_not_limited() {
    let bench = bench();
    let limited = json!({ "service": "a", "image": support::IMAGE, "limits": { "memory": "64MB" } });
    assert_eq!(bench.post(&limited).status, 200);
    assert_eq!(support::memory_limit_of(&bench, "a"), None);
}

#[test]
fn memory_as_a_quantity_is_enforced() {
    let bench = bench();
    bench.deploy("a", &json!({ "limits": { "memory": "64Mi" } }));
    assert_eq!(support::memory_limit_of(&bench, "a"), Some(67_108_864));
}

#[test]
fn cpu_requests_read_only_root_constraints_and_gpus_are_ignored() {
    let bench = bench();
    let more = json!({
        "limits": { "memory": "64Mi", "cpu": "100m", "nvidia.com/gpu": "1" },
        "requests": { "memory": "32Mi" },
        "constraints": ["node.role == worker"],
        "readOnlyRootFilesystem": true,
    });
    bench.deploy("a", &more);
    let status = bench.status("a");
    assert_eq!(status.limits.unwrap().cpu, None);
    assert_eq!((status.requests, status.read_only_root_filesystem), (None, false));
}

#[test]
fn scaling_is_200_and_keeps_one_replica() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    let scaled = bench.call("POST", "/system/scale-function/a", r#"{"serviceName":"a","replicas":4}"#);
    assert_eq!((scaled.status, bench.status("a").available_replicas), (200, 1));
    assert_eq!(bench.call("POST", "/system/scale-function/b", r#"{"replicas":1}"#).status, 404);
}

#[test]
fn more_than_15_functions_are_taken() {
    let bench = bench();
    let statuses: Vec<u16> = (0..16).map(|i| bench.post(&describe(&format!("f{i}"))).status).collect();
    assert_eq!(statuses, [200; 16]);
}

/// Trap 3: process 1 gets no signal that it does not handle.
#[test]
fn delete_of_a_function_without_a_handler_waits_then_is_500_and_works_the_second_time() {
    let bench = Bench::with(Provider::Faasd, |options| options.grace_period = Duration::from_millis(300));
    bench.deploy("a", &json!({ "envVars": { "NO_SIGTERM": "1" } }));
    assert_eq!(bench.delete("a").status, 500);
    assert_eq!(bench.delete("a").status, 200);
}

/// Trap 4: the network goes before the task.
#[test]
fn calls_in_flight_get_no_reply_when_their_function_is_deleted() {
    let bench = Bench::with(Provider::Faasd, |options| options.upstream_timeout = Duration::from_secs(3));
    bench.deploy("a", &json!({}));
    assert_eq!(cut_by(&bench, |bench| bench.delete("a").status), (200, 0));
}

/// Trap 4, its second half.
#[test]
fn calls_in_flight_get_no_reply_when_their_function_is_updated() {
    let bench = Bench::with(Provider::Faasd, |options| options.upstream_timeout = Duration::from_secs(3));
    bench.deploy("a", &json!({}));
    assert_eq!(cut_by(&bench, |bench| bench.put(&describe("a")).status), (200, 0));
    bench.wait_for("a");
}

/// The status of the change, and of a call that was in flight meanwhile.
fn cut_by(bench: &Bench, change: impl FnOnce(&Bench) -> u16) -> (u16, u16) {
    std::thread::scope(|scope| {
        let call = scope.spawn(|| bench.get("/function/a/slow?1000").status);
        std::thread::sleep(Duration::from_millis(400));
        (change(bench), call.join().unwrap())
    })
}

/// Trap 5.
#[test]
fn out_of_memory_is_500_then_one_more_500_then_it_runs_again() {
    let bench = bench();
    bench.deploy("a", &json!({ "limits": { "memory": "32Mi" } }));
    let killed = bench.get("/function/a/oom");
    assert_eq!((killed.status, &*killed.text()), (500, "Can't reach service for: a."));
    wait_until(|| bench.status("a").available_replicas == 0);
    assert_eq!(bench.get("/function/a").status, 500);
    bench.wait_for("a");
}

/// Trap 8: a registry is needed at every deploy.
#[test]
fn images_are_pulled_at_every_deploy() {
    let bench = bench();
    bench.deploy("a", &json!({}));
    bench.delete("a");
    bench.commands.remove(support::IMAGE);
    assert_eq!(bench.post(&describe("a")).status, 400);
    bench.commands.add(support::IMAGE, [function_program()]);
    assert_eq!(bench.post(&describe("a")).status, 200);
}

#[test]
fn logs_are_empty_without_journald() {
    let bench = Bench::with(Provider::Faasd, |options| options.journald = false);
    bench.deploy("a", &json!({}));
    let logs = bench.get("/system/logs?name=a");
    assert_eq!((logs.status, &*logs.text()), (200, ""));
}
