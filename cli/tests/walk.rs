//! The whole way through the real program, on small real models.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::{Place, contents};

#[test]
fn run_answers_as_the_whole_model_does() {
    let place = Place::new();
    let report = place.json(&["run", "gcn_cora", "--min-slices", "2", "--requests", "2"]);
    assert!(report["slices"].as_u64().unwrap() >= 2);
    assert_eq!(report["bit_identical"], true);
    assert!(report["bill"]["memory_time"].as_f64().unwrap() > 0.0);
    assert!(report["unsplit_bill"]["memory_time"].as_f64().unwrap() > 0.0);
    assert_eq!(place.json(&["status"]), serde_json::json!([]));
}

#[test]
fn verbs_one_after_the_other_do_what_run_does() {
    let place = Place::new();
    let plan = package(&place);
    assert!(plan["slices"].as_array().unwrap().len() >= 2);
    let record = place.json(&["verify", "gat_cora"]);
    assert_eq!(record["passed"], true);
    assert_eq!(place.json(&["deploy", "--name", "gat", "--dry-run"])["deployment"], "gat");
    place.json(&["deploy", "--name", "gat"]);
    let answer = place.json(&["invoke", "gat", "--random", "--repeat", "2", "--output", "answer.npz"]);
    assert_eq!(answer["bill"]["requests"], 2);
    assert!(place.path("answer.npz").is_file());
    assert_eq!(place.json(&["status", "gat"])[0]["phase"], "running");
    assert!(!place.json(&["logs", "gat"]).as_array().unwrap().is_empty());
    place.json(&["destroy", "gat"]);
    assert_eq!(place.json(&["status"]), serde_json::json!([]));
}

#[test]
fn a_second_deploy_changes_nothing() {
    let place = Place::new();
    package(&place);
    place.json(&["verify", "gat_cora"]);
    let first = place.json(&["deploy", "--name", "twice"]);
    let pending = place.tranche(&["deploy", "--name", "twice", "--dry-run", "--detailed-exitcode"]).output();
    let second = place.json(&["deploy", "--name", "twice"]);
    place.json(&["destroy", "twice"]);
    assert_eq!(pending.unwrap().status.code(), Some(0));
    assert_eq!(first["local"]["process_id"], second["local"]["process_id"]);
}

#[test]
fn an_unverified_bundle_is_refused() {
    let place = Place::new();
    package(&place);
    let (_, error) = place.failure(&["deploy", "--name", "unverified"]);
    assert!(error["message"].as_str().unwrap().contains("verif"), "{error}");
    place.json(&["deploy", "--name", "unverified", "--allow-unverified"]);
    place.json(&["destroy", "unverified"]);
}

#[test]
fn the_same_plan_gives_the_same_bundle() {
    let place = Place::new();
    package(&place);
    place.json(&["package", "gat_cora", "--output", "again"]);
    assert_eq!(contents(&place.path("bundle")), contents(&place.path("again")));
}

#[test]
fn another_model_is_no_model_of_the_plan() {
    let place = Place::new();
    package(&place);
    let (code, error) = place.failure(&["package", "gcn_cora"]);
    assert_eq!(code, 20, "{error}");
    assert!(error["hint"].as_str().is_some());
}

#[test]
fn constraints_that_no_plan_satisfies_end_with_their_own_code() {
    let place = Place::new();
    place.json(&["profile", "gcn_cora"]);
    let (code, error) = place.failure(&["partition", "gcn_cora", "--max-memory", "1"]);
    assert_eq!(code, 30, "{error}");
}

/// Profiles, partitions and packages the attention network in two slices or more.
fn package(place: &Place) -> serde_json::Value {
    place.json(&["profile", "gat_cora", "--repeats", "2"]);
    let plan = place.json(&["partition", "gat_cora", "--min-slices", "2"]);
    place.json(&["package", "gat_cora"]);
    plan
}
