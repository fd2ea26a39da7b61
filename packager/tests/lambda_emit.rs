//! State machines and templates for teams that deploy themselves, read by the validators that
//! such teams use: cfn-lint and statelint (`cargo xtask peers`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod toy;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use toy::{functions_with, index, manifest};
use tranche_packager::lambda::{AslOptions, LambdaError, SamOptions, asl, sam};
use tranche_schema::Manifest;

/// What a validator of `target/peers` says of a file: whether it is well, and its words.
fn validate(tool: &str, arguments: &[&str], name: &str, text: &str) -> (bool, String) {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/python/bin");
    let program = peers.join(tool);
    assert!(program.is_file(), "{} is missing: run `cargo xtask peers`", program.display());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("timeout");
    command.arg("120").arg(&program).args(arguments).arg(&file).current_dir(folder.path());
    // Nothing outside is asked.
    command.env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
    let output = command.output().expect("`timeout` of coreutils is needed");
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&words).into_owned())
}

fn options() -> AslOptions {
    let arn = |slice: &str| format!("arn:aws:lambda:eu-central-1:123456789012:function:toy-{slice}:live");
    let functions = ["first", "second", "third"].map(|slice| (slice.to_owned(), arn(slice)));
    AslOptions::new(functions.into())
}

fn template(state_machine: bool) -> String {
    let options = SamOptions { state_machine, ..SamOptions::new("toy") };
    sam(&functions_with(|_| {}), &index(), &manifest(), &options).unwrap()
}

/// A file that people can look at, below the target folder.
fn keep(name: &str, text: &str) {
    std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name), text).unwrap();
}

#[test]
fn the_state_machine_walks_the_slices() {
    insta::assert_snapshot!(asl(&manifest(), &options()).unwrap(), @"");
}

#[test]
fn statelint_takes_it_and_refuses_a_broken_one() {
    let text = asl(&manifest(), &options()).unwrap();
    keep("toy.asl.json", &text);
    let (well, words) = validate("statelint", &[], "toy.asl.json", &text);
    assert!(well, "{words}");
    let broken = text.replace("\"Next\": \"Answer\"", "\"Next\": \"Nowhere\"");
    assert_ne!(broken, text);
    let (well, words) = validate("statelint", &[], "toy.asl.json", &broken);
    assert!(!well && words.contains("Nowhere"), "{words}");
}

#[test]
fn a_state_machine_needs_every_function() {
    let mut options = options();
    options.functions.remove("second");
    let error = asl(&manifest(), &options).unwrap_err();
    assert!(matches!(&error, LambdaError::NoFunction { slice } if slice == "second"), "{error}");
}

/// Slices run after all that they read, whatever the graph.
#[test]
fn levels_respect_the_edges() {
    let mut manifest = manifest();
    // third reads what second writes.
    manifest.edges[2].to.push("third".to_owned());
    let text = asl(&manifest, &options()).unwrap();
    assert_eq!(order(&text), ["Begin", "Run-first", "Run-second", "Run-third", "Answer"]);
    let (well, words) = validate("statelint", &[], "toy.asl.json", &text);
    assert!(well, "{words}");
}

/// The names of the outer states in the order in which they follow each other.
fn order(text: &str) -> Vec<String> {
    let machine: Value = serde_json::from_str(text).unwrap();
    let mut names = vec![machine["StartAt"].as_str().unwrap().to_owned()];
    while let Some(next) = machine["States"][names.last().unwrap()]["Next"].as_str() {
        names.push(next.to_owned());
    }
    names
}

#[test]
fn cfn_lint_takes_the_templates() {
    for state_machine in [false, true] {
        let text = template(state_machine);
        keep(if state_machine { "walked.yaml" } else { "plain.yaml" }, &text);
        let (well, words) =
            validate("cfn-lint", &["--non-zero-exit-code", "informational", "-t"], "template.yaml", &text);
        assert!(well, "{words}");
    }
}

#[test]
fn cfn_lint_refuses_broken_ones() {
    let text = template(true);
    let cases: BTreeMap<&str, (String, &str)> = BTreeMap::from([
        ("a property that is not there", (text.replace("MemorySize", "MemoryAmount"), "MemoryAmount")),
        ("a long timeout", (text.replace("Timeout: 120", "Timeout: 901"), "901")),
        ("an unknown reference", (text.replace("Ref: TensorBucket", "Ref: Nothing"), "Nothing")),
    ]);
    for (what, (broken, word)) in cases {
        assert_ne!(broken, text, "{what}");
        let (well, words) = validate("cfn-lint", &["-t"], "template.yaml", &broken);
        assert!(!well && words.contains(word), "{what}: {words}");
    }
}

#[test]
fn the_template_describes_every_function() {
    insta::assert_snapshot!(template(false), @"");
}

#[test]
fn options_reach_the_template() {
    let functions = functions_with(|options| {
        options.reserved_concurrency = Some(5);
        options.snap_start = true;
    });
    let options = SamOptions {
        packages: "packages/".to_owned(),
        prefix: "hand/off".to_owned(),
        log_days: 30,
        ..SamOptions::new("toy")
    };
    let text = sam(&functions, &index(), &manifest(), &options).unwrap();
    for part in [
        "CodeUri: packages/first.zip",
        "Prefix: hand/off/",
        "RetentionInDays: 30",
        "ApplyOn: PublishedVersions",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("${TensorBucket}/hand/off/*") && text.contains("ReservedConcurrentExecutions: 5"));
}

#[test]
fn odd_slice_names_get_logical_ids_of_their_own() {
    let rename = |text: &str| text.replace("first", "a.b").replace("second", "a-b");
    let manifest: Manifest =
        serde_json::from_str(&rename(&serde_json::to_string(&manifest()).unwrap())).unwrap();
    let index = serde_json::from_str(&rename(&serde_json::to_string(&index()).unwrap())).unwrap();
    let options = tranche_packager::lambda::LambdaOptions::new("toy");
    let functions = tranche_packager::lambda::describe_functions(&manifest, &index, &options).unwrap();
    let options = SamOptions { state_machine: true, ..SamOptions::new("toy") };
    let text = sam(&functions, &index, &manifest, &options).unwrap();
    assert!(text.contains("RunAB:") && text.contains("RunABNumber1:"), "{text}");
    let (well, words) = validate("cfn-lint", &["-t"], "template.yaml", &text);
    assert!(well, "{words}");
}
