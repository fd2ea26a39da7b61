//! The whole way to OpenFaaS through the real program: real images, pushed to a real
//! registry, pulled and run behind a gateway double of either provider.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod openfaas_support;
mod support;

use openfaas_support::Platform;
use serde_json::Value;
use tranche_gateway_double::Provider;

/// A deployment comes up, answers as the whole model does, is left alone by a second
/// deploy, and goes without a trace.
fn answers_as_the_whole(platform: &Platform, model: &str, cuts: &[&str]) {
    platform.package(model, cuts);
    let deployed = platform.deploy(&["--front-door", "--gateway-inside", platform.gateway()]);
    assert!(deployed["functions"].as_array().unwrap().len() >= 2, "{deployed}");
    platform.assert_answer(model);
    platform.assert_front_door();

    let changes = platform.changing_calls();
    let pending = platform.deploy(&["--front-door", "--gateway-inside", platform.gateway(), "--dry-run"]);
    assert_eq!(pending["changes"], Value::Array(vec![]), "{pending}");
    platform.deploy(&["--front-door", "--gateway-inside", platform.gateway()]);
    assert_eq!(platform.changing_calls(), changes, "a second deploy changes nothing");

    let status = platform.json(&["status", "model"]);
    assert_eq!(status[0]["phase"], "running", "{status}");
    assert!(!platform.json(&["logs", "model"]).as_array().unwrap().is_empty());
    platform.json(&["destroy", "model"]);
    assert_eq!(platform.functions(), Vec::<String>::new());
    assert_eq!(platform.json(&["status"]), serde_json::json!([]));
}

#[test]
fn a_chain_of_slices_on_faasd() {
    answers_as_the_whole(&Platform::start(Provider::Faasd), "gcn_cora", &["--min-slices", "2"]);
}

/// Two slices that read the same tensors and do not wait for each other.
#[test]
fn a_plan_with_parallel_branches_on_kubernetes() {
    let platform = Platform::start(Provider::Kubernetes);
    let cuts = platform.parallel_cuts("inception_v3");
    answers_as_the_whole(&platform, "inception_v3", &["--strategy", &cuts]);
}

#[test]
fn slices_hand_a_request_on_by_themselves() {
    let platform = Platform::start(Provider::Faasd);
    platform.package("gcn_cora", &["--min-slices", "2"]);
    platform.deploy(&["--continue-to", platform.gateway(), "--continue-to", "http://127.0.0.1"]);
    platform.assert_answer_of("gcn_cora", &["--via", "hand-on"]);
    platform.json(&["destroy", "model"]);
}

#[test]
fn a_new_generation_replaces_the_old_one() {
    let platform = Platform::start(Provider::Faasd);
    platform.package("gcn_cora", &["--min-slices", "2"]);
    platform.deploy(&[]);
    let before = platform.functions();
    let update = platform.deploy(&["--max-in-flight", "3", "--dry-run"]);
    assert!(!update["changes"].as_array().unwrap().is_empty(), "{update}");
    platform.deploy(&["--max-in-flight", "3"]);
    let after = platform.functions();
    assert_eq!(before.len(), after.len());
    assert!(before.iter().all(|name| !after.contains(name)), "{before:?} {after:?}");
    platform.assert_answer("gcn_cora");
    platform.json(&["destroy", "model"]);
}

#[test]
fn a_wrong_password_is_an_error_that_never_shows_it() {
    let platform = Platform::start(Provider::Faasd);
    platform.package("gcn_cora", &["--min-slices", "2"]);
    let (code, error) = platform.refused("not-the-password");
    assert_eq!(code, 50, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("PASSWORD"), "{error}");
    assert!(!error.to_string().contains("not-the-password"), "{error}");
    assert_eq!(platform.functions(), Vec::<String>::new());
}

#[test]
fn without_a_registry_the_flag_is_named() {
    let platform = Platform::start(Provider::Faasd);
    platform.package("gcn_cora", &["--min-slices", "2"]);
    let arguments = ["deploy", "--target", "openfaas", "--gateway", platform.gateway()];
    let output = platform.tranche(&arguments).env_remove("TRANCHE_REGISTRY").arg("--json").output().unwrap();
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error["error"]["hint"].as_str().unwrap().contains("--registry"), "{error}");
}

#[test]
fn emitted_files_need_no_gateway() {
    let platform = Platform::start(Provider::Faasd);
    platform.package("gcn_cora", &["--min-slices", "2"]);
    platform.forget_calls();
    platform.deploy(&["--emit", "out", "--oci-archive", "images.tar"]);
    let stack = std::fs::read_to_string(platform.path("out/stack.yaml")).unwrap();
    assert!(stack.contains("skip_build: true") && stack.contains("@sha256:"), "{stack}");
    let functions: Value =
        serde_json::from_slice(&std::fs::read(platform.path("out/functions.json")).unwrap()).unwrap();
    assert!(functions.as_array().unwrap().len() >= 2);
    assert!(platform.path("out/template/tranche/template.yml").is_file());
    assert!(platform.path("images.tar").is_file());
    assert_eq!(platform.calls(), 0);
}

#[test]
fn the_doctor_looks_at_the_gateway() {
    let platform = Platform::start(Provider::Kubernetes);
    let findings = platform.json(&["doctor", "--target", "openfaas", "--gateway", platform.gateway()]);
    let checks = findings["openfaas"].as_array().unwrap();
    assert!(checks.len() >= 4 && checks.iter().all(|check| check["ok"] == true), "{findings}");
}

#[test]
fn secrets_are_set_listed_and_removed() {
    let platform = Platform::start(Provider::Faasd);
    std::fs::write(platform.path("token.txt"), "s3cret\n").unwrap();
    let gateway = platform.gateway();
    platform.json(&["secret", "set", "token", "--from", "token.txt", "--gateway", gateway]);
    assert_eq!(platform.json(&["secret", "list", "--gateway", gateway]), serde_json::json!(["token"]));
    platform.json(&["secret", "remove", "token", "--gateway", gateway]);
    assert_eq!(platform.json(&["secret", "list", "--gateway", gateway]), serde_json::json!([]));
}
