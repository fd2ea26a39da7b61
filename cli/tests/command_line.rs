//! What the program says of itself, and of what it cannot do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::Place;

#[test]
fn help_lists_the_verbs_in_pipeline_order() {
    let output = Place::new().tranche(&["--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let places: Vec<_> = ["inspect", "profile", "partition", "package", "verify", "deploy", "invoke", "run"]
        .iter()
        .map(|verb| text.find(&format!("\n  {verb} ")).unwrap_or_else(|| panic!("{verb} is not in the help")))
        .collect();
    assert!(places.is_sorted());
    assert!(!text.contains("__shim"));
}

#[test]
fn a_file_that_is_no_model_ends_with_code_20() {
    let place = Place::new();
    std::fs::write(place.path("broken.onnx"), b"\x08\x07not a model").unwrap();
    let (code, error) = place.failure(&["inspect", "broken.onnx"]);
    assert_eq!(code, 20, "{error}");
    assert!(error["message"].as_str().unwrap().contains("broken.onnx"));
    assert!(error["hint"].as_str().is_some());
}

#[test]
fn an_unknown_model_lists_what_there_is() {
    let (code, error) = Place::new().failure(&["inspect", "vgg17"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.to_string().contains("vgg16"));
    assert!(error.to_string().contains("minilm_l6_v2_fp32"));
}

#[test]
fn an_unknown_engine_is_an_error_with_a_hint() {
    let (code, error) = Place::new().failure(&["run", "gcn_cora", "--engine", "abacus"]);
    assert_eq!(code, 20, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("tract"));
}

#[test]
fn a_missing_library_is_an_error_with_a_hint() {
    let arguments = ["run", "gcn_cora", "--engine", "onnxruntime", "--onnxruntime", "nowhere/lib.so"];
    let (code, error) = Place::new().failure(&arguments);
    assert_eq!(code, 20, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("engine add"));
}

#[test]
fn a_library_that_is_too_old_is_an_error_with_a_hint() {
    let place = Place::new();
    let library = library(&place, "1.22.1");
    let arguments = ["run", "gcn_cora", "--engine", "onnxruntime", "--onnxruntime", &library];
    let (code, error) = place.failure(&arguments);
    assert_eq!(code, 20, "{error}");
    assert!(error["message"].as_str().unwrap().contains("is version 1.22.1; 1.24 or later is needed"));
    assert!(error["hint"].as_str().unwrap().contains("engine add"));
    let output = place.tranche(&["engine", "list", "--json", "--onnxruntime", &library]).output().unwrap();
    let engines: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(engines[1]["available"], false);
    assert!(engines[1]["problem"].as_str().unwrap().contains("1.24 or later"), "{engines}");
}

#[test]
fn a_file_that_is_no_library_is_an_error_with_the_reason() {
    let place = Place::new();
    std::fs::write(place.path("lib.so"), "no library").unwrap();
    let arguments = ["run", "gcn_cora", "--engine", "onnxruntime", "--onnxruntime", "lib.so"];
    let (code, error) = place.failure(&arguments);
    assert_eq!(code, 20, "{error}");
    // What the loader says differs between systems.
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("lib.so cannot be loaded: ") && !message.ends_with("dlopen failed"), "{error}");
}

/// A library that says of itself that it is this version of ONNX Runtime.
fn library(place: &Place, version: &str) -> String {
    let source = format!(
        "static const char *version(void) {{ return \"{version}\"; }}
         static const void *api(unsigned version) {{ return 0; }}
         static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{ api, version }};
         const void *OrtGetApiBase(void) {{ return &base; }}"
    );
    std::fs::write(place.path("old.c"), source).unwrap();
    let status = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "old.so", "old.c"])
        .current_dir(place.path(""))
        .status();
    assert!(status.unwrap().success());
    place.path("old.so").display().to_string()
}

#[test]
fn flags_win_over_environment_over_project_file() {
    let place = Place::new();
    std::fs::write(place.path("tranche.toml"), "repeats = 3\nwarmup = 2\nseed = 5\n").unwrap();
    let output = place
        .tranche(&["profile", "gcn_cora", "--json", "--seed", "7"])
        .env("TRANCHE_REPEATS", "4")
        .output()
        .unwrap();
    let profile: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let settings = &profile["settings"];
    assert_eq!(
        (settings["warmup"].as_u64(), settings["repeats"].as_u64(), settings["seed"].as_u64()),
        (Some(2), Some(4), Some(7))
    );
}

#[test]
fn an_unknown_key_of_the_project_file_is_an_error() {
    let place = Place::new();
    std::fs::write(place.path("tranche.toml"), "repaets = 3\n").unwrap();
    let (code, error) = place.failure(&["profile", "gcn_cora"]);
    assert_eq!(code, 2, "{error}");
    assert!(error["message"].as_str().unwrap().contains("repaets"));
}

#[test]
fn completions_and_manual_page_are_generated() {
    let place = Place::new();
    place.tranche(&["completions", "bash"]).assert().success();
    place.tranche(&["man"]).assert().success();
}
