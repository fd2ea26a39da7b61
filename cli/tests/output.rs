//! What goes to which stream, whatever the verb.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use support::{Place, verbs};

/// Calls of every verb, in an order in which they work. What would reach out is
/// given a Python that is not there, and fails.
const CALLS: &[&[&str]] = &[
    &["inspect", "gcn_cora"],
    &["inspect", "gcn_cora", "--graph"],
    &["inspect", "gcn_cora", "--dot"],
    &["profile", "gcn_cora", "--repeats", "1"],
    &["partition", "gcn_cora", "--min-slices", "2"],
    &["plan", "gcn_cora", "--min-slices", "2", "--explain"],
    &["compare", "gcn_cora", "--max-slices", "3"],
    &["report"],
    &["report", "--bill", "no/bill.json"],
    &["package", "gcn_cora"],
    &["verify", "gcn_cora"],
    &["lock", "gcn_cora"],
    &["diff", "plan.json", "bundle/plan.json"],
    &["diff", "plan.json", "plan.json", "--markdown"],
    &["partition", "gcn_cora", "--strategy", "unsplit", "--locked"],
    &["deploy", "--name", "gcn", "--dry-run"],
    &["deploy", "--name", "gcn"],
    &["invoke", "gcn", "--random"],
    &["status"],
    &["logs", "gcn"],
    &["scale", "gcn", "2"],
    &["serve", "nothing"],
    &["secret", "list", "--gateway", "http://127.0.0.1:1"],
    &["secret", "set", "token", "--from", "no/file", "--gateway", "http://127.0.0.1:1"],
    &["secret", "remove", "token", "--gateway", "http://127.0.0.1:1"],
    &["rollback", "gcn"],
    &["promote", "gcn"],
    &["destroy", "gcn"],
    &["run", "gcn_cora", "--repeats", "1", "--requests", "1", "--no-unsplit"],
    &["cost", "gcn_cora", "--repeats", "1", "--requests", "1", "--min-slices", "2", "--sizes", "1024,1769"],
    &["targets"],
    &["models", "list"],
    &["models", "build", "gcn_cora"],
    &["models", "fetch", "minilm_l6_v2_fp32", "--python", "no/python"],
    &["engine", "list"],
    &["engine", "add", "onnxruntime", "--python", "no/python"],
    &["doctor"],
    &["demo", "gcn_cora"],
    &["completions", "zsh"],
    &["man"],
    &["inspect", "missing.onnx"],
    &["invoke", "gcn"],
    &["rum"],
];

#[test]
fn every_verb_prints_one_json_document() {
    let place = Place::new();
    for call in CALLS {
        let output = place.tranche(call).arg("--json").output().unwrap();
        let documents: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_slice(&output.stdout).into_iter().collect();
        let documents = documents.unwrap_or_else(|error| panic!("{call:?}: {error}"));
        assert_eq!(documents.len(), 1, "{call:?}: {documents:#?}");
        let failed = documents[0].get("error").map(|error| error["exit_code"].clone());
        let code = output.status.code().unwrap();
        assert_eq!(failed.unwrap_or_else(|| 0.into()), code, "{call:?}: {documents:#?}");
    }
}

#[test]
fn the_calls_above_are_of_every_verb() {
    let missing = verbs().into_iter().filter(|verb| {
        // Those with verbs of their own do nothing themselves.
        let own = |call: &&[&str]| call.len() >= verb.len() && verb.iter().zip(*call).all(|(a, b)| a == b);
        !CALLS.iter().any(own)
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<Vec<String>>::new());
}

#[test]
fn only_a_terminal_gets_colours_and_bars() {
    let place = Place::new();
    let calls: [&[&str]; 4] = [
        &["run", "gcn_cora", "--repeats", "1", "--requests", "1", "--no-unsplit"],
        &["doctor"],
        &["inspect", "missing.onnx"],
        &["run", "--no-such-flag"],
    ];
    for call in calls {
        for colours in [None, Some("1")] {
            let mut command = place.tranche(call);
            command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
            colours.map(|value| command.env("NO_COLOR", value));
            let output = command.output().unwrap();
            assert!(!output.stdout.contains(&0x1b), "{call:?}");
            assert!(!output.stderr.contains(&0x1b), "{call:?}");
            assert!(!output.stderr.contains(&b'\r'), "{call:?}");
        }
    }
}

#[test]
fn quiet_says_nothing_but_the_result() {
    let place = Place::new();
    let output = place.tranche(&["profile", "gcn_cora", "--repeats", "1", "--quiet"]).output().unwrap();
    assert!(!output.stdout.is_empty());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
