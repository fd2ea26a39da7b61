//! Images of bundles of the small model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;
mod support;

use common::{identity, model, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::{Images, contents, layer_files};
use tranche_packager::image::{ImageError, ImageRequest, SBOM_FILE, build_images, write_archive};
use tranche_packager::{PackageError, elf::ElfError, package};
use tranche_schema::{Document as _, ImageIndex, LayerPurpose, Manifest};

#[test]
fn equal_bundles_give_equal_layouts_and_archives() {
    let (first, second) = (Images::of(3), Images::of(3));
    assert_eq!(contents(&first.output()), contents(&second.output()));
    let archive = |images: &Images| {
        let path = images.folder.path().join("images.tar");
        write_archive(&images.output(), &path).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(archive(&first), archive(&second));
}

#[test]
fn blobs_are_what_their_names_say_and_all_are_used() {
    let images = Images::of(3);
    let mut used = BTreeSet::new();
    for image in &images.index.images {
        let manifest = images.json(&image.digest);
        used.insert(image.digest.hex().to_owned());
        used.insert(digest_of(&manifest["config"]));
        used.extend(manifest["layers"].as_array().unwrap().iter().map(digest_of));
    }
    let found = contents(&images.output().join("blobs/sha256"));
    for (name, bytes) in &found {
        assert_eq!(tranche_schema::Digest::of(bytes).hex(), name.to_str().unwrap());
    }
    assert_eq!(found.keys().map(|name| name.to_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), used);
    assert_eq!(ImageIndex::read(&images.output().join(ImageIndex::FILE)).unwrap(), images.index);
}

fn digest_of(descriptor: &serde_json::Value) -> String {
    descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned()
}

#[test]
fn an_image_holds_its_slice_and_nothing_of_the_others() {
    let images = Images::of(4);
    for (image, slice) in images.index.images.iter().zip(&images.manifest.slices) {
        let files = images.files(image);
        let mut expected: BTreeSet<String> = slice
            .weights
            .iter()
            .chain([&slice.model])
            .map(|path| format!("tranche/bundle/{path}"))
            .chain(["etc/group", "etc/passwd", "tranche/tranche-shim"].map(str::to_owned))
            .collect();
        expected.insert(format!("tranche/bundle/{}", Manifest::FILE));
        expected.insert(format!("tranche/{SBOM_FILE}"));
        assert_eq!(files.keys().cloned().collect::<BTreeSet<_>>(), expected);
        let path = Path::new("manifest.json");
        let text = String::from_utf8(files["tranche/bundle/manifest.json"].clone()).unwrap();
        let reduced = Manifest::from_json(&text, path).unwrap();
        assert_eq!(reduced.slices.len(), 1);
        assert_eq!(reduced.slices[0].name, slice.name);
        for edge in &reduced.edges {
            assert!(edge.from.as_ref() == Some(&slice.name) || edge.to.contains(&slice.name));
        }
        for entry in &reduced.files {
            let packed = &files[&format!("tranche/bundle/{}", entry.path)];
            assert_eq!(tranche_schema::Digest::of(packed), entry.digest);
        }
    }
}

#[test]
fn each_weight_is_in_one_layer_and_shared_layers_are_one_blob() {
    let images = Images::of(4);
    let weights: BTreeMap<_, _> = images.layers(LayerPurpose::Weights);
    let mut packed: Vec<String> = weights.values().flat_map(|files| files.keys().cloned()).collect();
    packed.sort();
    let stored: BTreeSet<String> = images
        .manifest
        .slices
        .iter()
        .flat_map(|slice| slice.weights.iter().map(|path| format!("tranche/bundle/{path}")))
        .collect();
    assert_eq!(packed, stored.into_iter().collect::<Vec<_>>());
    assert!(weights.len() < images.manifest.slices.iter().map(|slice| slice.weights.len()).sum());
    for purpose in [LayerPurpose::Base, LayerPurpose::Shim] {
        assert_eq!(images.layers(purpose).len(), 1, "{purpose:?}");
    }
}

#[test]
fn a_change_in_one_slice_leaves_the_other_images_alone() {
    let images = Images::of(4);
    let changed = Images::of_model(&common::model_with(0.3), 4);
    assert_ne!(images.manifest.plan_digest, changed.manifest.plan_digest);
    let differ: Vec<&str> = images
        .index
        .images
        .iter()
        .zip(&changed.index.images)
        .filter(|(former, now)| former.digest != now.digest)
        .map(|(former, _)| former.slice.as_str())
        .collect();
    // The weight is read by the third slice alone.
    assert_eq!(differ, [images.index.images[2].slice.as_str()]);
}

#[test]
fn images_run_as_anybody_and_say_what_they_are() {
    let images = Images::of(2);
    let image = &images.index.images[1];
    let manifest = images.json(&image.digest);
    let config =
        images.json(&tranche_schema::Digest(manifest["config"]["digest"].as_str().unwrap().to_owned()));
    insta::assert_json_snapshot!((&config["config"], &config["architecture"], &config["os"], &config["created"]), @r#"
    [
      {
        "User": "12000:12000",
        "ExposedPorts": {
          "8080/tcp": {}
        },
        "Env": [
          "PATH=/tranche:/usr/bin:/bin",
          "TRANCHE_LISTEN=0.0.0.0:8080",
          "TRANCHE_MANIFEST=/tranche/bundle/manifest.json",
          "TRANCHE_SLICE=slice-1",
          "fprocess=/tranche/tranche-shim"
        ],
        "Entrypoint": [
          "/tranche/tranche-shim"
        ],
        "WorkingDir": "/",
        "Labels": {
          "org.opencontainers.image.description": "Slice slice-1 of the model small",
          "org.opencontainers.image.title": "small slice-1",
          "org.opencontainers.image.vendor": "tranche",
          "org.opencontainers.image.version": "1.2.3",
          "tranche.engine": "tract",
          "tranche.model": "small",
          "tranche.slice": "slice-1"
        },
        "StopSignal": "SIGTERM"
      },
      "amd64",
      "linux",
      "1970-01-01T00:00:00Z"
    ]
    "#);
    let entries = layer_files(&images.blob(&image.layers[0].digest));
    let modes: Vec<String> =
        entries.iter().map(|entry| format!("{:o} {} {}", entry.mode, entry.owner, entry.path)).collect();
    insta::assert_snapshot!(modes.join("\n"), @r"
    755 0 dev/
    755 0 etc/
    644 0 etc/group
    644 0 etc/passwd
    555 0 proc/
    555 0 sys/
    1777 0 tmp/
    ");
}

#[test]
fn the_inventory_is_cyclonedx_and_names_every_file_by_digest() {
    let images = Images::of(2);
    let text = std::fs::read_to_string(images.output().join(SBOM_FILE)).unwrap();
    let inventory: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&inventory["bomFormat"], &inventory["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let components = inventory["components"].as_array().unwrap();
    let hashes: BTreeSet<&str> =
        components.iter().map(|part| part["hashes"][0]["content"].as_str().unwrap()).collect();
    let files = images.manifest.files.iter().filter(|entry| entry.path != Manifest::PLAN_FILE);
    assert!(files.clone().all(|entry| hashes.contains(entry.digest.hex())));
    let shim = tranche_schema::Digest::of_file(&images.request.shim).unwrap();
    assert!(hashes.contains(shim.hex()));
    assert_eq!(components.len(), files.count() + 1);
}

#[test]
fn a_former_layout_is_replaced_and_nothing_else() {
    let images = Images::of(2);
    assert_eq!(build_images(&images.request).unwrap(), images.index);
    let request = ImageRequest { output: images.folder.path().to_owned(), ..images.request.clone() };
    let error = build_images(&request).unwrap_err();
    assert!(matches!(error, PackageError::OutputExists(_)), "{error}");
    assert!(images.output().join("index.json").is_file());
}

#[test]
fn shims_that_cannot_run_the_bundle_are_refused() {
    let with = |shim: Vec<u8>, engine: &str, library: Option<Vec<u8>>| {
        let images = Images::prepare(&model(), 2, engine);
        std::fs::write(&images.shim, shim).unwrap();
        let mut request = images.clone();
        request.engine_library = library.map(|bytes| {
            let path = images.shim.with_file_name("library.so");
            std::fs::write(&path, bytes).unwrap();
            path
        });
        let error = build_images(&request).unwrap_err();
        assert!(!request.output.exists());
        assert!(!error.hint().is_empty());
        error
    };
    let elf = support::Elf::default;
    let error = with(elf().build(), "onnxruntime", None);
    assert!(matches!(error, PackageError::Image(ImageError::StaticShim { .. })), "{error}");
    let dynamic = || support::Elf { interpreter: Some("/lib64/ld-linux-x86-64.so.2"), ..elf() };
    let error = with(dynamic().build(), "onnxruntime", None);
    assert!(matches!(error, PackageError::Image(ImageError::NoLibrary { .. })), "{error}");
    let error = with(elf().build(), "tract", Some(elf().build()));
    assert!(matches!(error, PackageError::Image(ImageError::NeedlessLibrary { .. })), "{error}");
    let error = with(dynamic().build(), "onnxruntime", Some(elf().build()));
    assert!(matches!(error, PackageError::Image(ImageError::OtherLibrary { .. })), "{error}");
    let ort = support::Elf { engines: Some("onnxruntime"), ..elf() };
    let error = with(ort.build(), "tract", None);
    assert!(matches!(error, PackageError::Image(ImageError::OtherEngine { .. })), "{error}");
    let library = support::Elf { name: Some("libc.so"), ..elf() };
    let error = with(library.build(), "tract", None);
    assert!(matches!(error, PackageError::Image(ImageError::NoProgram { .. })), "{error}");
}

#[test]
fn another_architecture_than_asked_for_is_refused() {
    let prepared = Images::prepare(&model(), 2, "tract");
    let mut request = prepared.clone();
    request.architecture = Some(tranche_packager::elf::Architecture::Arm64);
    let error = build_images(&request).unwrap_err();
    assert!(matches!(error, PackageError::Elf(ElfError::Architecture { .. })), "{error}");
}

#[test]
fn a_folder_without_layout_is_no_archive() {
    let folder = tempfile::tempdir().unwrap();
    let error = write_archive(folder.path(), &folder.path().join("a.tar")).unwrap_err();
    assert!(matches!(error, PackageError::Image(ImageError::NoLayout { .. })), "{error}");
    assert!(!folder.path().join("a.tar").exists());
}

#[test]
fn a_bundle_that_is_not_whole_is_refused() {
    let images = Images::of(2);
    let graph = model();
    package(&graph, &identity(&graph), &plan(&graph, 2), &images.request.bundle, "1.2.3").unwrap();
    std::fs::write(images.request.bundle.join(&images.manifest.slices[0].model), "other").unwrap();
    let error = build_images(&images.request).unwrap_err();
    assert!(matches!(error, PackageError::Damaged { .. }), "{error}");
}
