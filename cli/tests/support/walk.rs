//! From models to bundles, and answers beside the whole model's.

use super::Place;
use serde_json::Value;
use tranche_schema::{Document as _, Plan};

/// From a model to a verified bundle.
pub fn package(place: &Place, model: &str, cuts: &[&str]) {
    if !place.path("profile.json").exists() {
        place.json(&["profile", model, "--repeats", "1"]);
    }
    let partition: Vec<&str> = ["partition", model].iter().chain(cuts).copied().collect();
    place.json(&partition);
    place.json(&["package", model]);
    place.json(&["verify", model]);
}

/// The outputs in a file are what the whole model gives for the same random inputs.
pub fn assert_same_as_whole(place: &Place, model: &str, outputs: &str) {
    assert_same_as_whole_within(place, model, outputs, 1e-5);
}

/// The same but for `tolerance` of the outputs' scale.
pub fn assert_same_as_whole_within(place: &Place, model: &str, outputs: &str, tolerance: f64) {
    let run = ["run", model, "--strategy", "unsplit", "--repeats", "1", "--requests", "1", "--no-unsplit"];
    place.json(&[&run[..], &["--name", "whole", "--output", "whole.npz"]].concat());
    assert_same(place, outputs, "whole.npz", tolerance);
}

/// Two files hold the model's outputs with the same values, but for `tolerance` of their scale.
pub fn assert_same(place: &Place, left: &str, right: &str, tolerance: f64) {
    let plan = Plan::read(&place.path("plan.json")).unwrap();
    let tensors = |name: &str| {
        let file = place.path(name).display().to_string();
        let mut tensors = tranche_cli::tensor_files::read_tensors(&file, &plan.outputs).unwrap();
        tensors.sort_by(|(left, _), (right, _)| left.cmp(right));
        tensors
    };
    let (left, right) = (tensors(left), tensors(right));
    assert_eq!((left.len(), right.len()), (plan.outputs.len(), plan.outputs.len()));
    for ((name, left), (_, right)) in left.iter().zip(&right) {
        let found = tranche_engine::compare(right, left).unwrap();
        assert!(found.max_relative <= tolerance, "{name} differs by {}", found.max_relative);
    }
}

/// A manual strategy with two slices of one layer each, of which the later one reads
/// nothing of the earlier.
pub fn parallel_cuts(place: &Place, model: &str) -> String {
    let profile = place.json(&["profile", model, "--repeats", "1"]);
    let layers: Vec<&str> =
        profile["layers"].as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    layers
        .windows(3)
        .map(|cuts| format!("manual={}", cuts.join(",")))
        .find(|strategy| {
            let output = place.tranche(&["partition", model, "--strategy", strategy, "--json"]).output();
            let plan: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
            let names = |of: &str, slice: usize| -> Vec<String> {
                let tensors = plan["slices"][slice][of].as_array();
                tensors.into_iter().flatten().map(|tensor| tensor["name"].to_string()).collect()
            };
            let (made, read) = (names("outputs", 1), names("inputs", 2));
            !made.is_empty() && !read.is_empty() && made.iter().all(|name| !read.contains(name))
        })
        .expect("no two layers side by side")
}
