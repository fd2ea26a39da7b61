//! Functions as they are described to AWS Lambda.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod toy;

use proptest::prelude::*;
use std::time::Duration;
use toy::{functions_with, index, manifest};
use tranche_packager::lambda::{
    FunctionDescription, LambdaError, LambdaOptions, Memory, describe_entry, describe_functions,
};
use tranche_schema::{ByteCount, FunctionSize, LambdaPackageKind, MilliCpu};

#[test]
fn a_function_is_what_lambda_takes() {
    let functions = functions_with(|_| {});
    let json = serde_json::to_string_pretty(&functions[0]).unwrap();
    insta::assert_snapshot!(json, @r#"
    {
      "name": "toy-first",
      "slice": "first",
      "package": "zip-inline",
      "runtime": "provided.al2023",
      "handler": "bootstrap",
      "architecture": "x86_64",
      "memory_mib": 885,
      "timeout_s": 120,
      "ephemeral_storage_mib": 512,
      "environment": {
        "TRANCHE_MANIFEST": "bundle/manifest.json",
        "TRANCHE_SLICE": "first",
        "TRANCHE_THREADS": "1"
      },
      "layers": [
        "tranche-shared"
      ],
      "description": "tranche: first of net",
      "tags": {
        "tranche:deployment": "toy",
        "tranche:digest": "sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
        "tranche:plan": "sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525",
        "tranche:slice": "first",
        "tranche:version": "1.2.3"
      },
      "snap_start": false,
      "reserved_concurrency": null,
      "provisioned_concurrency": null
    }
    "#);
    let back: FunctionDescription = serde_json::from_str(&json).unwrap();
    assert_eq!(back, functions[0]);
}

#[test]
fn an_image_says_itself_where_things_are() {
    let image = &functions_with(|_| {})[2];
    assert_eq!((&image.runtime, &image.handler), (&None, &None));
    assert_eq!(image.environment.keys().collect::<Vec<_>>(), ["TRANCHE_THREADS"]);
}

#[test]
fn options_reach_the_function() {
    let functions = functions_with(|options| {
        options.memory = Memory::Fixed(3000);
        options.timeout = Duration::from_millis(1500);
        options.ephemeral_storage_mib = 1024;
        options.engine = Some("onnxruntime".to_owned());
        options.optimise = false;
        options.threads = Some(7);
        options.snap_start = true;
        options.reserved_concurrency = Some(5);
        options.provisioned_concurrency = Some(2);
        options.environment.insert("TRANCHE_LOG".to_owned(), "debug".to_owned());
        options.tags.insert("team".to_owned(), "vision".to_owned());
    });
    let function = &functions[1];
    assert_eq!((function.memory_mib, function.timeout_s, function.ephemeral_storage_mib), (3000, 2, 1024));
    assert_eq!((function.snap_start, function.reserved_concurrency), (true, Some(5)));
    assert_eq!((function.provisioned_concurrency, function.tags["team"].as_str()), (Some(2), "vision"));
    let set = |name: &str| function.environment[name].clone();
    assert_eq!(
        (set("TRANCHE_ENGINE"), set("TRANCHE_OPTIMISE")),
        ("onnxruntime".to_owned(), "false".to_owned())
    );
    assert_eq!((set("TRANCHE_THREADS"), set("TRANCHE_LOG")), ("7".to_owned(), "debug".to_owned()));
}

#[test]
fn the_engine_is_looked_for_where_the_package_has_it() {
    let mut index = index();
    index.engine = "onnxruntime".to_owned();
    let functions = describe_functions(&manifest(), &index, &LambdaOptions::new("toy")).unwrap();
    let engine = |function: &FunctionDescription| function.environment.get("TRANCHE_ONNXRUNTIME").cloned();
    assert_eq!(engine(&functions[0]).unwrap(), "/opt/lib/libonnxruntime.so");
    assert_eq!(engine(&functions[1]).unwrap(), "lib/libonnxruntime.so");
    assert_eq!(engine(&functions[2]), None);
}

#[test]
fn memory_brings_the_plans_share_of_processors() {
    let mib = |memory: Memory, mebibytes, cpu| {
        memory.mib(FunctionSize { memory_bytes: ByteCount::mebibytes(mebibytes), cpu_milli: MilliCpu(cpu) })
    };
    let cases = [(512, 500), (512, 1000), (512, 1001), (2000, 1000), (64, 10), (512, 6000), (20_000, 100)];
    let given = cases.map(|(mebibytes, cpu)| mib(Memory::ForCpu, mebibytes, cpu));
    assert_eq!(given, [885, 1769, 1771, 2000, 128, 10_240, 10_240]);
    assert_eq!(
        cases.map(|(mebibytes, cpu)| mib(Memory::Plan, mebibytes, cpu)),
        [512, 512, 512, 2000, 128, 512, 10_240]
    );
    assert_eq!(mib(Memory::Fixed(20_000), 1, 1), 20_000, "left to the preflight");
}

#[test]
fn threads_follow_what_lambda_gives() {
    let threads = |mib| {
        let functions = functions_with(|options| options.memory = Memory::Fixed(mib));
        functions[0].environment["TRANCHE_THREADS"].clone()
    };
    assert_eq!([128, 1769, 3537, 3538, 10_240].map(threads), ["1", "1", "1", "2", "5"]);
}

#[test]
fn a_slice_without_a_package_is_named() {
    let mut index = index();
    index.packages.remove(1);
    let error = describe_functions(&manifest(), &index, &LambdaOptions::new("toy")).unwrap_err();
    assert!(matches!(&error, LambdaError::NoPackage { slice } if slice == "second"), "{error}");
    assert!(describe_entry(&index, 256, &LambdaOptions::new("toy")).is_err());
}

#[test]
fn the_entry_knows_its_deployment() {
    let mut index = index();
    let mut package = index.packages[0].clone();
    (package.slice, package.kind) = ("entry".to_owned(), LambdaPackageKind::ZipInline);
    package.layers.clear();
    index.entry = Some(package);
    let entry = describe_entry(&index, 256, &LambdaOptions::new("toy")).unwrap();
    assert_eq!((entry.name.as_str(), entry.memory_mib), ("toy-entry", 256));
    assert_eq!(entry.environment["TRANCHE_DEPLOYMENT"], "deployment.json");
}

proptest! {
    #[test]
    fn memory_is_always_lambdas(bytes in 0_u64..1 << 45, cpu in 0_u32..1_000_000) {
        let size = FunctionSize { memory_bytes: ByteCount(bytes), cpu_milli: MilliCpu(cpu) };
        for memory in [Memory::ForCpu, Memory::Plan] {
            prop_assert!((128..=10_240).contains(&memory.mib(size)));
        }
        prop_assert!(Memory::ForCpu.mib(size) >= Memory::Plan.mib(size));
    }
}
