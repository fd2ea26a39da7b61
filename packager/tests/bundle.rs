//! Bundles of a small model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{identity, model, other_digest, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tranche_graph::Graph;
use tranche_packager::{PackageError, check_bundle, package};
use tranche_schema::{Document as _, Manifest, Plan, SliceManifest, TensorSpec};

fn packaged(parts: u32) -> (tempfile::TempDir, PathBuf, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let graph = model();
    let manifest = package(&graph, &identity(&graph), &plan(&graph, parts), &bundle, "1.2.3").unwrap();
    (folder, bundle, manifest)
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(
                contents(&path)
                    .into_iter()
                    .map(|(below, bytes)| (Path::new(path.file_name().unwrap()).join(below), bytes)),
            );
        } else {
            found.insert(PathBuf::from(path.file_name().unwrap()), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn names(specs: &[TensorSpec]) -> BTreeSet<String> {
    specs.iter().map(|spec| spec.name.clone()).collect()
}

fn load_slice(bundle: &Path, slice: &SliceManifest) -> Graph {
    let graph = Graph::load(&bundle.join(&slice.model)).unwrap();
    let found: Vec<&str> = graph.inputs().iter().map(|&id| graph.tensor(id).name.as_str()).collect();
    assert!(found.iter().eq(slice.inputs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().iter()));
    let found: Vec<&str> = graph.outputs().iter().map(|&id| graph.tensor(id).name.as_str()).collect();
    assert!(found.iter().eq(slice.outputs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().iter()));
    graph
}

fn weights(graph: &Graph) -> BTreeMap<String, Vec<u8>> {
    let tensors = &graph.source().initializer;
    tensors
        .iter()
        .map(|tensor| (tensor.name().to_owned(), graph.model().tensor_bytes(tensor).unwrap().to_vec()))
        .collect()
}

#[test]
fn slices_compose_to_the_model_for_every_number_of_slices() {
    let graph = model();
    let layers = common::problem(&graph).layers.len() as u32;
    assert!(layers >= 4, "the test model has only {layers} layers");
    for parts in 1..=layers {
        let (_folder, bundle, manifest) = packaged(parts);
        assert_eq!(manifest.slices.len(), parts as usize);
        let mut available = names(&manifest.inputs);
        let mut nodes = Vec::new();
        let mut stored = BTreeMap::new();
        for slice in &manifest.slices {
            let part = load_slice(&bundle, slice);
            assert!(names(&slice.inputs).is_subset(&available), "{} cannot run yet", slice.name);
            available.extend(names(&slice.outputs));
            nodes.extend(part.nodes().iter().map(|node| node.name.clone()));
            stored.extend(weights(&part));
        }
        assert!(names(&manifest.outputs).is_subset(&available));
        nodes.sort();
        let mut whole: Vec<String> = graph.nodes().iter().map(|node| node.name.clone()).collect();
        whole.sort();
        assert_eq!(nodes, whole);
        assert_eq!(stored, weights(&graph));
    }
}

#[test]
fn equal_weights_are_stored_once() {
    let (_folder, bundle, manifest) = packaged(4);
    let mentioned: usize = manifest.slices.iter().map(|slice| slice.weights.len()).sum();
    let stored = contents(&bundle.join("model/weights"));
    assert_eq!((mentioned, stored.len()), (4, 2));
}

#[test]
fn packaging_twice_gives_the_same_bytes() {
    let (_first_folder, first, _) = packaged(3);
    let (_second_folder, second, _) = packaged(3);
    assert_eq!(contents(&first), contents(&second));
}

#[test]
fn the_manifest_lists_every_file() {
    let (_folder, bundle, manifest) = packaged(2);
    let mut listed: BTreeSet<PathBuf> =
        manifest.files.iter().map(|entry| PathBuf::from(&entry.path)).collect();
    listed.insert(PathBuf::from(Manifest::FILE));
    assert_eq!(listed, contents(&bundle).into_keys().collect());
    assert_eq!(check_bundle(&bundle).unwrap(), manifest);
    assert_eq!(Plan::read(&bundle.join(Manifest::PLAN_FILE)).unwrap(), plan(&model(), 2));
}

#[test]
fn any_changed_byte_is_found_and_the_file_named() {
    let (_folder, bundle, manifest) = packaged(2);
    for entry in &manifest.files {
        let path = bundle.join(&entry.path);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        for damaged in [changed.as_slice(), &whole[1..]] {
            std::fs::write(&path, damaged).unwrap();
            assert_damaged(&bundle, &entry.path);
        }
        std::fs::remove_file(&path).unwrap();
        assert_damaged(&bundle, &entry.path);
        std::fs::write(&path, &whole).unwrap();
    }
    check_bundle(&bundle).unwrap();
}

fn assert_damaged(bundle: &Path, name: &str) {
    let error = check_bundle(bundle).unwrap_err();
    assert!(matches!(&error, PackageError::Damaged { path, .. } if path.ends_with(name)), "{error}");
}

fn refused(change: impl FnOnce(&mut Plan)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let graph = model();
    let mut plan = plan(&graph, 2);
    change(&mut plan);
    let error =
        package(&graph, &identity(&graph), &plan, &folder.path().join("bundle"), "1.2.3").unwrap_err();
    assert!(contents(folder.path()).is_empty(), "something was left behind");
    assert!(!error.hint().is_empty());
    error.to_string()
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let messages = [
        refused(|plan| plan.model.digest = other_digest()),
        refused(|plan| plan.slices[0].nodes[0] = "nonsense".to_owned()),
        refused(|plan| plan.slices[1].nodes.truncate(1)),
        refused(|plan| plan.slices[1].nodes.push("make_a".to_owned())),
        refused(|plan| plan.slices[1].name = "../slice-1".to_owned()),
        refused(|plan| plan.slices[1].name = "SLICE-0".to_owned()),
        refused(|plan| plan.slices[1].inputs.truncate(1)),
        refused(|plan| plan.slices[1].outputs[0].name = "e".to_owned()),
    ];
    let digest = model().model().digest().unwrap();
    let text =
        messages.join("\n").replace(digest.short(), "[model]").replace(other_digest().short(), "[other]");
    insta::assert_snapshot!(text);
}

#[test]
fn only_bundles_and_empty_folders_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let graph = model();
    let output = folder.path().join("bundle");
    std::fs::create_dir(&output).unwrap();
    package(&graph, &identity(&graph), &plan(&graph, 3), &output, "1.2.3").unwrap();
    let smaller = package(&graph, &identity(&graph), &plan(&graph, 1), &output, "1.2.3").unwrap();
    assert_eq!(check_bundle(&output).unwrap(), smaller);
    assert_eq!(contents(&output.join("model")).len(), 3, "one slice and two weights");

    std::fs::write(output.join(Manifest::FILE), "{}").unwrap();
    let before = contents(folder.path());
    let error = package(&graph, &identity(&graph), &plan(&graph, 1), &output, "1.2.3").unwrap_err();
    assert!(matches!(error, PackageError::OutputExists(_)), "{error}");
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn manifests_that_point_outside_of_the_bundle_are_refused() {
    let (folder, bundle, mut manifest) = packaged(1);
    std::fs::write(folder.path().join("outside"), "secret").unwrap();
    for path in ["../outside", "/etc/hostname", "model/../../outside", ""] {
        manifest.files[0].path = path.to_owned();
        manifest.write(&bundle.join(Manifest::FILE)).unwrap();
        let error = check_bundle(&bundle).unwrap_err();
        assert!(matches!(error, PackageError::InvalidManifest { .. }), "{path}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn links_in_place_of_files_are_refused() {
    let (folder, bundle, manifest) = packaged(1);
    let name = &manifest.slices[0].model;
    let elsewhere = folder.path().join("elsewhere.onnx");
    std::fs::rename(bundle.join(name), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, bundle.join(name)).unwrap();
    assert_damaged(&bundle, name);
}
