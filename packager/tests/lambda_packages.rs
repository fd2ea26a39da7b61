//! Packages for AWS Lambda of bundles of the small model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;
mod lambda_support;
mod support;

use common::model;
use lambda_support::{Packages, pad, unzip, zip_entries};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::{Elf, Images, contents};
use tranche_packager::PackageError;
use tranche_packager::elf::{Architecture, ElfError};
use tranche_packager::image::{ImageError, SBOM_FILE};
use tranche_packager::lambda::{EntryRequest, LambdaError, LambdaRequest, add_entry, build_packages};
use tranche_schema::{
    ByteCount, Deployment, Digest, Document as _, LambdaIndex, LambdaPackageKind, Manifest,
};

#[test]
fn equal_bundles_give_equal_packages() {
    let first = Packages::of(3, "tract", |_| {});
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let second = Packages::of(3, "tract", |_| {});
    assert_eq!(contents(&first.output()), contents(&second.output()));
}

#[test]
fn a_zip_file_holds_its_slice_and_nothing_of_the_others() {
    let packages = Packages::of(4, "tract", |_| {});
    for (package, slice) in packages.index.packages.iter().zip(&packages.manifest.slices) {
        let files = unzip(&packages.path(package));
        let mut expected: BTreeSet<String> =
            slice.weights.iter().chain([&slice.model]).map(|path| format!("bundle/{path}")).collect();
        expected.extend(["bootstrap", "bundle/manifest.json", SBOM_FILE].map(str::to_owned));
        assert_eq!(files.keys().cloned().collect::<BTreeSet<_>>(), expected);
        let text = String::from_utf8(files["bundle/manifest.json"].clone()).unwrap();
        let reduced = Manifest::from_json(&text, Path::new("manifest.json")).unwrap();
        assert_eq!(reduced.slices.iter().map(|slice| &slice.name).collect::<Vec<_>>(), [&slice.name]);
        for entry in &reduced.files {
            assert_eq!(Digest::of(&files[&format!("bundle/{}", entry.path)]), entry.digest);
        }
        assert_eq!(files["bootstrap"], std::fs::read(&packages.request.shim).unwrap());
    }
}

#[test]
fn entries_are_dated_sorted_and_have_modes() {
    let packages = Packages::of(1, "tract", |_| {});
    let entries = zip_entries(&packages.path(&packages.index.packages[0]));
    let names: Vec<&String> = entries.iter().map(|entry| &entry.name).collect();
    assert_eq!(names[0], "bootstrap");
    assert!(names.is_sorted());
    for entry in &entries {
        let mode = if entry.name == "bootstrap" { 0o100_755 } else { 0o100_644 };
        assert_eq!((entry.mode, entry.date.as_str()), (mode, "1980-01-01 00:00:00"), "{}", entry.name);
    }
}

#[test]
fn the_index_says_what_is_there_and_why() {
    let packages = Packages::of(2, "tract", |_| {});
    assert_eq!(LambdaIndex::read(&packages.output().join(LambdaIndex::FILE)).unwrap(), packages.index);
    let index = &packages.index;
    assert_eq!((index.engine.as_str(), index.architecture.as_str()), ("tract", "x86_64"));
    assert_eq!(index.bundle_digest, Digest::of_file(&packages.request.bundle.join(Manifest::FILE)).unwrap());
    for package in &index.packages {
        let bytes = std::fs::read(packages.path(package)).unwrap();
        assert_eq!((package.bytes, &package.digest), (ByteCount(bytes.len() as u64), &Digest::of(&bytes)));
        let unzipped: usize = unzip(&packages.path(package)).values().map(Vec::len).sum();
        assert_eq!(package.unzipped_bytes.0, unzipped as u64);
        assert_eq!(package.kind, LambdaPackageKind::ZipInline);
    }
    insta::with_settings!({filters => vec![(r"\d+\.\d KiB", "N KiB")]}, {
        insta::assert_snapshot!(index.packages[0].reason, @"its zip file of N KiB is within the 50 MB that a call takes");
    });
}

#[test]
fn the_engine_goes_into_each_zip_or_into_one_layer() {
    let alone = Packages::of(2, "onnxruntime", |_| {});
    let shared = Packages::of(2, "onnxruntime", |request| request.use_layer = true);
    let engine = ["lib/libonnxruntime.so", "lib/libstdc++.so.6", "licences/onnxruntime/LICENSE"];
    let files = unzip(&alone.path(&alone.index.packages[0]));
    assert!(engine.iter().all(|&path| files.contains_key(path)), "{:?}", files.keys());
    // The C library and the compiler's are the system's.
    assert!(!files.contains_key("lib/libc.so.6") && !files.contains_key("lib/libgcc_s.so.1"));
    let [layer] = shared.index.layers.as_slice() else { panic!("{:?}", shared.index.layers) };
    let layered = unzip(&shared.output().join(&layer.file));
    assert_eq!(layered.keys().map(String::as_str).collect::<Vec<_>>(), engine);
    assert_eq!(layer.unzipped_bytes.0, layered.values().map(Vec::len).sum::<usize>() as u64);
    assert!(
        layer.name.starts_with("tranche-onnxruntime-") && layer.name.ends_with(&layer.digest.hex()[..12])
    );
    for package in &shared.index.packages {
        assert_eq!(package.layers, std::slice::from_ref(&layer.name));
        assert!(unzip(&shared.path(package)).keys().all(|path| !path.starts_with("lib")));
    }
}

#[test]
fn the_smallest_package_that_no_limit_forbids_is_chosen() {
    let kinds = |bytes: u64, random: bool| {
        let packages = Packages::of(1, "tract", |request| pad(&request.shim, bytes, random));
        let package = packages.index.packages[0].clone();
        (package.kind, package.reason)
    };
    assert_eq!(kinds(60_000_000, false).0, LambdaPackageKind::ZipInline, "zeros compress");
    let (kind, reason) = kinds(50_000_000, true);
    assert_eq!(kind, LambdaPackageKind::ZipBucket);
    insta::assert_snapshot!(reason, @"its zip file of 47.7 MiB is beyond the 50 MB that a call takes, and unpacks to 47.7 MiB, within 250 MiB");
    let (kind, reason) = kinds(262_144_000, false);
    assert_eq!(kind, LambdaPackageKind::Image);
    insta::with_settings!({filters => vec![(r"262,[\d,]+ bytes\), zip", "N bytes), zip")]}, {
        insta::assert_snapshot!(reason, @"as a zip file it cannot go: it unpacks to 250 MiB (N bytes), zip files may to 250 MiB (262,144,000 bytes)");
    });
}

#[test]
fn what_is_asked_for_is_done_or_refused() {
    let as_asked = |kind| {
        let packages = Packages::of(2, "tract", |request| request.prefer = Some(kind));
        packages.index.packages.iter().all(|package| package.kind == kind && !package.reason.is_empty())
    };
    assert!(as_asked(LambdaPackageKind::ZipInline));
    assert!(as_asked(LambdaPackageKind::ZipBucket));
    assert!(as_asked(LambdaPackageKind::Image));
    let refused = |bytes, kind| {
        Packages::refused("tract", |request| {
            pad(&request.shim, bytes, true);
            request.prefer = Some(kind);
        })
    };
    let error = refused(50_000_000, LambdaPackageKind::ZipInline);
    assert!(matches!(error, PackageError::Lambda(LambdaError::Impossible { .. })), "{error}");
    let error = refused(262_144_000, LambdaPackageKind::ZipBucket);
    assert!(matches!(error, PackageError::Lambda(LambdaError::Impossible { .. })), "{error}");
}

#[test]
fn a_layer_counts_in_the_limit() {
    let with = |use_layer| {
        Packages::of(1, "onnxruntime", |request| {
            pad(request.engine_library.as_ref().unwrap(), 262_000_000, false);
            pad(&request.shim, 200_000, false);
            request.use_layer = use_layer;
        })
    };
    let packages = with(true);
    assert_eq!(packages.index.packages[0].kind, LambdaPackageKind::Image);
    assert!(
        packages.index.packages[0].reason.contains("with its layers"),
        "{:?}",
        packages.index.packages[0]
    );
    // Nobody uses it any more.
    assert_eq!((packages.index.layers.len(), contents(&packages.output().join("layers")).len()), (0, 0));
    assert_eq!(with(false).index.packages[0].kind, LambdaPackageKind::Image);
}

#[test]
fn programs_that_need_a_newer_c_library_go_as_images_or_not_at_all() {
    let elf = |version| Elf {
        interpreter: Some("/lib64/ld-linux-x86-64.so.2"),
        needed: &["libc.so.6"],
        requires: Some(("libc.so.6", version)),
        ..Elf::default()
    };
    let with = |version| {
        move |request: &mut LambdaRequest| std::fs::write(&request.shim, elf(version).build()).unwrap()
    };
    let packages = Packages::of(1, "tract", with("GLIBC_2.34"));
    assert_eq!(packages.index.packages[0].kind, LambdaPackageKind::ZipInline);
    let packages = Packages::of(1, "tract", with("GLIBC_2.35"));
    assert_eq!(packages.index.packages[0].kind, LambdaPackageKind::Image);
    let reason = &packages.index.packages[0].reason;
    assert!(reason.contains("needs GLIBC 2.35; provided.al2023 has 2.34"), "{reason}");
    let error = Packages::refused("tract", |request| {
        with("GLIBC_ABI_DT_RELR")(request);
        request.prefer = Some(LambdaPackageKind::ZipInline);
    });
    assert!(error.to_string().contains("GLIBC 2.36"), "{error}");
    assert!(!error.hint().is_empty());
}

#[test]
fn programs_for_another_machine_are_refused() {
    let error = Packages::refused("tract", |request| request.architecture = Some(Architecture::Arm64));
    assert!(matches!(error, PackageError::Elf(ElfError::Architecture { .. })), "{error}");
    let arm = Elf { machine: Some(object::elf::EM_AARCH64), ..Elf::default() };
    let packages = Packages::of(1, "tract", |request| std::fs::write(&request.shim, arm.build()).unwrap());
    assert_eq!(packages.index.architecture, "arm64");
    let error =
        Packages::refused("onnxruntime", |request| std::fs::write(&request.shim, arm.build()).unwrap());
    assert!(matches!(error, PackageError::Image(ImageError::StaticShim { .. })), "{error}");
}

#[test]
fn a_former_folder_is_replaced_and_nothing_else() {
    let packages = Packages::of(2, "tract", |_| {});
    assert_eq!(build_packages(&packages.request).unwrap(), packages.index);
    let request = LambdaRequest { output: packages.folder.path().to_owned(), ..packages.request.clone() };
    let error = build_packages(&request).unwrap_err();
    assert!(matches!(error, PackageError::OutputExists(_)), "{error}");
}

#[test]
fn a_change_in_one_slice_leaves_the_other_packages_alone() {
    let packages = Packages::of_model(&model(), 4, "tract", |_| {});
    let changed = Packages::of_model(&common::model_with(0.3), 4, "tract", |_| {});
    let pairs = packages.index.packages.iter().zip(&changed.index.packages);
    let differ: Vec<&str> = pairs
        .filter(|(former, now)| former.digest != now.digest)
        .map(|(former, _)| former.slice.as_str())
        .collect();
    assert_eq!(differ, ["slice-2"]);
}

#[test]
fn images_are_for_lambda() {
    let with = |ephemeral_storage_mib| {
        Packages::of(2, "tract", |request| {
            request.prefer = Some(LambdaPackageKind::Image);
            request.ephemeral_storage_mib = ephemeral_storage_mib;
        })
    };
    let packages = with(512);
    let config = packages.image_config(1);
    insta::assert_json_snapshot!(config["config"], @r#"
    {
      "Env": [
        "PATH=/tranche:/usr/bin:/bin",
        "TRANCHE_MANIFEST=/tranche/bundle/manifest.json",
        "TRANCHE_SLICE=slice-1"
      ],
      "Entrypoint": [
        "/tranche/tranche-shim"
      ],
      "WorkingDir": "/",
      "Labels": {
        "com.amazonaws.lambda.feature.snapstart": "Allow",
        "org.opencontainers.image.description": "Slice slice-1 of the model small",
        "org.opencontainers.image.title": "small slice-1",
        "org.opencontainers.image.vendor": "tranche",
        "org.opencontainers.image.version": "1.2.3",
        "tranche.engine": "tract",
        "tranche.model": "small",
        "tranche.slice": "slice-1"
      },
      "StopSignal": "SIGTERM"
    }
    "#);
    let label = "com.amazonaws.lambda.feature.snapstart";
    assert!(with(513).image_config(1)["config"]["Labels"].get(label).is_none());
    // What an image unpacks to is what its layers hold.
    let http = Images::of(2);
    for (package, image) in packages.index.packages.iter().zip(&http.index.images) {
        let files: BTreeMap<String, Vec<u8>> = http.files(image);
        assert_eq!(package.unzipped_bytes.0, files.values().map(Vec::len).sum::<usize>() as u64);
        assert_eq!((package.file.as_ref(), package.slice.as_str()), (None, image.slice.as_str()));
    }
}

#[test]
fn an_entry_joins_the_packages() {
    let packages = Packages::of(2, "tract", |_| {});
    let deployment = deployment();
    let request = EntryRequest {
        program: &packages.request.shim,
        deployment: &deployment,
        library_folders: vec![],
        packages: &packages.request.output,
    };
    let entry = add_entry(&request).unwrap();
    assert_eq!(add_entry(&request).unwrap(), entry, "equal input, equal bytes");
    let index = LambdaIndex::read(&packages.output().join(LambdaIndex::FILE)).unwrap();
    assert_eq!((index.entry.as_ref(), &index.packages), (Some(&entry), &packages.index.packages));
    let files = unzip(&packages.path(&entry));
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), ["bootstrap", "deployment.json"]);
    let text = String::from_utf8(files["deployment.json"].clone()).unwrap();
    assert_eq!(Deployment::from_json(&text, Path::new("deployment.json")).unwrap(), deployment);
}

#[test]
fn an_entry_for_another_machine_or_elsewhere_is_refused() {
    let packages = Packages::of(1, "tract", |_| {});
    let deployment = deployment();
    let program = packages.folder.path().join("entry");
    std::fs::write(&program, Elf { machine: Some(object::elf::EM_AARCH64), ..Elf::default() }.build())
        .unwrap();
    let add = |program: &Path, packages: &Path| {
        add_entry(&EntryRequest { program, deployment: &deployment, library_folders: vec![], packages })
    };
    let error = add(&program, &packages.output()).unwrap_err();
    assert!(matches!(error, PackageError::Lambda(LambdaError::OtherArchitecture { .. })), "{error}");
    let error = add(&packages.request.shim, packages.folder.path()).unwrap_err();
    assert!(matches!(error, PackageError::Document(_)), "{error}");
    assert_eq!(LambdaIndex::read(&packages.output().join(LambdaIndex::FILE)).unwrap().entry, None);
}

fn deployment() -> Deployment {
    Deployment {
        header: Deployment::header(),
        name: "toy".to_owned(),
        target: "lambda".to_owned(),
        bundle_digest: Digest::of(b"bundle"),
        bundle: "bundle".into(),
        engine: "tract".to_owned(),
        inputs: vec![],
        outputs: vec![],
        functions: vec![],
        edges: vec![],
        local: None,
        openfaas: None,
        lambda: None,
    }
}
