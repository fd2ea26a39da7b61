//! Results made up for tests.

use std::path::{Path, PathBuf};
use tranche_bench::{
    Comparison, FunctionMeasured, Machine, Measured, Outcome, Predicted, Record, SizeFound, Spread,
};
use tranche_schema::{ByteCount, MilliCpu};

/// MiB and ms of a function.
pub type Function = (u64, f64);

pub fn results(folder: &Path, lines: &[String]) -> PathBuf {
    let path = folder.join("results.jsonl");
    std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    path
}

/// A line on ONNX Runtime for memory-time. Slices take 5 % longer than predicted, hold
/// half of their memory, and pass tensors for 2 ms each.
pub fn measured(
    model: &str,
    strategy: &str,
    sliced: &[Function],
    unsplit: Function,
    python: Function,
) -> String {
    let billed: f64 = sliced.iter().map(|(_, time)| time).sum();
    let outcome = Outcome::Measured(Box::new(Comparison {
        rounds: 30,
        sliced: functions(sliced),
        unsplit: functions(&[unsplit]),
        python: Some(functions(&[python])),
        python_size: SizeFound::default(),
        predicted: Predicted { billed_ms: billed / 1.05, ..Predicted::default() },
        residual: None,
        difference_from_python: Some(1.5e-6),
        planning_seconds: 12.0,
        notes: Vec::new(),
    }));
    line(model, strategy, outcome)
}

pub fn failed(model: &str, strategy: &str, reason: &str) -> String {
    line(model, strategy, Outcome::Failed(reason.to_owned()))
}

fn line(model: &str, strategy: &str, outcome: Outcome) -> String {
    let record = Record {
        version: Record::VERSION,
        model: model.to_owned(),
        engine: "onnxruntime".to_owned(),
        strategy: strategy.to_owned(),
        prices: "local".to_owned(),
        when: "2026-11-25T10:00:00Z".to_owned(),
        machine: Machine { load_after: [0.25, 0.0, 0.0], ..Machine::default() },
        outcome,
    };
    serde_json::to_string(&record).unwrap()
}

fn functions(of: &[Function]) -> Measured {
    let around = |median: f64| Spread {
        median,
        first_quartile: median * 0.98,
        third_quartile: median * 1.02,
        p99: median * 1.5,
        count: 30,
    };
    let one = |&(mib, time): &Function| FunctionMeasured {
        memory_bytes: ByteCount::mebibytes(mib),
        cpu_milli: MilliCpu(1000),
        limited: true,
        billed: around(time),
        used_bytes: Some((mib << 20) as f64 / 2.0),
        ..FunctionMeasured::default()
    };
    let billed: f64 = of.iter().map(|(_, time)| time).sum();
    Measured {
        functions: of.iter().map(one).collect(),
        latency: around(billed + 2.0 * of.len() as f64),
        billed: around(billed),
        retries: 0,
        memory_time: around(of.iter().map(|&(mib, time)| mib as f64 / 1024.0 * time / 1000.0).sum()),
    }
}
