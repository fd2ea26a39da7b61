//! The whole way to AWS Lambda through the real program: real packages, run by an emulator of the
//! AWS API behind the real calls.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod lambda_support;
mod support;

use lambda_support::Account;
use serde_json::{Value, json};
use support::walk::parallel_cuts;

#[test]
fn a_chain_of_slices_answers_as_the_whole_and_goes_without_a_trace() {
    let account = Account::start();
    let before = account.inventory();
    account.package("gcn_cora", &["--min-slices", "2"]);
    let deployed = account.deploy(&[]);
    assert!(deployed["functions"].as_array().unwrap().len() >= 2, "{deployed}");
    let answer = account.assert_answer("gcn_cora", &[]);
    assert_eq!(answer["bill"]["slices"][0]["attempts"], 1, "{answer}");

    let pending = account.deploy(&["--dry-run"]);
    assert_eq!(pending["changes"], json!([]), "{pending}");
    let again = account.deploy(&[]);
    assert_eq!(again["lambda"], deployed["lambda"], "a second deploy changes nothing");

    let status = account.json(&["status", "model"]);
    assert_eq!(status[0]["phase"], "running", "{status}");
    let logs = account.json(&["logs", "model"]);
    assert!(!logs[0]["lines"].as_array().unwrap().is_empty(), "{logs}");
    account.json(&["destroy", "model"]);
    assert_eq!(account.inventory(), before);
    assert_eq!(account.json(&["status"]), json!([]));
}

/// Two slices that read the same tensors and do not wait for each other; every way to walk them.
#[test]
fn every_way_to_walk_parallel_branches_gives_the_same() {
    let account = Account::start();
    let before = account.inventory();
    let cuts = parallel_cuts(&account.place, "inception_v3");
    account.package("inception_v3", &["--strategy", &cuts]);
    account.deploy(&["--store", "--step-functions", "--entry"]);
    for via in ["driver", "step-functions", "hand-on", "entry"] {
        account.assert_answer("inception_v3", &["--via", via]);
    }
    account.json(&["destroy", "model"]);
    assert_eq!(account.inventory(), before);
}

#[test]
fn a_version_that_does_not_load_is_rolled_back() {
    let account = Account::start();
    account.package("gcn_cora", &["--min-slices", "2"]);
    let deployed = account.deploy(&[]);
    // No slice loads that small a time, and no shim starts from this.
    let broken = account.path("broken");
    std::fs::copy("/bin/false", &broken).unwrap();
    let shim = broken.display().to_string();
    let (code, error) = account.failure(&[
        "deploy",
        "--target",
        "lambda",
        "--name",
        "model",
        "--shim",
        &shim,
        "--ready-deadline",
        "20",
    ]);
    assert_ne!(code, 0, "{error}");
    account.assert_answer("gcn_cora", &[]);
    assert_eq!(account.json(&["status", "model"])[0]["phase"], "running");
    assert_eq!(account.deploy(&[])["lambda"]["functions"], deployed["lambda"]["functions"]);
    account.json(&["destroy", "model"]);
}

#[test]
fn a_canary_is_promoted_and_rolled_back() {
    let account = Account::start();
    account.package("gcn_cora", &["--min-slices", "2"]);
    let first = account.deploy(&[]);
    let versions = |deployment: &Value| -> Vec<Value> {
        let functions = deployment["lambda"]["functions"].as_array().unwrap();
        functions.iter().map(|function| function["version"].clone()).collect()
    };
    account.deploy(&["--function-timeout", "90", "--canary", "10%"]);
    account.assert_answer("gcn_cora", &[]);
    let promoted = account.json(&["promote", "model"]);
    assert_ne!(versions(&promoted), versions(&first));
    account.assert_answer("gcn_cora", &[]);
    let back = account.json(&["rollback", "model"]);
    assert_eq!(versions(&back), versions(&first));
    account.assert_answer("gcn_cora", &[]);
    account.json(&["destroy", "model"]);
}

#[test]
fn what_lambda_would_refuse_is_refused_before_anything_is_sent() {
    let account = Account::start();
    account.package("gcn_cora", &["--min-slices", "2"]);
    let before = account.inventory();
    for (flags, word) in [
        (["--memory", "20000"], "memory"),
        (["--function-timeout", "901"], "timeout"),
        (["--ephemeral-storage", "40000"], "storage"),
    ] {
        let deploy = ["deploy", "--target", "lambda", "--name", "model"];
        let (code, error) = account.failure(&[&deploy[..], &flags[..]].concat());
        assert_eq!(code, 30, "{error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert_eq!(account.inventory(), before);
}

#[test]
fn emitted_files_need_no_account() {
    let account = Account::start();
    account.package("gcn_cora", &["--min-slices", "2"]);
    account
        .place
        .json(&["deploy", "--target", "lambda", "--name", "model", "--emit", "out", "--bucket", "tensors"]);
    for (tool, file) in [("cfn-lint", "template.yaml"), ("statelint", "state-machine.asl.json")] {
        let output = std::process::Command::new(tranche_aws_peers::python_tool(tool))
            .arg(account.path("out").join(file))
            .output()
            .unwrap();
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(account.path("out/policies/deployer.json").is_file());
}

#[test]
fn the_doctor_names_the_account_and_the_policy() {
    let account = Account::start();
    let findings = account.json(&["doctor", "--target", "lambda"]);
    let checks = findings["lambda"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["message"].to_string().contains("000000000000")), "{findings}");
    assert!(findings["policy"].to_string().contains("lambda:CreateFunction"), "{findings}");
}
