//! Cold first answers: slices whose starts overlap, slices that start one after the other, and the
//! unsplit model, each with no process running and its files out of the page cache.
//!
//! `cargo build --release && cargo run --release --bin cold -- vgg16 --engine tract --cut 4`
//!
//! Plans, packages and verifies with `tranche run`, deploys with `--scale-to-zero 0` under the plan's
//! limits, then measures in rounds, the ways in turn within each, so that what else the machine does
//! falls on all alike. One JSON line a measurement is appended to `--output`; what has a line is not
//! measured again, so an interrupted run goes on.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Ways to a cold first answer: whether of the unsplit model, and when functions start.
const WAYS: [(&str, bool, &str); 3] =
    [("overlapped", false, "always"), ("one after the other", false, "never"), ("unsplit", true, "never")];

/// Of the files' bytes, what may still be cached before a measurement.
const MOST_CACHED: f64 = 0.01;

#[derive(Parser)]
struct Arguments {
    /// Models
    #[arg(default_values = ["vgg16", "bert_base", "gpt2_small"])]
    models: Vec<String>,
    /// Engines, in turn
    #[arg(long = "engine", default_values = ["tract", "onnxruntime"])]
    engines: Vec<String>,
    /// Cuts: `own` for the planner's choice, which may be one slice, `<=N` for the best of at most N, N for exactly so many
    #[arg(long = "cut", default_values = ["own", "4"])]
    cuts: Vec<String>,
    /// Measurements of each way
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// The tranche program
    #[arg(long, default_value = "target/release/tranche")]
    program: PathBuf,
    /// Where bundles and deployments go
    #[arg(long, default_value = "target/bench-cold")]
    work: PathBuf,
    /// Where results are appended
    #[arg(long, default_value = "bench/cold.jsonl")]
    output: PathBuf,
    /// Print the table of what is in the output, run nothing
    #[arg(long)]
    table: bool,
}

/// What is compared: a model on an engine, cut in a way.
struct Case<'a> {
    arguments: &'a Arguments,
    model: &'a str,
    engine: &'a str,
    cut: &'a str,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut failed = false;
    if !arguments.table {
        for model in &arguments.models {
            for engine in &arguments.engines {
                for cut in &arguments.cuts {
                    let case = Case { arguments: &arguments, model, engine, cut };
                    if let Err(reason) = case.measure() {
                        eprintln!("{model} on {engine}, cut {cut}: {reason}");
                        failed = true;
                    }
                }
            }
        }
    }
    println!("{}", table(&read(&arguments.output)));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Case<'_> {
    fn measure(&self) -> Result<(), String> {
        let done = read(&self.arguments.output);
        let missing = |way: &str, round: u64| {
            !done.iter().any(|line| self.describes(line) && line["way"] == way && line["round"] == round)
        };
        let rounds: Vec<u64> = (0..self.arguments.rounds)
            .filter(|&round| WAYS.iter().any(|(way, ..)| missing(way, round)))
            .collect();
        if rounds.is_empty() {
            return Ok(());
        }
        eprintln!("{} on {}, cut {}", self.model, self.engine, self.cut);
        let work = self.bundles()?;
        let bundle = |whole: bool| {
            let unsplit = work.join("unsplit");
            // A plan of one slice is the unsplit model.
            if whole && unsplit.is_dir() { unsplit } else { work.join("bundle") }
        };
        for whole in [false, true] {
            let deploy = ["--name", self.name(whole), "--scale-to-zero", "0", "--engine", self.engine];
            self.tranche(&[&["deploy", &bundle(whole).display().to_string()][..], &deploy].concat())?;
        }
        let measured = rounds.iter().try_for_each(|&round| {
            // Another goes first in each round.
            let ways = (0..WAYS.len()).map(|at| WAYS[(at + round as usize) % WAYS.len()]);
            for (way, whole, overlap) in ways.filter(|(way, ..)| missing(way, round)) {
                let line = self.cold(&bundle(whole), (way, whole, overlap), round)?;
                append(&self.arguments.output, &line).map_err(|error| error.to_string())?;
            }
            Ok(())
        });
        for whole in [false, true] {
            self.tranche(&["destroy", self.name(whole)])?;
        }
        measured
    }

    /// One cold first answer, and a warm one after it.
    fn cold(
        &self,
        bundle: &Path,
        (way, whole, overlap): (&str, bool, &str),
        round: u64,
    ) -> Result<Value, String> {
        for any in [false, true] {
            self.tranche(&["scale", self.name(any), "0"])?;
        }
        let files = files(bundle);
        let (bytes, cached) = evicted(&files)?;
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let invoke = ["invoke", self.name(whole), "--random", "--overlap", overlap];
        let cold = self.tranche(&invoke)?["bill"].take();
        let warm = self.tranche(&[&invoke[..], &["--repeat", "3"]].concat())?["bill"].take();
        let slices = cold["slices"].as_array().cloned().unwrap_or_default();
        if !slices.iter().all(|slice| slice["measured"]["cold"] == true) {
            return Err(format!("{way}, round {round}: not every function was cold"));
        }
        let start_ups: Vec<Value> =
            slices.iter().map(|slice| slice["measured"]["start_up_ms"].clone()).collect();
        eprintln!("  {way}, round {round}: {} ms", cold["latency_ms"]);
        Ok(json!({
            "model": self.model, "engine": self.engine, "cut": self.cut, "way": way, "round": round,
            "slices": slices.len(), "latency_ms": cold["latency_ms"], "start_up_ms": start_ups,
            "warm_latency_ms": warm["latency_ms"], "billed_ms": cold["billed_ms"],
            "memory_bytes": slices.iter().map(|slice| slice["size"]["memory_bytes"].clone()).collect::<Vec<_>>(),
            "limits": slices.iter().all(|slice| slice["limits"]["memory"] == true && slice["limits"]["cpu"] == true),
            "evicted_bytes": bytes, "cached_share": cached, "cpus": tranche_host::usable_cpus(),
            "load_average": load.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()),
        }))
    }

    /// Bundles of the slices and of the unsplit model, sized and verified; made once.
    fn bundles(&self) -> Result<PathBuf, String> {
        let work = self.arguments.work.join(format!("{}-{}-{}", self.model, self.engine, self.cut));
        let made = work.join("made");
        if !made.exists() {
            let folder = work.display().to_string();
            let exactly = ["--min-slices", self.cut, "--max-slices", self.cut];
            let cut: &[&str] = match self.cut.strip_prefix("<=") {
                Some(most) => &["--max-slices", most],
                None if self.cut == "own" => &[],
                None => &exactly,
            };
            let run = ["run", self.model, "--engine", self.engine, "--requests", "1", "--work", &folder];
            self.tranche(&[&run[..], cut].concat())?;
            fs::write(&made, b"").map_err(|error| error.to_string())?;
        }
        Ok(work)
    }

    fn name(&self, whole: bool) -> &'static str {
        if whole { "cold-unsplit" } else { "cold-sliced" }
    }

    fn describes(&self, line: &Value) -> bool {
        line["model"] == *self.model && line["engine"] == *self.engine && line["cut"] == *self.cut
    }

    fn tranche(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(&self.arguments.program)
            .args(arguments)
            .arg("--json")
            .env("TRANCHE_STATE", self.arguments.work.join("state"))
            .output()
            .map_err(|error| format!("{}: {error}", self.arguments.program.display()))?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&text)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{arguments:?}: {error}"))
    }
}

/// Evicts the files; their bytes, and the share of them that the page cache still holds.
fn evicted(files: &[PathBuf]) -> Result<(u64, f64), String> {
    let mut share = 1.0;
    // Pages that the ended processes' CPUs still hold are not dropped at once.
    for _ in 0..100 {
        let (mut all, mut cached) = (0, 0.0);
        for file in files {
            let told = |error: tranche_host::HostError| error.to_string();
            tranche_host::evict(file).map_err(told)?;
            let bytes = fs::metadata(file).map_err(|error| error.to_string())?.len();
            cached += bytes as f64 * tranche_host::cached_share(file).map_err(told)?;
            all += bytes;
        }
        share = cached / all.max(1) as f64;
        if share < MOST_CACHED {
            return Ok((all, share));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("the page cache keeps {share:.2} of the model's files"))
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .collect()
}

fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn append(path: &Path, line: &Value) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}")
}

/// Medians, with the smallest and the largest, of the cold first answer of each way.
fn table(lines: &[Value]) -> String {
    let mut cases: BTreeMap<(String, String, String), Vec<&Value>> = BTreeMap::new();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    for line in lines {
        let case = (text(line, "model"), text(line, "engine"), text(line, "cut"));
        cases.entry(case).or_default().push(line);
    }
    let mut table = String::from(
        "| model | engine | cut | slices | overlapped (ms) | one after the other (ms) | unsplit (ms) | longest start, slices / unsplit (ms) | load |\n|---|---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((model, engine, cut), lines) in cases {
        let of = |way: &'static str| lines.iter().filter(move |line| line["way"] == way);
        let spread = |way| {
            let values = of(way).filter_map(|line| line["latency_ms"].as_f64());
            middle(values)
                .map_or_else(String::new, |(low, median, high)| format!("{median:.0} ({low:.0}–{high:.0})"))
        };
        let longest = |way| {
            let start = |line: &&Value| {
                line["start_up_ms"].as_array()?.iter().filter_map(Value::as_f64).max_by(f64::total_cmp)
            };
            middle(of(way).copied().filter_map(|line| start(&line))).map_or(f64::NAN, |(_, median, _)| median)
        };
        let load = middle(lines.iter().filter_map(|line| line["load_average"].as_f64()));
        let _ = writeln!(
            table,
            "| {model} | {engine} | {cut} | {} | {} | {} | {} | {:.0} / {:.0} | {:.1} |",
            of("overlapped").next().map_or(&Value::Null, |line| &line["slices"]),
            spread("overlapped"),
            spread("one after the other"),
            spread("unsplit"),
            longest("overlapped"),
            longest("unsplit"),
            load.map_or(f64::NAN, |(_, median, _)| median),
        );
    }
    table
}

/// Smallest, median and largest.
fn middle(values: impl Iterator<Item = f64>) -> Option<(f64, f64, f64)> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    Some((low, values.get(values.len() / 2).copied()?, high))
}
