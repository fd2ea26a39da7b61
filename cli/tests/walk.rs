//! The whole way through the real program, on small real models.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::{Place, contents};
use tranche_cli::tensor_files::write_tensors;
use tranche_schema::{Accuracy, Channel, Codec, Document as _, Edge, ElementType, Plan, Tensor, TensorSpec};

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

/// A bundle whose tensors between slices travel in eight bits, where outputs may be moved so far.
fn lossy(place: &Place, bound: f64) {
    package(place);
    let mut plan = Plan::read(&place.path("plan.json")).unwrap();
    plan.constraints.lossy = Some(Codec::Int8);
    plan.constraints.accuracy = Some(Accuracy::MaxRelative(bound));
    let floats = |edge: &&mut Edge| edge.from.is_some() && edge.tensor.element_type == ElementType::Float32;
    for edge in plan.edges.iter_mut().filter(floats) {
        (edge.codec, edge.channel) = (Codec::Int8, Channel::Inline);
    }
    plan.write(&place.path("plan.json")).unwrap();
    place.json(&["package", "gat_cora"]);
}

#[test]
fn what_lossy_codecs_do_is_verified_and_served() {
    let place = Place::new();
    lossy(&place, 0.5);
    let record = place.json(&["verify", "gat_cora"]);
    let found = record["accuracy"]["found"].as_f64().unwrap();
    assert!(found > 1e-6 && found < 0.5, "{record}");
    place.json(&["deploy", "--name", "lossy"]);
    place.json(&["invoke", "lossy", "--random", "--output", "lossy.npz"]);
    support::walk::assert_same_as_whole_within(&place, "gat_cora", "lossy.npz", 1.5 * found);
    place.json(&["destroy", "lossy"]);
}

#[test]
fn a_lossy_codec_that_moves_outputs_too_far_is_a_mismatch() {
    let place = Place::new();
    lossy(&place, 1e-9);
    let (code, error) = place.failure(&["verify", "gat_cora"]);
    assert_eq!((code, error["code"].as_str()), (40, Some("verify")));
    assert!(
        error["message"].as_str().unwrap().starts_with("lossy codecs move the outputs too far"),
        "{error}"
    );
    let (code, _) = place.failure(&["deploy", "--name", "lossy"]);
    assert_ne!(code, 0);
}

#[test]
fn what_nobody_could_mean_is_refused() {
    let place = Place::new();
    for wrong in
        [&["--lossy", "zstd"][..], &["--accuracy", "top-1=1"], &["--lossy", "f16", "--accuracy", "top-1=7"]]
    {
        let (code, _) = place.failure(&[&["partition", "gat_cora"], wrong].concat());
        assert_eq!(code, 2, "{wrong:?}");
    }
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

#[test]
fn inputs_come_out_of_every_kind_of_file() {
    let place = Place::new();
    let shapes = ["--dim", "V=20", "--dim", "E=30", "--range", "edge_index=20"];
    place.json(&[&["profile", "gcn_cora", "--repeats", "1"][..], &shapes].concat());
    let plan = place.json(&[&["partition", "gcn_cora", "--min-slices", "2"][..], &shapes].concat());
    place.json(&[&["package", "gcn_cora"][..], &shapes].concat());
    place.json(&["deploy", "--name", "gcn", "--allow-unverified"]);
    let tensors = inputs(&plan);
    for file in ["all.npz", "all.safetensors", "all.json"] {
        write_tensors(&place.path(file), &tensors).unwrap();
    }
    let each: Vec<String> = tensors.iter().map(|tensor| one_array(&place, tensor)).collect();
    let arrays: Vec<&str> = each.iter().flat_map(|file| ["--inputs", file]).collect();
    let call = |given: &[&str], to: &str| {
        place.json(&[&["invoke", "gcn", "--output", to], given].concat());
        std::fs::read(place.path(to)).unwrap()
    };
    let answers = [
        call(&arrays, "arrays.npy"),
        call(&["--inputs", "all.npz"], "npz.npy"),
        call(&["--inputs", "all.safetensors"], "safetensors.npy"),
        call(&["--inputs", "all.json"], "json.npy"),
    ];
    let other = call(&["--inputs", "all.npz", "--inputs", &each[1]], "same.json");
    let (_, error) = place.failure(&["invoke", "gcn", "--inputs", &each[0]]);
    place.json(&["destroy", "gcn"]);
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert!(serde_json::from_slice::<serde_json::Value>(&other).is_ok());
    assert!(error["message"].as_str().unwrap().starts_with("no value for input"), "{error}");
}

/// Values for the inputs of a plan that no random generator made.
fn inputs(plan: &serde_json::Value) -> Vec<(String, Tensor)> {
    let specs: Vec<TensorSpec> = serde_json::from_value(plan["inputs"].clone()).unwrap();
    let tensor = |spec: &TensorSpec| {
        let count = spec.shape.iter().product::<u64>() as usize;
        match spec.element_type {
            ElementType::Int64 => {
                let values: Vec<i64> = (0..count as i64).map(|at| at * 7 % 20).collect();
                Tensor::from_i64(spec.shape.clone(), &values).unwrap()
            }
            _ => {
                let values: Vec<f32> = (0..count).map(|at| (at as f32 * 0.37).sin()).collect();
                Tensor::from_f32(spec.shape.clone(), &values).unwrap()
            }
        }
    };
    specs.iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
}

/// Writes one tensor to a file of its own; gives it as `--inputs` takes it.
fn one_array(place: &Place, tensor: &(String, Tensor)) -> String {
    let file = format!("{}.npy", tensor.0);
    write_tensors(&place.path(&file), std::slice::from_ref(tensor)).unwrap();
    format!("{}={file}", tensor.0)
}

#[test]
fn a_second_profile_comes_out_of_the_cache() {
    let place = Place::new();
    let profile = |more: &[&str]| place.json(&[&["profile", "gcn_cora", "--repeats", "2"], more].concat());
    let first = profile(&[]);
    // Times are measured: two measurements are not equal in all of them.
    assert_eq!(first["layers"], profile(&[])["layers"]);
    assert_ne!(first["layers"], profile(&["--no-cache"])["layers"]);
    assert_ne!(first["layers"], profile(&["--seed", "1"])["layers"]);
}
