//! The results: one JSON document a line, appended, never changed.

use crate::BenchError;
use crate::search::Attempt;
use crate::statistics::Spread;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tranche_schema::{ByteCount, CostUnit, MilliCpu, Residual};

/// A model on an engine, cut in one way for one list of prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format.
    pub version: u32,
    /// The model.
    pub model: String,
    /// The engine of the slices and of the whole model.
    pub engine: String,
    /// How it was cut.
    pub strategy: String,
    /// The prices it was planned for; `local` stands for memory-time.
    pub prices: String,
    /// When it was measured, UTC.
    pub when: String,
    /// Where.
    pub machine: Machine,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of measuring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The numbers.
    Measured(Box<Comparison>),
    /// Why there are none.
    Failed(String),
}

/// Where something was measured, and what else was going on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor.
    pub cpu_model: String,
    /// Processors.
    pub cpu_count: usize,
    /// Kernel.
    pub kernel: String,
    /// Load averages of 1, 5 and 15 minutes before the requests.
    pub load_before: [f64; 3],
    /// After them.
    pub load_after: [f64; 3],
}

/// Slices, the whole model and the Python function, called in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Rounds of one request each.
    pub rounds: u32,
    /// The slices.
    pub sliced: Measured,
    /// The whole model in one function of ours.
    pub unsplit: Measured,
    /// The Python function; none where it has no size.
    pub python: Option<Measured>,
    /// How the Python function was sized.
    pub python_size: SizeFound,
    /// What the plan said of the slices.
    pub predicted: Predicted,
    /// Prediction against measurement when the plan was made.
    pub residual: Option<Residual>,
    /// Largest difference of an output of the slices from Python's, over the largest
    /// value; none where the outputs are not all floats.
    pub difference_from_python: Option<f64>,
    /// Seconds that planning and deploying took.
    pub planning_seconds: f64,
    /// What the plan notes.
    pub notes: Vec<String>,
}

/// What a plan says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Sum over the functions.
    pub billed_ms: f64,
    /// GiB·s of one request.
    pub memory_time: f64,
    /// Of one warm request.
    pub latency_ms: f64,
    /// GiB·s that no vertical plan can go below.
    pub lower_bound: f64,
    /// Of one request.
    pub cost: f64,
    /// Unit of `cost`.
    pub unit: CostUnit,
}

/// How the Python function's memory was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SizeFound {
    /// Its size; none where no limit was enough.
    pub memory_bytes: Option<ByteCount>,
    /// Its threads; 0 for ONNX Runtime's default.
    pub threads: u32,
    /// Its CPU share.
    pub cpu_milli: MilliCpu,
    /// Limits that were tried.
    pub attempts: Vec<Attempt>,
}

/// Functions that answer requests together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// One entry a function.
    pub functions: Vec<FunctionMeasured>,
    /// As the caller sees it, in ms.
    pub latency: Spread,
    /// Sum over the functions, in ms.
    pub billed: Spread,
    /// Sum over the functions of limit times billed time, in GiB·s.
    pub memory_time: Spread,
    /// Calls of functions that were made again, over all rounds: what they took before is in
    /// the latency alone.
    #[serde(default)]
    pub retries: u32,
}

/// One function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionMeasured {
    /// Its slice.
    pub name: String,
    /// Its memory limit.
    pub memory_bytes: ByteCount,
    /// Its CPU share.
    pub cpu_milli: MilliCpu,
    /// Whether it is held to both.
    pub limited: bool,
    /// In ms.
    pub billed: Spread,
    /// Mean bytes that it held while it ran; none where that cannot be seen.
    pub used_bytes: Option<f64>,
}

impl Measured {
    /// Resource efficiency: used memory-time over allocated memory-time.
    #[must_use]
    pub fn efficiency(&self) -> Option<f64> {
        let allocated: f64 =
            self.functions.iter().map(|one| one.memory_bytes.0 as f64 * one.billed.median).sum();
        let used: Option<f64> =
            self.functions.iter().map(|one| Some(one.used_bytes? * one.billed.median)).sum();
        used.filter(|_| allocated > 0.0).map(|used| used / allocated)
    }
}

impl Record {
    /// The version written.
    pub const VERSION: u32 = 1;

    /// Whether it is of this model, engine, strategy and prices.
    #[must_use]
    pub fn is_of(&self, model: &str, engine: &str, strategy: &str, prices: &str) -> bool {
        self.model == model && self.engine == engine && self.strategy == strategy && self.prices == prices
    }

    /// The numbers, where there are any.
    #[must_use]
    pub fn measured(&self) -> Option<&Comparison> {
        match &self.outcome {
            Outcome::Measured(comparison) => Some(comparison),
            Outcome::Failed(_) => None,
        }
    }
}

/// A file of records.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    records: Vec<Record>,
}

impl Lines {
    /// Those of a file; none when there is no file. A last line that was cut off by an
    /// interruption is left out and removed from the file.
    ///
    /// # Errors
    /// When the file cannot be read, or another line is no record.
    pub fn open(path: &Path) -> Result<Self, BenchError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(BenchError::file("read", path)(error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        if whole.len() < text.len() {
            fs::write(path, whole).map_err(BenchError::file("write", path))?;
        }
        let records = whole.lines().enumerate().map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| BenchError::Content {
                path: path.to_owned(),
                reason: format!("line {}: {error}", index + 1),
            })
        });
        Ok(Self { path: path.to_owned(), records: records.collect::<Result<_, _>>()? })
    }

    /// The last record of each model, engine, strategy and prices, in order of their first.
    #[must_use]
    pub fn latest(&self) -> Vec<&Record> {
        let mut latest: Vec<&Record> = Vec::new();
        for record in &self.records {
            let of = |other: &&&mut &Record| {
                other.is_of(&record.model, &record.engine, &record.strategy, &record.prices)
            };
            match latest.iter_mut().find(|other| of(&other)) {
                Some(other) => *other = record,
                None => latest.push(record),
            }
        }
        latest
    }

    /// Whether there is a record, failed ones included unless they are to be tried again.
    #[must_use]
    pub fn has(&self, model: &str, engine: &str, strategy: &str, prices: &str, retry: bool) -> bool {
        self.records.iter().any(|record| {
            record.is_of(model, engine, strategy, prices) && !(retry && record.measured().is_none())
        })
    }

    /// What an earlier record says of the size of a model's Python function.
    #[must_use]
    pub fn python_size(&self, model: &str, threads: u32, cpu: MilliCpu) -> Option<SizeFound> {
        let known = self.records.iter().rev().filter(|record| record.model == model);
        known
            .filter_map(|record| Some(&record.measured()?.python_size))
            .find(|size| size.threads == threads && size.cpu_milli == cpu)
            .cloned()
    }

    /// Adds a record, to the file too.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, record: Record) -> Result<(), BenchError> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(BenchError::file("make", folder))?;
        }
        let mut line = serde_json::to_vec(&record)
            .map_err(|error| BenchError::Content { path: self.path.clone(), reason: error.to_string() })?;
        line.push(b'\n');
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(&line)).map_err(BenchError::file("write", &self.path))?;
        self.records.push(record);
        Ok(())
    }
}
