//! `tranche lock`, and what `--locked` refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use support::{Place, contents};

/// Exit code of what is not as locked.
const NOT_LOCKED: i32 = 41;

/// A place with everything up to a verified bundle of a small network in two slices, and its lock.
fn locked() -> Place {
    let place = Place::new();
    place.json(&["profile", "gcn_cora", "--repeats", "1"]);
    place.json(&["partition", "gcn_cora", "--min-slices", "2"]);
    place.json(&["package", "gcn_cora"]);
    place.json(&["verify", "gcn_cora"]);
    place.json(&["lock", "gcn_cora"]);
    place
}

/// The failure's differences, each as `what: path`.
fn differences(place: &Place, arguments: &[&str]) -> Vec<String> {
    let (code, error) = place.failure(arguments);
    assert_eq!((code, &error["code"]), (NOT_LOCKED, &"lock".into()), "{error}");
    assert!(error["hint"].as_str().is_some());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let differences = error["details"]["differences"].as_array().unwrap();
    for difference in differences {
        let (locked, found) = (word(&difference["locked"]), word(&difference["found"]));
        let message = word(&error["message"]);
        assert!(locked != found && message.contains(&locked) && message.contains(&found), "{error}");
    }
    differences.iter().map(|it| format!("{}: {}", word(&it["what"]), word(&it["path"]))).collect()
}

/// Changes a value of a JSON file.
fn change(place: &Place, file: &str, pointer: &str, value: Value) {
    let text = std::fs::read_to_string(place.path(file)).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    *document.pointer_mut(pointer).unwrap() = value;
    std::fs::write(place.path(file), serde_json::to_string_pretty(&document).unwrap() + "\n").unwrap();
}

#[test]
fn what_is_as_locked_goes_through_every_verb() {
    let place = locked();
    let before = contents(&place.path("bundle"));
    place.json(&["partition", "gcn_cora", "--min-slices", "2", "--locked"]);
    place.json(&["package", "gcn_cora", "--locked"]);
    place.json(&["verify", "gcn_cora", "--locked"]);
    place.json(&["deploy", "--name", "gcn", "--dry-run", "--locked=tranche.lock"]);
    assert_eq!(contents(&place.path("bundle")), before);
    let lock = std::fs::read(place.path("tranche.lock")).unwrap();
    place.json(&["lock", "gcn_cora"]);
    assert_eq!(std::fs::read(place.path("tranche.lock")).unwrap(), lock);
}

#[test]
fn another_plan_is_refused_and_nothing_is_written() {
    let place = locked();
    let before = contents(&place.path("."));
    let other = ["partition", "gcn_cora", "--strategy", "unsplit", "--locked"];
    assert_eq!(differences(&place, &other), ["plan: plan.json"]);
    assert_eq!(contents(&place.path(".")), before);
    place.json(&["partition", "gcn_cora", "--strategy", "unsplit"]);
    assert_eq!(differences(&place, &["package", "gcn_cora", "--locked"]), ["plan: plan.json"]);
    place.json(&["package", "gcn_cora"]);
    place.json(&["verify", "gcn_cora"]);
    let both = ["plan: bundle/plan.json", "bundle: bundle"];
    assert_eq!(differences(&place, &["verify", "gcn_cora", "--locked"]), both);
    assert_eq!(differences(&place, &["deploy", "--dry-run", "--locked"]), both);
}

#[test]
fn another_profile_is_refused() {
    let place = locked();
    change(&place, "profile.json", "/whole/load_ms", 12345.0.into());
    let partition = ["partition", "gcn_cora", "--min-slices", "2", "--locked"];
    assert_eq!(differences(&place, &partition), ["profile: profile.json"]);
}

#[test]
fn another_model_is_refused() {
    let place = locked();
    place.json(&["models", "build", "gat_cora", "-o", "other.onnx"]);
    place.json(&["profile", "gat_cora", "--repeats", "1"]);
    let (code, error) = place.failure(&["partition", "gat_cora", "--locked"]);
    assert_eq!(code, NOT_LOCKED, "{error}");
    let whats: Vec<&str> = error["details"]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["what"].as_str().unwrap())
        .collect();
    assert_eq!(whats, ["model", "profile"]);
    assert!(error["hint"].as_str().unwrap().contains("profile, partition, package"), "{error}");
}

#[test]
fn another_bundle_is_not_put_in_place() {
    let place = locked();
    change(&place, "tranche.lock", "/bundle_digest", format!("sha256:{}", "0".repeat(64)).into());
    let before = contents(&place.path("bundle"));
    assert_eq!(differences(&place, &["package", "gcn_cora", "--locked"]), ["bundle: bundle"]);
    assert_eq!(contents(&place.path("bundle")), before);
    assert_eq!(differences(&place, &["verify", "gcn_cora", "--locked"]), ["bundle: bundle"]);
}

#[test]
fn other_versions_are_refused() {
    let place = locked();
    change(&place, "tranche.lock", "/tranche_version", "0.0.9".into());
    change(&place, "tranche.lock", "/engine_version", "0.0.1".into());
    let found = differences(&place, &["package", "gcn_cora", "--locked"]);
    assert_eq!(found, ["tranche-version: ", "engine-version: "]);
    change(&place, "tranche.lock", "/engine", "onnxruntime".into());
    let found = differences(&place, &["deploy", "--dry-run", "--locked"]);
    assert_eq!(found, ["tranche-version: ", "engine: "]);
}

#[test]
fn files_that_were_not_made_from_each_other_are_not_locked() {
    let place = locked();
    std::fs::remove_file(place.path("tranche.lock")).unwrap();
    place.json(&["partition", "gcn_cora", "--strategy", "unsplit"]);
    let (code, error) = place.failure(&["lock", "gcn_cora"]);
    assert_eq!(code, 20, "{error}");
    assert!(error["message"].as_str().unwrap().starts_with("bundle was made from"), "{error}");
    let (code, error) = place.failure(&["lock", "gat_cora"]);
    assert_eq!(code, 20, "{error}");
    assert!(!place.path("tranche.lock").exists());
}

#[test]
fn a_lock_file_that_is_missing_or_none_is_an_error() {
    let place = Place::new();
    let (code, error) = place.failure(&["partition", "gcn_cora", "--locked"]);
    assert_eq!(code, 2, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("tranche lock"), "{error}");
    std::fs::write(place.path("own.lock"), "{}").unwrap();
    let (code, error) = place.failure(&["partition", "gcn_cora", "--locked=own.lock"]);
    assert_eq!(code, 20, "{error}");
}

#[test]
fn a_locked_run_measures_and_plans_nothing() {
    let place = Place::new();
    let run = ["run", "gcn_cora", "--repeats", "1", "--requests", "1", "--min-slices", "2", "--work", "work"];
    place.json(&[&run[..], &["--no-unsplit"]].concat());
    let files = ["--profile", "work/profile.json", "--plan", "work/plan.json", "--bundle", "work/bundle"];
    place.json(&[&["lock", "gcn_cora"], &files[..]].concat());
    let before = contents(&place.path("work"));
    let locked = ["run", "gcn_cora", "--requests", "1", "--work", "work", "--no-unsplit", "--locked"];
    let report = place.json(&locked);
    assert!(report["slices"].as_u64().unwrap() >= 2);
    let after = contents(&place.path("work"));
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    change(&place, "work/profile.json", "/whole/load_ms", 12345.0.into());
    assert_eq!(differences(&place, &locked), ["profile: work/profile.json"]);
}
