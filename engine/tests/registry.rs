//! Fetches from a package registry, through the machine's own pip.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::cell::RefCell;
use tranche_engine::{AddError, AddOptions, AddStep, OnnxRuntimeEngine, add_onnxruntime};

#[test]
fn registry_onnxruntime_is_added_once() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("engines/libonnxruntime.so");
    let steps = RefCell::new(Vec::new());
    let progress = |step| steps.borrow_mut().push(step);
    let options =
        AddOptions { destination: Some(&destination), progress: Some(&progress), ..AddOptions::default() };
    assert_eq!(add_onnxruntime(options).unwrap(), destination);
    assert_eq!(steps.take(), [AddStep::Download, AddStep::Verify, AddStep::Unpack]);
    assert!(folder.path().join("engines/ThirdPartyNotices.txt").is_file());
    let engine = OnnxRuntimeEngine::from_library(&destination).unwrap();
    assert_eq!(tranche_engine::Engine::version(&engine), tranche_engine::ONNXRUNTIME_VERSION);

    assert_eq!(add_onnxruntime(options).unwrap(), destination);
    assert_eq!(steps.take(), []);
}

#[test]
fn a_python_without_pip_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("libonnxruntime.so");
    let add = |python: &str| {
        let python = Some(std::path::Path::new(python));
        add_onnxruntime(AddOptions { python, destination: Some(&destination), progress: None }).unwrap_err()
    };
    assert!(matches!(add("/nowhere/python3"), AddError::Python { .. }));
    assert!(matches!(add("false"), AddError::Pip { .. }));
    assert!(!destination.exists());
}
