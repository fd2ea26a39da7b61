//! Every check of the repository, one after the other. A failed step does not
//! keep the later ones from running: one run shows all there is to mend.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A check: a program that exits with 0 when all is well.
struct Step {
    name: &'static str,
    about: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    /// Arguments that make the program say its version, to see that it is there.
    probe: &'static [&'static str],
    /// How to get it.
    install: &'static str,
}

/// Everything builds in the release profile, so that the engines are built once
/// for the program and its tests, and checked once for lints and documentation.
const STEPS: [Step; 7] = [
    Step {
        name: "fmt",
        about: "the code is formatted",
        program: "cargo",
        arguments: &["fmt", "--all", "--check"],
        environment: &[],
        probe: &["fmt", "--version"],
        install: "rustup component add rustfmt",
    },
    Step {
        name: "typos",
        about: "words are spelt right",
        program: "typos",
        arguments: &[],
        environment: &[],
        probe: &["--version"],
        install: "cargo install --locked typos-cli (or: pip install typos)",
    },
    Step {
        name: "scripts",
        about: "shell scripts, the action and the examples for pipelines are sound",
        program: "bash",
        arguments: &["ci/check.sh"],
        environment: &[],
        probe: &["ci/check.sh", "--probe"],
        install: ".ci/run installs shellcheck, check-jsonschema and actionlint",
    },
    Step {
        name: "deny",
        about: "licences, duplicate and banned crates, where crates come from",
        program: "cargo",
        arguments: &[
            "deny",
            "--locked",
            "--workspace",
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ],
        environment: &[],
        probe: &["deny", "--version"],
        install: "cargo install --locked cargo-deny",
    },
    Step {
        name: "clippy",
        about: "no lint fires",
        program: "cargo",
        arguments: &[
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        environment: &[],
        probe: &["clippy", "--version"],
        install: "rustup component add clippy",
    },
    Step {
        name: "doc",
        about: "the documentation builds without warnings",
        program: "cargo",
        arguments: &["doc", "--release", "--workspace", "--no-deps", "--locked"],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
        probe: &["doc", "--help"],
        install: "rustup component add rust-docs",
    },
    Step {
        name: "test",
        about: "all tests pass",
        program: "cargo",
        arguments: &["nextest", "run", "--release", "--workspace", "--locked"],
        environment: &[],
        probe: &["nextest", "--version"],
        install: "cargo install --locked cargo-nextest",
    },
];

/// Which steps run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Selection {
    /// Reads `--only STEP` and `--skip STEP`, each any number of times.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut selection = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (*argument, None),
            };
            let steps = match flag {
                "--only" => &mut selection.only,
                "--skip" => &mut selection.skip,
                _ => return Err(format!("`{argument}` is not known")),
            };
            let name = value.or_else(|| rest.next().copied());
            let name = name.ok_or_else(|| format!("`{flag}` needs the name of a step"))?;
            if STEPS.iter().all(|step| step.name != name) {
                return Err(format!("there is no step `{name}`"));
            }
            steps.push(name.to_owned());
        }
        Ok(selection)
    }

    fn has(&self, name: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|entry| entry == name);
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

/// The steps and what they check.
pub(crate) fn list() -> String {
    STEPS.iter().fold(String::new(), |mut text, step| {
        let _ = writeln!(text, "  {:<8}{}", step.name, step.about);
        text
    })
}

/// Runs the chosen steps; fails when one of them did, or its program is missing.
pub(crate) fn run(selection: &Selection) -> ExitCode {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| selection.has(step.name)).collect();
    let missing: Vec<&&Step> = steps.iter().filter(|step| !is_there(step)).collect();
    for step in &missing {
        say(&format!(
            "error: step `{}` needs a program that is not there; get it with: {}",
            step.name, step.install
        ));
    }
    if !missing.is_empty() {
        return ExitCode::from(2);
    }
    let results: Vec<(&Step, bool, Duration)> = steps
        .into_iter()
        .map(|step| {
            say(&format!("\n=== {}: {} {}", step.name, step.program, step.arguments.join(" ")));
            let started = Instant::now();
            let passed = command(step, step.arguments).status().is_ok_and(|status| status.success());
            let took = started.elapsed();
            let verdict = if passed { "passed" } else { "FAILED" };
            say(&format!("=== {} {verdict} in {:.1} s", step.name, took.as_secs_f64()));
            (step, passed, took)
        })
        .collect();
    say("");
    for (step, passed, took) in &results {
        let verdict = if *passed { "passed" } else { "FAILED" };
        say(&format!("{:<8}{verdict}{:>9.1} s", step.name, took.as_secs_f64()));
    }
    let total: Duration = results.iter().map(|(_, _, took)| *took).sum();
    let failed = results.iter().filter(|(_, passed, _)| !passed).count();
    say(&format!(
        "{} of {} steps passed in {:.1} s",
        results.len() - failed,
        results.len(),
        total.as_secs_f64()
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn command(step: &Step, arguments: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut command = crate::shim::plain(step.program);
    command.args(arguments).envs(step.environment.iter().copied()).current_dir(root).stdin(Stdio::null());
    command
}

fn is_there(step: &Step) -> bool {
    let probe = command(step, step.probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(arguments: &[&str]) -> Vec<&'static str> {
        let selection = Selection::parse(arguments).unwrap();
        STEPS.iter().map(|step| step.name).filter(|name| selection.has(name)).collect()
    }

    #[test]
    fn steps_are_chosen_by_name() {
        assert_eq!(chosen(&[]), ["fmt", "typos", "scripts", "deny", "clippy", "doc", "test"]);
        assert_eq!(chosen(&["--only", "test", "--only=fmt"]), ["fmt", "test"]);
        assert_eq!(
            chosen(&["--skip", "deny", "--skip", "typos"]),
            ["fmt", "scripts", "clippy", "doc", "test"]
        );
        assert_eq!(chosen(&["--only", "fmt", "--skip", "fmt"]), [""; 0]);
    }

    #[test]
    fn wrong_words_are_named() {
        let reason = |arguments: &[&str]| Selection::parse(arguments).unwrap_err();
        assert_eq!(reason(&["--only", "lint"]), "there is no step `lint`");
        assert_eq!(reason(&["--skip"]), "`--skip` needs the name of a step");
        assert_eq!(reason(&["fmt"]), "`fmt` is not known");
    }
}
