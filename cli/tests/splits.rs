//! Layers that run as parts at once, through the real program and on a real model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use support::{Place, walk};
use tranche_schema::{Document as _, Plan};

const MODEL: &str = "mobilenet_v2";

/// A deployment that is destroyed at the end, also of a failed test.
struct Deployed(Place);

impl Drop for Deployed {
    fn drop(&mut self) {
        let _ = self.0.tranche(&["destroy", "--all"]).output();
    }
}

/// Profiled, planned for the least latency with parts, packaged and verified.
fn split() -> (Deployed, Plan) {
    let place = Place::new();
    walk::package(&place, MODEL, &["--strategy", "gillis", "--max-parts", "2", "--max-slices", "8"]);
    let plan = Plan::read(&place.path("plan.json")).unwrap();
    assert!(!plan.splits.is_empty(), "nothing is split: {:?}", plan.notes);
    (Deployed(place), plan)
}

#[test]
fn parts_answer_as_the_whole_model_does() {
    let (deployed, plan) = split();
    let place = &deployed.0;
    place.json(&["deploy", "--name", "split"]);
    let answer = place.json(&["invoke", "split", "--random", "--output", "split.npz"]);
    let billed: Vec<&Value> = answer["bill"]["slices"].as_array().unwrap().iter().collect();
    assert_eq!(billed.len(), plan.slices.len());
    walk::assert_same_as_whole(place, MODEL, "split.npz");
}

#[test]
fn a_part_that_is_killed_is_called_again_alone() {
    let (deployed, plan) = split();
    let place = &deployed.0;
    place.json(&["deploy", "--name", "split"]);
    let part = plan.slices.iter().position(|slice| slice.reason.starts_with("part ")).unwrap();
    let status = place.json(&["status", "split"]);
    let process = status[0]["functions"][part]["process_id"].as_u64().unwrap();
    assert!(
        std::process::Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success()
    );
    let answer = place.json(&["invoke", "split", "--random", "--output", "split.npz"]);
    let attempts: Vec<u64> = answer["bill"]["slices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slice| slice["attempts"].as_u64().unwrap())
        .collect();
    // Where it was started anew before it was called, nothing had to be tried again.
    assert!(
        attempts.iter().enumerate().all(|(slice, &attempts)| attempts == 1 || slice == part),
        "{attempts:?}"
    );
    walk::assert_same_as_whole(place, MODEL, "split.npz");
}

#[test]
fn a_plan_says_what_is_split() {
    let (deployed, plan) = split();
    let asked = ["plan", MODEL, "--strategy", "gillis", "--max-parts", "2", "--max-slices", "8"];
    let output = deployed.0.tranche(&asked).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nSplit\n"), "{text}");
    for split in &plan.splits {
        assert!(text.contains(&format!("`{}`", split.layers[0])), "{text}");
    }
    deployed.0.json(&["report", "plan.json", "--output", "report.html"]);
    assert!(std::fs::read_to_string(deployed.0.path("report.html")).unwrap().contains("<svg"));
}

/// One function of two CPUs, with parts as models in it.
#[test]
fn parts_in_one_function_answer_as_the_whole_model_does() {
    let place = Place::new();
    let cuts = ["--strategy", "gillis", "--max-parts", "2", "--max-slices", "1", "--cpu", "2"];
    walk::package(&place, MODEL, &cuts);
    let plan = Plan::read(&place.path("plan.json")).unwrap();
    assert!(plan.slices.len() == 1 && !plan.is_whole(), "{:?}", plan.notes);
    let deployed = Deployed(place);
    let place = &deployed.0;
    // However many CPUs there are to hold it to.
    place.json(&["deploy", "--name", "together", "--no-limits"]);
    place.json(&["invoke", "together", "--random", "--output", "together.npz"]);
    walk::assert_same_as_whole(place, MODEL, "together.npz");
}
