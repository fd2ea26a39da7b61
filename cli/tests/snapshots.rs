//! What people see: help, tables, errors, as whole texts. Times, sizes of
//! memory, paths and versions are replaced, since they change with the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use clap::CommandFactory as _;
use support::{Place, verbs};
use tranche_cli::arguments::CommandLine;

/// A plan that does not depend on what was measured.
const CUT: &str = "manual=MatMul_12";

/// Both streams of the program, as a person without a terminal gets them.
fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.tranche(arguments).output().unwrap();
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let code = output.status.code().unwrap();
    let text = format!("$ tranche {}\n{out}--- stderr\n{error}--- exit code {code}", arguments.join(" "));
    text.replace(place.path("").to_str().unwrap().trim_end_matches('/'), "[place]")
}

/// Replaces what is measured, or differs from machine to machine.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    let filters = [
        // Only where functions can be held to their sizes.
        (r" *Measured billed .*\n", ""),
        (r"(?m)^(needs .* to run as fast as without a limit|runs: .*)\n", ""),
        // Numbers with units; the marks of limits that are not enforced here.
        (r"[+-]?\d[\d.]*(e-?\d+)? (ms|s)\b", "[time]"),
        (r"\d[\d.]* GiB·s", "[memory-time]"),
        (r"\d[\d.]* (B|KiB|MiB|GiB)\b\*?", "[bytes]"),
        // Whatever takes least on this machine.
        (r"(inline|mapped-file), (raw|zstd|lz4|shuffle-zstd|sparse)", "[way]"),
        (r"CPU\*", "CPU"),
        (r"[+-]?\d[\d.]* %", "[share]"),
        (r"\d+\.\d\dx (less|more)", "[ratio] less or more"),
        (r"\d+\.\d\dx", "[ratio]"),
        (r"\b\d+\.\d+\.\d+\b", "[version]"),
        (r"bundle   [0-9a-f]{12}", "bundle   [digest]"),
        // Notes depend on what was measured, and on what this machine enforces.
        (r"(?ms)(as the whole model\n).*?^priced:", "$1[notes]\npriced:"),
        (r"(?ms)^Notes\n.*?(--- stderr|\z)", "Notes\n  [notes]\n$1"),
        (r"(?m)^(limits were not enforced|\* this limit).*\n?", ""),
        (r" *warning: .*\n", ""),
        // Which layers stand out in time differs from run to run.
        (r"(?m)(\[bytes\]) +(time, memory|time|memory)$", "$1"),
        // Columns are as wide as their numbers.
        (r" {2,}", "  "),
        (r"(?m) +$", ""),
    ];
    for (pattern, replacement) in filters {
        settings.add_filter(pattern, replacement);
    }
    settings
}

#[test]
fn help_of_every_verb() {
    let place = Place::new();
    settings().bind(|| {
        insta::assert_snapshot!("help", said(&place, &["--help"]));
        for verb in verbs() {
            let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
            insta::assert_snapshot!(format!("help-{}", verb.join("-")), said(&place, &words));
        }
    });
}

#[test]
fn every_verb_has_examples() {
    for verb in verbs().iter().filter(|verb| !["models", "engine"].contains(&verb.last().unwrap().as_str())) {
        let mut command = CommandLine::command();
        let command =
            verb.iter().fold(&mut command, |command, word| command.find_subcommand_mut(word).unwrap());
        let help = command.render_long_help().to_string();
        assert!(help.contains(&format!("Examples:\n  tranche {}", verb.join(" "))), "{verb:?}: {help}");
    }
}

#[test]
fn a_model_inspected() {
    let place = Place::new();
    settings().bind(|| {
        place.tranche(&["models", "build", "gcn_cora"]).assert().success();
        insta::assert_snapshot!(
            "inspect",
            said(&place, &["inspect", "gcn_cora.onnx", "--dim", "V=20", "--dim", "E=30"])
        );
        insta::assert_snapshot!("inspect-json", said(&place, &["inspect", "gcn_cora", "--json"]));
        insta::assert_snapshot!("inspect-dot", said(&place, &["inspect", "gcn_cora", "--dot"]));
    });
}

#[test]
fn lists() {
    let place = Place::new();
    settings().bind(|| {
        insta::assert_snapshot!("models-list", said(&place, &["models", "list"]));
        insta::assert_snapshot!("engine-list", said(&place, &["engine", "list"]));
        insta::assert_snapshot!("status-of-nothing", said(&place, &["status"]));
    });
}

#[test]
fn doctor_on_this_machine() {
    let place = Place::new();
    let mut settings = settings();
    settings.add_filter(r"on linux-\w+, \d+ x .*", "on [platform], [cpus] x [model]");
    settings
        .add_filter(r"memory: (yes|no), CPU: (yes|no)\n(  .*\n)?", "memory: [yes or no], CPU: [yes or no]\n");
    settings.bind(|| insta::assert_snapshot!("doctor", said(&place, &["doctor"])));
}

#[test]
fn one_verb_after_the_other() {
    let place = Place::new();
    settings().bind(|| {
        let see = |name: &str, arguments: &[&str]| insta::assert_snapshot!(name, said(&place, arguments));
        see("profile", &["profile", "gcn_cora", "--repeats", "1"]);
        see("partition", &["partition", "gcn_cora", "--strategy", CUT]);
        see("plan-explain", &["plan", "gcn_cora", "--strategy", CUT, "--explain"]);
        see("compare", &["compare", "gcn_cora", "--max-slices", "1"]);
        see("report", &["report"]);
        see("package", &["package", "gcn_cora"]);
        see("verify", &["verify", "gcn_cora"]);
        see("deploy-dry-run", &["deploy", "--name", "gcn", "--dry-run"]);
    });
}

#[test]
fn a_whole_run() {
    let place = Place::new();
    let arguments = ["run", "gcn_cora", "--strategy", CUT, "--repeats", "1", "--requests", "2"];
    settings().bind(|| insta::assert_snapshot!("run", said(&place, &arguments)));
}

#[test]
fn errors() {
    let place = Place::new();
    std::fs::write(place.path("broken.onnx"), b"\x08\x07not a model").unwrap();
    place.tranche(&["models", "build", "gcn_cora"]).assert().success();
    place.json(&["profile", "gcn_cora", "--repeats", "1"]);
    settings().bind(|| {
        let see = |name: &str, arguments: &[&str]| {
            insta::assert_snapshot!(format!("error-{name}"), said(&place, arguments))
        };
        see("unknown-flag", &["run", "gcn_cora", "--max-memroy", "1"]);
        see("unknown-verb", &["rum"]);
        see("unknown-model", &["inspect", "vgg17"]);
        see("no-file", &["inspect", "missing.onnx"]);
        see("broken-model", &["inspect", "broken.onnx"]);
        see("wrong-shape", &["inspect", "gcn_cora", "--shape", "x=1433"]);
        see("shape-of-nothing", &["inspect", "gcn_cora", "--shape", "y=1x2"]);
        see("shape-of-no-form", &["inspect", "gcn_cora", "--shape", "x=1xtwo"]);
        see("unknown-dimension", &["inspect", "gcn_cora.onnx", "--dim", "batch=4"]);
        see("dimensions-not-bound", &["inspect", "gcn_cora.onnx", "--dim", "V=8"]);
        see("infeasible", &["partition", "gcn_cora", "--max-memory", "1"]);
        see("unknown-strategy", &["partition", "gcn_cora", "--strategy", "random"]);
        see("unknown-cut", &["partition", "gcn_cora", "--strategy", "manual=relu"]);
        see("no-plan", &["package", "gcn_cora"]);
        see("no-bundle", &["deploy"]);
        see("no-deployment", &["invoke", "nobody", "--random"]);
        see("no-library", &["profile", "gcn_cora", "--engine", "onnxruntime"]);
    });
}
