//! One model on one engine after the other.

use crate::BenchError;
use crate::catalogue::{inputs, locate};
use crate::line::{Comparison, Lines, Machine, Outcome, Predicted, Record, SizeFound};
use crate::program::{Deployed, Program, Wanted};
use crate::python::{Environment, Place, PythonFunction, Sizing, Started, encode, find_size};
use crate::turns::{Extent, Request, SizedPython, Turns, in_turn};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tranche_host::Limits;
use tranche_schema::{MilliCpu, Plan};

/// The strategy that the others are compared with.
const UNSPLIT: &str = "unsplit";
/// Prices of a plan that minimises memory-time.
pub const LOCAL: &str = "local";

/// What an evaluation is run with.
pub struct Settings {
    /// The program that is evaluated.
    pub program: Program,
    /// Where plans and environments go.
    pub work: PathBuf,
    /// The Python interpreter that environments are made with.
    pub interpreter: PathBuf,
    /// The Python function: its program, and what it needs.
    pub baseline: PathBuf,
    /// CPU share of every function.
    pub cpu: f64,
    /// Threads of the Python function; 0 leaves ONNX Runtime's default.
    pub python_threads: u32,
    /// Rounds of requests.
    pub rounds: u32,
    /// How long they may take.
    pub budget: Duration,
    /// Seed of the inputs.
    pub seed: u64,
    /// Whether what failed before is tried again.
    pub retry: bool,
    /// Told what is being done.
    pub progress: fn(&str),
}

/// An evaluation that writes to a results file.
pub struct Evaluation<'a> {
    settings: &'a Settings,
    runtime: Runtime,
    environment: Environment,
    reference: Environment,
}

/// What is common to the strategies of one model.
struct Subject<'a> {
    model: &'a str,
    engine: &'a str,
    prices: &'a str,
}

impl<'a> Evaluation<'a> {
    /// Prepares: makes the Python environments, removes what an interrupted evaluation left.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(settings: &'a Settings) -> Result<Self, BenchError> {
        settings.program.destroy_all()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BenchError::file("start a runtime for", &settings.work))?;
        let requirements = settings.baseline.join("requirements.txt");
        let make = |name: &str| {
            Environment::prepare(&settings.work.join(name), &settings.interpreter, &requirements)
        };
        let (environment, reference) = (make("python")?, make("python-reference")?);
        Ok(Self { settings, runtime, environment, reference })
    }

    /// Measures a model on an engine with those strategies that have no record yet, and
    /// adds the records. What cannot be measured gets a record that says why.
    ///
    /// # Errors
    /// When the results cannot be written.
    pub fn run(
        &self,
        lines: &mut Lines,
        model: &str,
        engine: &str,
        strategies: &[String],
        prices: Option<&str>,
    ) -> Result<(), BenchError> {
        let subject = Subject { model, engine, prices: prices.unwrap_or(LOCAL) };
        let retry = self.settings.retry;
        let pending: Vec<&str> = strategies
            .iter()
            .map(String::as_str)
            .filter(|strategy| !lines.has(model, engine, strategy, subject.prices, retry))
            .collect();
        if pending.is_empty() {
            return Ok(());
        }
        let machine = Machine { load_before: load(), ..machine() };
        let outcomes = self.outcomes(lines, &subject, &pending).unwrap_or_else(|error| {
            let all = pending.iter().map(|_| Outcome::Failed(error.to_string()));
            all.collect()
        });
        let machine = Machine { load_after: load(), ..machine };
        for (strategy, outcome) in pending.iter().zip(outcomes) {
            lines.append(Record {
                version: Record::VERSION,
                model: model.to_owned(),
                engine: engine.to_owned(),
                strategy: (*strategy).to_owned(),
                prices: subject.prices.to_owned(),
                when: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                machine: machine.clone(),
                outcome,
            })?;
        }
        Ok(())
    }

    /// One outcome for each strategy.
    fn outcomes(
        &self,
        lines: &Lines,
        subject: &Subject<'_>,
        pending: &[&str],
    ) -> Result<Vec<Outcome>, BenchError> {
        let whole = self.deploy(subject, UNSPLIT)?;
        let deployed: Vec<Result<Option<Deployed<'_>>, BenchError>> = pending
            .iter()
            .map(|strategy| match *strategy {
                UNSPLIT => Ok(None),
                strategy => self.deploy(subject, strategy).map(Some),
            })
            .collect();
        let path = locate(subject.model, &self.settings.program.cache)?;
        let inputs = inputs(subject.model, &whole.driver.deployment().inputs, self.settings.seed)?;
        let body = encode(&inputs);
        let size = match lines.python_size(subject.model, self.settings.python_threads, self.cpu()) {
            Some(known) => known,
            None => self.size(&path, &body)?,
        };
        let mut python = self.start(&path, &size)?;
        let running: Vec<&Deployed<'_>> = std::iter::once(&whole)
            .chain(deployed.iter().filter_map(|one| one.as_ref().ok()?.as_ref()))
            .collect();
        let sized = python.as_mut().zip(size.memory_bytes).map(|(function, memory)| SizedPython {
            function,
            memory,
            cpu: self.cpu(),
        });
        let request = Request { inputs: &inputs, body: &body };
        self.tell(&format!("{} deployment(s) and Python in turn", running.len()));
        let turns = self.runtime.block_on(in_turn(&running, sized, &request, self.extent()))?;
        let mut sliced = 1..running.len();
        let outcome = |one: &Result<Option<Deployed<'_>>, BenchError>| match one {
            Err(error) => Outcome::Failed(error.to_string()),
            Ok(None) => comparison(&turns, 0, &whole, &size),
            Ok(Some(deployed)) => comparison(&turns, sliced.next().unwrap_or(0), deployed, &size),
        };
        Ok(deployed.iter().map(outcome).collect())
    }

    fn deploy(&self, subject: &Subject<'_>, strategy: &str) -> Result<Deployed<'_>, BenchError> {
        let Subject { model, engine, prices } = *subject;
        self.tell(strategy);
        let work = self.settings.work.join("plans").join(engine).join(prices).join(model);
        self.settings.program.deploy(&Wanted {
            model,
            engine,
            strategy,
            prices: (prices != LOCAL).then_some(prices),
            cpu: self.settings.cpu,
            parts: None,
            work: &work.join(strategy.replace('=', "-")),
        })
    }

    /// Finds the memory of the Python function.
    fn size(&self, model: &Path, body: &Bytes) -> Result<SizeFound, BenchError> {
        self.tell("the size of the Python function");
        let found = find_size(
            &self.runtime,
            &Sizing {
                handler: &self.handler(),
                model,
                environment: &self.environment,
                reference: &self.reference,
                body,
                threads: self.settings.python_threads,
                cpu: self.cpu(),
                deadline: self.settings.program.deadline,
            },
        )?;
        let (memory_bytes, attempts) = found.map(|found| (found.memory_bytes, found.attempts)).unzip();
        Ok(SizeFound {
            memory_bytes,
            threads: self.settings.python_threads,
            cpu_milli: self.cpu(),
            attempts: attempts.unwrap_or_default(),
        })
    }

    /// Starts it at its size, its libraries and its model out of the page cache.
    fn start(&self, model: &Path, size: &SizeFound) -> Result<Option<Box<PythonFunction>>, BenchError> {
        let Some(memory) = size.memory_bytes else { return Ok(None) };
        self.environment.evict()?;
        tranche_host::evict(model)?;
        let started = PythonFunction::start(&Place {
            environment: &self.environment,
            handler: &self.handler(),
            model,
            threads: size.threads,
            limits: Limits { memory: Some(memory), cpu: Some(self.cpu()) },
            name: "python",
            start_deadline: self.settings.program.deadline,
        })?;
        match started {
            Started::Up(function) => Ok(Some(function)),
            Started::Down(reason) => Err(BenchError::Python { model: model.display().to_string(), reason }),
        }
    }

    fn tell(&self, what: &str) {
        (self.settings.progress)(what);
    }

    fn handler(&self) -> PathBuf {
        self.settings.baseline.join("handler.py")
    }

    fn cpu(&self) -> MilliCpu {
        MilliCpu((self.settings.cpu * 1000.0).round() as u32)
    }

    fn extent(&self) -> Extent {
        let Settings { rounds, budget, program, .. } = self.settings;
        Extent { rounds: *rounds, budget: *budget, deadline: program.deadline }
    }
}

fn comparison(turns: &Turns, index: usize, deployed: &Deployed<'_>, size: &SizeFound) -> Outcome {
    let measured = |index: usize| match turns.deployed.get(index) {
        Some(Ok(measured)) => Ok(measured.clone()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("was not called".to_owned()),
    };
    let (sliced, unsplit) = match (measured(index), measured(0)) {
        (Ok(sliced), Ok(unsplit)) => (sliced, unsplit),
        (Err(reason), _) => return Outcome::Failed(reason),
        (_, Err(reason)) => return Outcome::Failed(format!("unsplit: {reason}")),
    };
    let plan = &deployed.plan;
    Outcome::Measured(Box::new(Comparison {
        rounds: turns.rounds,
        sliced,
        unsplit,
        python: turns.python.clone(),
        python_size: size.clone(),
        predicted: predicted(plan),
        residual: plan.residual,
        difference_from_python: turns.differences.get(index).copied().flatten(),
        planning_seconds: deployed.seconds,
        notes: plan.notes.clone(),
    }))
}

fn predicted(plan: &Plan) -> Predicted {
    Predicted {
        billed_ms: plan.slices.iter().map(|slice| slice.prediction.billed_ms.0).sum(),
        memory_time: plan.prediction.memory_time.0,
        latency_ms: plan.prediction.latency_ms.0,
        lower_bound: plan.prediction.lower_bound.0,
        cost: plan.prediction.cost,
        unit: plan.pricing.unit,
    }
}

fn machine() -> Machine {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cpu_model: tranche_host::cpu_model(),
        cpu_count: tranche_host::usable_cpus(),
        kernel: kernel.trim().to_owned(),
        ..Machine::default()
    }
}

fn load() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or(0.0))
}
