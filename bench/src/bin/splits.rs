//! Layers as parts that run at once, against the whole model with as much CPU: in each function, and in all.
//!
//! `cargo build --release && cargo run --release -p tranche-bench --bin splits -- vgg16 --parts 4`
//!
//! Each model is planned for the least latency with functions of `--cpu` CPUs, layers split into at most so
//! many parts; the whole model is deployed with `--cpu` CPUs and with `--cpu` times the parts. All are called
//! in turn, under the kernel's limits. Sizes are those of measured peaks (no search for the smallest limit).
//! One JSON line a model and number of parts is appended to `--output`; what has a line is not measured again.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tranche_bench::{
    BenchError, Deployed, Extent, Measured, Program, Request, Wanted, default_cache, encode, existing,
    in_turn, inputs, made,
};
use tranche_schema::Plan;

#[derive(Parser)]
struct Arguments {
    /// Models
    #[arg(default_values = ["vgg16", "resnet50", "inception_v3", "vit_b16", "bert_base", "gpt2_small", "gcn_wide", "convlstm"])]
    models: Vec<String>,
    /// Engine
    #[arg(long, default_value = "onnxruntime")]
    engine: String,
    /// Most parts, in turn
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4])]
    parts: Vec<u32>,
    /// CPUs of each function
    #[arg(long, default_value_t = 0.5)]
    cpu: f64,
    /// How layers are cut and split
    #[arg(long, default_value = "gillis")]
    strategy: String,
    /// Rounds of one request to each
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Seconds that the rounds of one model may take
    #[arg(long, default_value_t = 90)]
    budget: u64,
    /// The tranche program
    #[arg(long, default_value = "target/release/tranche")]
    program: PathBuf,
    /// Where plans and deployments go
    #[arg(long, default_value = "target/bench-splits")]
    work: PathBuf,
    /// Where results are appended
    #[arg(long, default_value = "bench/splits.jsonl")]
    output: PathBuf,
    /// Print the table of what is in the output, run nothing
    #[arg(long)]
    table: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut failed = false;
    if !arguments.table {
        for model in &arguments.models {
            for &parts in &arguments.parts {
                if let Err(error) = measure(&arguments, model, parts) {
                    eprintln!("{model} in {parts} parts: {error}");
                    failed = true;
                }
            }
        }
    }
    println!("{}", table(&read(&arguments.output)));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(arguments: &Arguments, model: &str, parts: u32) -> Result<(), BenchError> {
    let Arguments { engine, cpu, strategy, .. } = arguments;
    let is_same = |line: &Value| {
        line["model"] == model
            && line["parts"] == parts
            && line["engine"] == *engine
            && line["cpu"] == *cpu
            && line["strategy"] == *strategy
    };
    if read(&arguments.output).iter().any(is_same) {
        return Ok(());
    }
    eprintln!("{model} in at most {parts} parts");
    let program = Program {
        path: existing(&arguments.program)?,
        state: made(&arguments.work.join("state"))?,
        cache: made(&default_cache())?,
        deadline: Duration::from_secs(1800),
    };
    program.destroy_all()?;
    let folder = made(&arguments.work.join(model))?;
    let wanted =
        |strategy: &str, cpu: f64, parts: Option<u32>, name: &str| -> Result<Deployed<'_>, BenchError> {
            let work = folder.join(name);
            program.deploy(&Wanted { model, engine, strategy, prices: None, cpu, parts, work: &work })
        };
    let split = wanted(strategy, *cpu, Some(parts), &format!("split-{parts}"))?;
    let alike = wanted("unsplit", *cpu, None, "whole")?;
    let total = *cpu * f64::from(parts);
    // Some models cannot be deployed so: an engine may give other numbers with more threads.
    let all = wanted("unsplit", total, None, &format!("whole-{parts}"));
    let refused = all.as_ref().err().map(ToString::to_string);
    let all = all.ok();
    let given = inputs(model, &split.driver.deployment().inputs, 0)?;
    let body = encode(&given);
    let request = Request { inputs: &given, body: &body };
    let extent = Extent {
        rounds: arguments.rounds,
        budget: Duration::from_secs(arguments.budget),
        deadline: program.deadline,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::file("start a runtime for", &folder))?;
    let deployed: Vec<&Deployed<'_>> = [&alike, &split].into_iter().chain(&all).collect();
    let turns = runtime.block_on(in_turn(&deployed, None, &request, extent))?;
    let measured: Vec<Value> = turns.deployed.iter().map(described).collect();
    let line = json!({
        "model": model, "parts": parts, "engine": engine, "cpu": cpu, "strategy": strategy, "rounds": turns.rounds,
        "whole": measured.first(), "split": measured.get(1), "whole_total": measured.get(2), "whole_total_refused": refused, "total_cpu": total,
        "splits": split.plan.splits, "slices": split.plan.slices.len(), "functions": functions(&split.plan),
        "predicted_latency_ms": split.plan.prediction.latency_ms,
        "difference": turns.differences_from_first.get(1).copied().flatten(),
        "load": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
    });
    append(&arguments.output, &line)
}

fn described(measured: &Result<Measured, BenchError>) -> Value {
    match measured {
        Ok(measured) => json!({
            "p50_ms": measured.latency.median, "p99_ms": measured.latency.p99, "billed_ms": measured.billed.median,
            "memory_time": measured.memory_time.median, "retries": measured.retries,
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// Bytes that pass between functions, and how many functions there are at most at once.
fn functions(plan: &Plan) -> Value {
    let passed: u64 = plan.edges.iter().map(|edge| edge.tensor.bytes().0 * edge.to.len().max(1) as u64).sum();
    json!({ "passed_bytes": passed, "memory_bytes": plan.slices.iter().map(|slice| slice.size.memory_bytes.0).sum::<u64>() })
}

fn append(path: &Path, line: &Value) -> Result<(), BenchError> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(BenchError::file("open", path))?;
    writeln!(file, "{line}").map_err(BenchError::file("write", path))
}

fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A row a measurement: ways that pay and ways that do not.
fn table(lines: &[Value]) -> String {
    let mut text = String::from(
        "| model | at most | slices | split | work of a part | p50: whole, split, whole with all CPUs (ms) | p99 (ms) \
         | p50 gain | against all CPUs | memory-time | difference |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for line in lines {
        let number = |way: &str, what: &str| line[way][what].as_f64().unwrap_or(f64::NAN);
        let (whole, split, total) =
            (number("whole", "p50_ms"), number("split", "p50_ms"), number("whole_total", "p50_ms"));
        let splits: Vec<String> = line["splits"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|split| {
                let name = split["name"]
                    .as_str()
                    .unwrap_or_default()
                    .split('-')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                format!("{name} of {}", split["layers"].as_array().map_or(0, Vec::len))
            })
            .collect();
        let work: Vec<String> = line["splits"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|split| split["work"].as_array()?.iter().filter_map(Value::as_f64).reduce(f64::max))
            .map(|work| format!("{:.0} %", work * 100.0))
            .collect();
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {whole:.1}, {split:.1}, {total:.1} | {:.1}, {:.1}, {:.1} | {:.2}x | {:.2}x | {:.2}x | {:.1e} |\n",
            line["model"].as_str().unwrap_or_default(),
            line["parts"],
            line["slices"],
            if splits.is_empty() { "none: it does not pay".to_owned() } else { splits.join(", ") },
            work.join(", "),
            number("whole", "p99_ms"),
            number("split", "p99_ms"),
            number("whole_total", "p99_ms"),
            whole / split,
            total / split,
            number("whole", "memory_time") / number("split", "memory_time"),
            line["difference"].as_f64().unwrap_or(f64::NAN),
        ));
    }
    text
}
