//! tranche in pipelines: docs/ci.md, the scripts in ci/, and the action, as their users run them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod pipelines_support;
mod support;

use pipelines_support::{Pipeline, code, documented, in_backticks, repository, said, text, yaml};
use serde_json::Value;
use std::collections::BTreeSet;
use support::{Place, verbs};

#[test]
fn the_documented_pipeline_deploys_once_and_then_finds_nothing_to_do() {
    let pipeline = Pipeline::locked();
    let script = documented("pipeline");
    let first = pipeline.shell(&script, &[]);
    assert_eq!(code(&first), 0, "{}", said(&first));
    let slices = pipeline.json("plan.json")["slices"].as_array().unwrap().len();
    assert_eq!(pipeline.json("changes.json")["changes"].as_array().unwrap().len(), slices + 2);
    assert_eq!(pipeline.json("deployment.json")["name"], "mine");
    let second = pipeline.shell(&script, &[]);
    assert_eq!(code(&second), 0, "{}", said(&second));
    assert_eq!(String::from_utf8_lossy(&second.stdout), "nothing to deploy\n");
    assert_eq!(pipeline.json("changes.json")["changes"], Value::Array(vec![]));
    pipeline.change_model();
    let third = pipeline.shell(&script, &[]);
    assert_eq!(code(&third), 41, "{}", said(&third));
    let error = pipeline.json("partition.json")["error"].clone();
    assert_eq!(error["exit_code"], 41);
    assert_eq!(error["details"]["differences"][0]["what"], "model");
}

#[test]
fn every_verb_is_documented_with_what_it_prints() {
    let place = Place::new();
    let rows = documents();
    for verb in
        verbs().iter().filter(|verb| !["models", "engine", "secret"].contains(&verb.join(" ").as_str()))
    {
        assert!(rows.iter().any(|(name, _)| *name == verb.join(" ")), "{verb:?} has no row in docs/ci.md");
    }
    let calls: &[&[&str]] = &[
        &["inspect", "gcn_cora"],
        &["profile", "gcn_cora", "--repeats", "1"],
        &["partition", "gcn_cora", "--min-slices", "2"],
        &["compare", "gcn_cora", "--max-slices", "3"],
        &["report"],
        &["package", "gcn_cora"],
        &["verify", "gcn_cora"],
        &["lock", "gcn_cora"],
        &["diff", "plan.json", "plan.json"],
        &["deploy", "--dry-run", "--name", "gcn"],
        &["deploy", "--name", "gcn"],
        &["invoke", "gcn", "--random"],
        &["status"],
        &["logs", "gcn"],
        &["destroy", "gcn"],
        &["run", "gcn_cora", "--repeats", "1", "--requests", "1", "--no-unsplit"],
        &["models", "list"],
        &["models", "build", "gcn_cora"],
        &["engine", "list"],
        &["doctor"],
        &["completions", "bash"],
        &["man"],
    ];
    for call in calls {
        let (_, mut expected) = rows
            .iter()
            .filter(|(name, _)| name.split(' ').zip(*call).all(|(word, given)| word == *given))
            .max_by_key(|(name, _)| name.len())
            .cloned()
            .unwrap();
        expected.remove("openfaas");
        expected.remove("lambda");
        let found = place.json(call);
        let found = found.as_array().map_or(&found, |array| &array[0]);
        let found: BTreeSet<String> = found.as_object().unwrap().keys().cloned().collect();
        assert_eq!(found, expected, "{call:?}");
    }
}

/// Verbs and the members of their documents, as docs/ci.md lists them.
fn documents() -> Vec<(String, BTreeSet<String>)> {
    let page = text("docs/ci.md");
    let (_, table) = page.split_once("| verb | document |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (in_backticks(cells[1]).remove(0), in_backticks(cells[2]).into_iter().collect())
    })
    .collect()
}

#[test]
fn exit_codes_are_the_same_in_help_and_documentation() {
    let codes = |text: &str, start: &str| -> Vec<(String, String)> {
        let (_, rest) = text.split_once(start).unwrap();
        let words = |line: &str| line.trim_matches([' ', '|']).replace('`', "");
        let split = |line: String| line.split_once([' ', '|']).map(|(a, b)| (a.to_owned(), words(b)));
        rest.lines()
            .filter(|line| {
                line.trim_start_matches([' ', '|']).starts_with(|letter: char| letter.is_ascii_digit())
            })
            .map_while(|line| split(words(line)))
            .collect()
    };
    let help = String::from_utf8(Place::new().tranche(&["--help"]).output().unwrap().stdout).unwrap();
    let numbers = |codes: &[(String, String)]| codes.iter().map(|(code, _)| code.clone()).collect::<Vec<_>>();
    let of_help = numbers(&codes(&help, "Exit codes:"));
    assert!(of_help.len() > 9, "{of_help:?}");
    assert_eq!(numbers(&codes(&text("docs/configuration.md"), "## Exit codes")), of_help);
    let page = text("docs/ci.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Exit codes")).unwrap();
    assert_eq!(numbers(&codes(section, "Exit codes")), of_help);
}

/// What the action gives its script.
const WALK: [(&str, &str); 2] = [("INPUT_MODEL", "model.onnx"), ("INPUT_LOCKED", "true")];

#[test]
fn the_actions_walk_writes_outputs_and_a_summary() {
    let pipeline = Pipeline::locked();
    let files =
        [("GITHUB_OUTPUT", "outputs"), ("GITHUB_STEP_SUMMARY", "summary"), ("INPUT_DEPLOYMENT", "mine")];
    let output = pipeline.script("ci/walk.sh", &[&WALK[..], &files].concat());
    assert_eq!(code(&output), 0, "{}", said(&output));
    let outputs = outputs(&pipeline);
    let of = |name: &str| outputs.iter().find(|(key, _)| key == name).unwrap().1.as_str();
    let plan = pipeline.json("plan.json");
    assert_eq!(of("slices"), plan["slices"].as_array().unwrap().len().to_string());
    assert_eq!(of("memory-time").parse::<f64>().ok(), plan["prediction"]["memory_time"].as_f64());
    assert!(of("gain").parse::<f64>().unwrap() > 0.0);
    assert_eq!((of("pending-changes"), of("same-functions"), of("exit-code")), ("true", "false", "0"));
    let summary = std::fs::read_to_string(pipeline.place.path("summary")).unwrap();
    let begins = format!("### model: other functions, {} slices, memory-time ", of("slices"));
    assert!(summary.starts_with(&begins), "{summary}");
    assert!(summary.contains("| strategy, engine | unsplit, tract | optimal, tract |"), "{summary}");
    assert!(summary.contains("\nVerified: slices and whole model "), "{summary}");
    assert!(summary.contains("\nDeploying would change mine.\n"), "{summary}");
}

/// The outputs that a script wrote.
fn outputs(pipeline: &Pipeline) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(pipeline.place.path("outputs")).unwrap();
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(a, b)| (a.into(), b.into())).collect()
}

#[test]
fn the_actions_walk_compares_with_the_base_branch() {
    let pipeline = Pipeline::locked();
    pipeline.commit();
    let base = [("INPUT_BASE", "HEAD"), ("GITHUB_OUTPUT", "outputs")];
    let output = pipeline.script("ci/walk.sh", &[&WALK[..], &base].concat());
    assert_eq!(code(&output), 0, "{}", said(&output));
    let outputs = outputs(&pipeline);
    assert!(outputs.contains(&("same-functions".to_owned(), "true".to_owned())), "{outputs:?}");
    let ratio = outputs.iter().find(|(name, _)| name == "memory-time-ratio").unwrap();
    assert_eq!(ratio.1.parse(), Ok(1.0));
}

#[test]
fn the_actions_walk_ends_as_the_verb_that_failed() {
    let pipeline = Pipeline::locked();
    pipeline.change_model();
    let more = [("GITHUB_OUTPUT", "outputs"), ("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", "summary")];
    let output = pipeline.script("ci/walk.sh", &[&WALK[..], &more].concat());
    assert_eq!(code(&output), 41, "{}", said(&output));
    assert_eq!(
        outputs(&pipeline),
        [("failed".into(), "partition".into()), ("exit-code".into(), "41".into())]
    );
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.starts_with("::error title=tranche partition::not what ./tranche.lock holds: model "),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!pipeline.place.path("summary").exists());
}

#[test]
fn a_base_that_git_would_take_for_a_flag_is_refused() {
    let base = [("INPUT_MODEL", "model.onnx"), ("INPUT_BASE", "--upload-pack=touch made")];
    let pipeline = Pipeline::new();
    let output = pipeline.script("ci/walk.sh", &base);
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert!(!pipeline.place.path("made").exists());
}

#[test]
fn a_release_is_installed_by_its_checksum() {
    let pipeline = Pipeline::new();
    let sum = release(&pipeline);
    let url = format!("file://{}", pipeline.place.path("releases").display());
    let input = |sum: &'static str| {
        [("INPUT_VERSION", "v9.9.9"), ("INPUT_PREFIX", "installed"), ("INPUT_SHA256", sum)]
    };
    let install = |more: &[(&str, &str)]| {
        pipeline.script(
            "ci/install.sh",
            &[more, &[("INPUT_RELEASES", url.as_str()), ("GITHUB_PATH", "path")]].concat(),
        )
    };
    let zeros = "0000000000000000000000000000000000000000000000000000000000000000";
    let refused = install(&input(zeros));
    assert_eq!(code(&refused), 2, "{}", said(&refused));
    assert!(!pipeline.place.path("installed").exists());
    // Without a checksum of its own the release's counts; an empty input is none.
    let installed = install(&input(""));
    assert_eq!(code(&installed), 0, "{}", said(&installed));
    assert_eq!(String::from_utf8_lossy(&installed.stdout), "installed/bin\n");
    assert_eq!(std::fs::read_to_string(pipeline.place.path("path")).unwrap(), "installed/bin\n");
    let pinned = install(&[("INPUT_VERSION", "9.9.9"), ("INPUT_PREFIX", "pinned"), ("INPUT_SHA256", &sum)]);
    assert_eq!(code(&pinned), 0, "{}", said(&pinned));
    assert!(pipeline.place.path("pinned/bin/tranche").is_file());
}

/// A release whose program is a small script, and the checksum of its archive.
fn release(pipeline: &Pipeline) -> String {
    let script = r#"set -e
        name="tranche-9.9.9-$(uname -m)-unknown-linux-gnu"
        mkdir -p "releases/v9.9.9" "$name/bin"
        printf '#!/bin/sh\necho tranche 9.9.9\n' >"$name/bin/tranche"
        chmod +x "$name/bin/tranche"
        tar -czf "releases/v9.9.9/$name.tar.gz" "$name"
        cd releases/v9.9.9 && sha256sum *.tar.gz | tee SHA256SUMS"#;
    let output = pipeline.shell(script, &[]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn releases_come_by_https_only_and_versions_are_versions() {
    let pipeline = Pipeline::new();
    let install = |version, releases| {
        let output =
            pipeline.script("ci/install.sh", &[("INPUT_VERSION", version), ("INPUT_RELEASES", releases)]);
        (code(&output), said(&output))
    };
    let (code, text) = install("1.0.0", "http://127.0.0.1:1");
    assert!(code == 2 && text.contains("is neither https:// nor file://"), "{text}");
    let (code, text) = install("../../etc", "file:///tmp");
    assert!(code == 2 && text.contains("../../etc is no version"), "{text}");
}

#[test]
fn a_program_that_is_there_is_installed_as_it_is() {
    let pipeline = Pipeline::new();
    let program = pipeline.place.tranche(&[]).get_program().to_str().unwrap().to_owned();
    let output = pipeline.script("ci/install.sh", &[("INPUT_FROM", program.as_str())]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let version = pipeline.shell(".local/bin/tranche --version", &[]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("tranche {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_action_fits_its_scripts_and_the_example_fits_the_action() {
    let action = yaml("action.yml");
    assert_eq!(action["inputs"]["version"]["default"], env!("CARGO_PKG_VERSION"));
    let steps = action["runs"]["steps"].as_array().unwrap();
    for step in steps {
        let script = in_script(step["run"].as_str().unwrap());
        let read = text(&script);
        let given = step["env"].as_object().unwrap();
        for name in given.keys().filter(|name| name.starts_with("INPUT_")) {
            assert!(read.contains(&format!("${{{name}")), "{script} does not read {name}");
        }
    }
    let walk = text("ci/walk.sh");
    for (name, output) in action["outputs"].as_object().unwrap() {
        let value = output["value"].as_str().unwrap();
        assert_eq!(value, format!("${{{{ steps.walk.outputs.{name} }}}}"));
        assert!(walk.contains(&format!("output {name} ")), "ci/walk.sh writes no {name}");
    }
    let given: BTreeSet<String> = steps.iter().flat_map(|step| expressions(&step["env"])).collect();
    for name in action["inputs"].as_object().unwrap().keys() {
        assert!(given.contains(&format!("inputs.{name}")), "no script is given {name}");
    }
    let steps = yaml("docs/ci/github.yml")["jobs"]["tranche"]["steps"].clone();
    let uses = steps.as_array().unwrap().iter().find(|step| step["id"] == "tranche").unwrap();
    for name in uses["with"].as_object().unwrap().keys() {
        assert!(action["inputs"].get(name).is_some(), "the action has no input {name}");
    }
    assert!(uses["with"].get("model").is_some());
    for used in expressions(&steps).iter().filter_map(|name| name.strip_prefix("steps.tranche.outputs.")) {
        assert!(action["outputs"].get(used).is_some(), "the action has no output {used}");
    }
}

/// The script that a step of the action runs.
fn in_script(run: &str) -> String {
    let script = run.trim_matches('"').strip_prefix("$ACTION_PATH/").unwrap().to_owned();
    assert!(repository().join(&script).is_file(), "{script}");
    script
}

/// Words with dots in all texts of a YAML value.
fn expressions(value: &Value) -> BTreeSet<String> {
    let text = value.to_string();
    let words = text.split(|letter: char| !(letter.is_alphanumeric() || "._-".contains(letter)));
    words.filter(|word| word.contains('.')).map(str::to_owned).collect()
}
