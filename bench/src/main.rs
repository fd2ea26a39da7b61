//! Sends models through `tranche run` and prints one table: memory-time and
//! latency, sliced against unsplit, both deployed under limits in the same run.
//!
//! `cargo build --release && cargo run --release -p tranche-bench -- --engine tract`
//!
//! One JSON line a model is appended to `--output`; models that have a line for
//! the same engine are not run again, so an interrupted evaluation goes on.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The evaluation's models: four categories.
const MODELS: &[&str] = &[
    "vgg16",
    "resnet50",
    "inception_v3",
    "lstm_lm",
    "bigru_lm",
    "convlstm",
    "bert_base",
    "vit_b16",
    "gpt2_small",
    "gcn_wide",
    "gat_cora",
    "caustic_nmr_painn",
];

/// Trained models out of public packages that an engine runs.
const TRAINED: &[&str] = &[
    "PP-OCRv6_det_small",
    "PP-OCRv6_rec_small",
    "ch_ppocr_mobile_v2.0_cls_mobile",
    "ddddocr_common",
    "ddddocr_det",
    "efficientnet_lite0",
    "minilm_l6_v2_fp32",
    "minilm_l6_int8",
    "smollm2_135m_fp32",
    "silero_vad",
    "silero_vad_16k_op15",
    "silero_vad_16k_sequence",
    "magika_v3_3",
    "dnsmos_sig_bak_ovr",
    "aecmos_48k_gru",
];

#[derive(Parser)]
struct Arguments {
    /// Models; all of the evaluation when none is named
    models: Vec<String>,
    /// The trained models too
    #[arg(long, conflicts_with = "models")]
    trained: bool,
    /// Engine
    #[arg(long, default_value = "tract")]
    engine: String,
    /// The tranche program
    #[arg(long, default_value = "target/release/tranche")]
    program: PathBuf,
    /// Where results are appended
    #[arg(long, default_value = "bench/results.jsonl")]
    output: PathBuf,
    /// Requests for each deployment
    #[arg(long, default_value_t = 5)]
    requests: u32,
    /// Print the table of what is in the output, run nothing
    #[arg(long)]
    table: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut lines = read(&arguments);
    if !arguments.table {
        let models: Vec<String> = if arguments.models.is_empty() {
            let trained = if arguments.trained { TRAINED } else { &[] };
            MODELS.iter().chain(trained).map(|&name| name.to_owned()).collect()
        } else {
            arguments.models.clone()
        };
        for model in models {
            if lines.iter().any(|line| line["model"] == *model && line["engine"] == *arguments.engine) {
                continue;
            }
            eprintln!("{model} on {}", arguments.engine);
            let line = run(&arguments, &model);
            if let Err(error) = append(&arguments, &line) {
                eprintln!("cannot write {}: {error}", arguments.output.display());
                return ExitCode::FAILURE;
            }
            lines.push(line);
        }
    }
    println!("{}", table(&lines));
    ExitCode::SUCCESS
}

fn read(arguments: &Arguments) -> Vec<Value> {
    fs::read_to_string(&arguments.output)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn append(arguments: &Arguments, line: &Value) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&arguments.output)?;
    writeln!(file, "{line}")
}

/// One walk with the planner's own choice; where that is not to slice, one more
/// with a cut forced, marked so. A model that has no place to cut keeps the first.
fn run(arguments: &Arguments, model: &str) -> Value {
    let free = walk(arguments, model, &[]);
    let sliced = free["slices"].as_u64().unwrap_or(0) >= 2;
    let (report, forced) = if sliced || free.get("error").is_some() {
        (free, false)
    } else {
        let forced = walk(arguments, model, &["--min-slices", "2"]);
        if forced.get("error").is_some() { (free, false) } else { (forced, true) }
    };
    serde_json::json!({ "model": model, "engine": arguments.engine, "forced": forced, "report": report })
}

fn walk(arguments: &Arguments, model: &str, extra: &[&str]) -> Value {
    let output = Command::new(&arguments.program)
        .args(["run", model, "--json", "--engine", &arguments.engine])
        .args(["--requests", &arguments.requests.to_string()])
        .args(extra)
        .output();
    match output {
        Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_else(
            |_| serde_json::json!({ "error": { "message": String::from_utf8_lossy(&output.stderr) } }),
        ),
        Err(error) => serde_json::json!({ "error": { "message": error.to_string() } }),
    }
}

fn table(lines: &[Value]) -> String {
    let mut text = String::from(
        "| model | engine | slices | memory-time unsplit → sliced (GiB·s) | gain | latency unsplit → sliced (ms) | max relative difference |\n|---|---|---|---|---|---|---|\n",
    );
    for line in lines {
        let report = &line["report"];
        let name = line["model"].as_str().unwrap_or_default();
        let engine = line["engine"].as_str().unwrap_or_default();
        if let Some(message) = report["error"]["message"].as_str() {
            let message = message.lines().next().unwrap_or_default();
            let _ = writeln!(text, "| {name} | {engine} | – | {message} | | | |");
            continue;
        }
        let forced = if line["forced"] == true { " (forced)" } else { "" };
        let number = |of: &Value, field: &str| of[field].as_f64().unwrap_or(f64::NAN);
        let (whole, sliced) = (&report["unsplit_bill"], &report["bill"]);
        let (before, after) = (number(whole, "memory_time"), number(sliced, "memory_time"));
        let _ = writeln!(
            text,
            "| {name} | {engine} | {}{forced} | {before:.4} → {after:.4} | {:.2}x | {:.0} → {:.0} | {:.1e} |",
            report["slices"],
            before / after,
            number(whole, "latency_ms"),
            number(sliced, "latency_ms"),
            number(report, "max_relative_difference"),
        );
    }
    text
}
