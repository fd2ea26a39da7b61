//! Engines by name, and what `doctor` reports.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use tranche_engine::{DEFAULT_ENGINE, EngineError, open_engine, survey};

#[test]
fn tract_is_the_default_and_works() {
    assert_eq!(open_engine(None, None).unwrap().name(), DEFAULT_ENGINE);
    let statuses = survey(Some(Path::new("/nowhere/libonnxruntime.so")));
    let tract = statuses.iter().find(|status| status.name == "tract").unwrap();
    assert!(tract.available && tract.problem.is_none() && tract.hint.is_empty(), "{tract:?}");
    let other = statuses.iter().find(|status| status.name == "onnxruntime").unwrap();
    assert!(!other.available && other.problem.is_some() && !other.hint.is_empty(), "{other:?}");
}

#[test]
fn an_unknown_name_is_an_error() {
    let error = open_engine(Some("abacus"), None).map(|_| ()).unwrap_err();
    assert!(matches!(error, EngineError::Unknown { .. }));
    assert_eq!(error.to_string(), "there is no engine `abacus`");
}

/// Files that are no library, or another library, are refused without a panic.
#[test]
fn a_library_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "not a library").unwrap();
    for path in [Path::new("/nowhere/libonnxruntime.so"), folder.path(), &text] {
        let error = open_engine(Some("onnxruntime"), Some(path)).map(|_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
