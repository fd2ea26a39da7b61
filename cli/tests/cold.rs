//! Functions that start with their first request, through the real program and on a real model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use support::Place;

/// A deployment of two slices or more that is destroyed at the end, also of a failed test.
struct Deployed {
    place: Place,
}

impl Deployed {
    fn new(extra: &[&str]) -> Self {
        let place = Place::new();
        place.json(&["profile", "gcn_cora", "--repeats", "1"]);
        place.json(&["partition", "gcn_cora", "--min-slices", "2"]);
        place.json(&["package", "gcn_cora"]);
        place.json(&[&["deploy", "--name", "gcn", "--allow-unverified"], extra].concat());
        Self { place }
    }

    /// What each function is doing.
    fn states(&self) -> Vec<String> {
        let status = self.place.json(&["status", "gcn"]);
        let functions = status[0]["functions"].as_array().unwrap().clone();
        functions.iter().map(|function| function["state"].as_str().unwrap().to_owned()).collect()
    }

    /// The slices' parts of a request's bill.
    fn invoke(&self, extra: &[&str]) -> Vec<Value> {
        let answer = self.place.json(&[&["invoke", "gcn", "--random"], extra].concat());
        answer["bill"]["slices"].as_array().unwrap().iter().map(|slice| slice["measured"].clone()).collect()
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let _ = self.place.tranche(&["destroy", "gcn"]).output();
    }
}

fn is_cold(measured: &Value) -> bool {
    let told = measured["start_up_ms"].as_f64().is_some_and(|taken| taken > 0.0);
    assert_eq!(measured["cold"] == true, told, "{measured}");
    told
}

#[test]
fn slices_start_with_the_first_request_and_its_bill_tells() {
    let deployed = Deployed::new(&["--scale-to-zero", "0"]);
    assert!(deployed.states().iter().all(|state| state == "idle"));
    for overlap in ["auto", "never"] {
        assert!(deployed.invoke(&["--overlap", overlap]).iter().all(is_cold));
        assert!(!deployed.invoke(&[]).iter().any(is_cold));
        deployed.place.json(&["scale", "gcn", "0"]);
        assert!(deployed.states().iter().all(|state| state == "idle"), "{:?}", deployed.states());
    }
}

#[test]
fn a_killed_function_starts_again_for_whoever_asks() {
    let deployed = Deployed::new(&["--scale-to-zero", "0"]);
    deployed.place.json(&["scale", "gcn", "1"]);
    let status = deployed.place.json(&["status", "gcn"]);
    let process = status[0]["functions"][1]["process_id"].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &process]).status().unwrap().success());
    let slices = deployed.invoke(&[]);
    assert!(is_cold(&slices[1]), "{slices:?}");
}

#[test]
fn only_the_local_target_is_told_when_to_stop_functions() {
    let deployed = Deployed::new(&[]);
    let (code, error) =
        deployed.place.failure(&["deploy", "--target", "openfaas", "--scale-to-zero", "60", "--emit", "out"]);
    assert_eq!(code, 2, "{error}");
    assert!(error["message"].as_str().unwrap().contains("--scale-to-zero"), "{error}");
    let (_, error) = deployed.place.failure(&["scale", "gcn", "0"]);
    assert!(error["message"].as_str().unwrap().contains("--scale-to-zero"), "{error}");
}
