//! Runs the evaluation, or prints its tables. `docs/evaluation.md` says what the numbers mean.
//!
//! `cargo build --release && cargo run --release -p tranche-bench`

#![allow(clippy::print_stdout, clippy::print_stderr)]

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tranche_bench::{
    BenchError, Evaluation, Lines, MODELS, PriceList, Program, Settings, TRAINED, default_cache, existing,
    made, render,
};

#[derive(Parser)]
#[command(about = "Evaluate: slices against the whole model and against a Python function", version)]
struct Arguments {
    /// Models; all of the evaluation when none is named
    models: Vec<String>,
    /// The trained models too
    #[arg(long, conflicts_with = "models")]
    trained: bool,
    /// Engines of the slices and of the whole model
    #[arg(long = "engine", value_name = "NAME", value_delimiter = ',', default_value = "onnxruntime,tract")]
    engines: Vec<String>,
    /// Strategies, in turn with the whole model
    #[arg(
        long = "strategy",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "optimal,similarity,uniform=4,gillis,unsplit"
    )]
    strategies: Vec<String>,
    /// Prices to plan for: a name from `tranche targets` (may be repeated) [default: memory-time]
    #[arg(long = "prices", value_name = "NAME")]
    prices: Vec<String>,
    /// CPU share of every function
    #[arg(long, value_name = "CPUS", default_value_t = 1.0)]
    cpu: f64,
    /// Threads of the Python function, 0 for ONNX Runtime's default [default: what the CPU share holds]
    #[arg(long, value_name = "N")]
    python_threads: Option<u32>,
    /// Rounds of one request to each
    #[arg(long, value_name = "N", default_value_t = 30)]
    rounds: u32,
    /// Seconds that the rounds of one model may take
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    budget: u64,
    /// Seconds that one run of the program may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    deadline: u64,
    /// Seed of the inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Try again what failed before
    #[arg(long)]
    retry: bool,
    /// The tranche program
    #[arg(long, value_name = "FILE", default_value = "target/release/tranche")]
    program: PathBuf,
    /// The Python interpreter that the function's environment is made with
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// Folder of the Python function
    #[arg(long, value_name = "FOLDER", default_value = "bench/baseline")]
    baseline: PathBuf,
    /// Where plans, deployments and the Python environments go
    #[arg(long, value_name = "FOLDER", default_value = "target/evaluation")]
    work: PathBuf,
    /// Where results are appended; what has a line there is not measured again
    #[arg(long, value_name = "FILE", default_value = "bench/results.jsonl")]
    output: PathBuf,
    /// Folder of the price files that measured requests are priced with
    #[arg(long, value_name = "FOLDER", default_value = "prices")]
    price_files: PathBuf,
    /// Print the tables of what is in the output, run nothing
    #[arg(long)]
    table: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n  {}", error.hint());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let mut lines = Lines::open(&arguments.output)?;
    if !arguments.table {
        evaluate(arguments, &mut lines)?;
    }
    println!("{}", render(&lines.latest(), &PriceList::read_all(&arguments.price_files)?));
    Ok(())
}

fn evaluate(arguments: &Arguments, lines: &mut Lines) -> Result<(), BenchError> {
    let settings = settings(arguments)?;
    let evaluation = Evaluation::new(&settings)?;
    let prices: Vec<Option<&str>> = match arguments.prices.as_slice() {
        [] => vec![None],
        named => named.iter().map(|name| Some(name.as_str())).collect(),
    };
    for model in models(arguments) {
        for engine in &arguments.engines {
            for &prices in &prices {
                eprintln!("{model} on {engine}");
                evaluation.run(lines, model, engine, &arguments.strategies, prices)?;
            }
        }
    }
    Ok(())
}

fn models(arguments: &Arguments) -> Vec<&str> {
    if arguments.models.is_empty() {
        let trained = if arguments.trained { TRAINED } else { &[] };
        return MODELS.iter().chain(trained).copied().collect();
    }
    arguments.models.iter().map(String::as_str).collect()
}

fn settings(arguments: &Arguments) -> Result<Settings, BenchError> {
    let work = made(&arguments.work)?;
    let threads = (arguments.cpu.floor() as u32).max(1);
    Ok(Settings {
        program: Program {
            path: existing(&arguments.program)?,
            state: work.join("state"),
            cache: made(&default_cache())?,
            deadline: Duration::from_secs(arguments.deadline),
        },
        interpreter: arguments.python.clone(),
        baseline: existing(&arguments.baseline)?,
        cpu: arguments.cpu,
        python_threads: arguments.python_threads.unwrap_or(threads),
        rounds: arguments.rounds,
        budget: Duration::from_secs(arguments.budget),
        seed: arguments.seed,
        retry: arguments.retry,
        progress: |what| eprintln!("  {what}"),
        work,
    })
}
