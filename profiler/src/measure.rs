//! A model run in a process of its own: load, first run, later runs, memory.
//!
//! The parent ([`in_process_of_its_own`]) starts a program with a hidden verb,
//! writes a [`MeasureRequest`] as JSON to its standard input and reads a
//! [`Measurement`] from its standard output; the child runs [`measure`].

use crate::{ProfilerError, timing};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tranche_engine::{Engine, LoadOptions, OutputBuffer};
use tranche_host::{HostError, Placement};
use tranche_schema::{AlignedBuffer, ByteCount, Millis, Tensor, TensorSpec, WholeProfile};

/// A tensor's raw bytes in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TensorFile {
    /// Name, type and shape.
    pub spec: TensorSpec,
    /// The file.
    pub path: PathBuf,
}

impl TensorFile {
    /// Writes a tensor's bytes into `folder` under a name made of `index`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(folder: &Path, index: usize, name: &str, tensor: &Tensor) -> Result<Self, ProfilerError> {
        let path = folder.join(format!("{index}.bin"));
        tranche_schema::write_atomically(&path, tensor.data())
            .map_err(|source| ProfilerError::File { path: path.clone(), source })?;
        let spec = TensorSpec {
            name: name.to_owned(),
            element_type: tensor.element_type(),
            shape: tensor.shape().to_vec(),
        };
        Ok(Self { spec, path })
    }

    /// Reads the tensor back.
    ///
    /// # Errors
    /// When the file cannot be read or has another size than the spec says.
    pub fn read(&self) -> Result<Tensor, ProfilerError> {
        let bytes = std::fs::read(&self.path)
            .map_err(|source| ProfilerError::File { path: self.path.clone(), source })?;
        let data = AlignedBuffer::copy_of(&bytes).freeze();
        Tensor::new(self.spec.element_type, self.spec.shape.clone(), data)
            .map_err(|source| ProfilerError::Tensor { tensor: self.spec.name.clone(), source })
    }
}

/// What to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeasureRequest {
    /// The ONNX file.
    pub model: PathBuf,
    /// Inputs, in the order the session takes them.
    pub inputs: Vec<TensorFile>,
    /// Outputs wanted.
    pub outputs: Vec<String>,
    /// Where to write the outputs of the last run; `None` drops them.
    pub output_folder: Option<PathBuf>,
    /// Engine name.
    pub engine: String,
    /// Library of an engine that is loaded at run time.
    pub library: Option<PathBuf>,
    /// Engine threads.
    pub threads: usize,
    /// Whether the engine optimises the graph.
    pub optimise: bool,
    /// Unmeasured runs after the first.
    pub warmup: u32,
    /// Measured runs, at least one.
    pub repeats: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// Resident memory with the engine and no model.
    pub base_memory_bytes: ByteCount,
    /// From file to session.
    pub load_ms: Millis,
    /// First run.
    pub first_run_ms: Millis,
    /// Measured runs, in milliseconds.
    pub runs_ms: Vec<f64>,
    /// Highest resident memory.
    pub peak_memory_bytes: ByteCount,
    /// Outputs of the last run, when a folder was given.
    pub outputs: Vec<TensorFile>,
}

impl Measurement {
    /// As the part of a profile; weights and activations are the graph's to tell.
    #[must_use]
    pub fn whole(&self, weights_bytes: ByteCount, peak_activation_bytes: ByteCount) -> WholeProfile {
        WholeProfile {
            load_ms: self.load_ms,
            first_run_ms: self.first_run_ms,
            run: timing(&self.runs_ms),
            base_memory_bytes: self.base_memory_bytes,
            peak_memory_bytes: self.peak_memory_bytes,
            weights_bytes,
            peak_activation_bytes,
            ..WholeProfile::default()
        }
    }
}

/// Measures in this process.
///
/// # Errors
/// When a file cannot be read or the engine fails.
pub fn measure(engine: &dyn Engine, request: &MeasureRequest) -> Result<Measurement, ProfilerError> {
    let inputs = request.inputs.iter().map(TensorFile::read).collect::<Result<Vec<_>, _>>()?;
    let specs: Vec<TensorSpec> = request.inputs.iter().map(|input| input.spec.clone()).collect();
    let base_memory_bytes = tranche_host::resident(std::process::id()).unwrap_or_default();
    let options =
        LoadOptions { threads: request.threads, optimise: request.optimise, ..LoadOptions::default() };
    let started = Instant::now();
    let mut session = engine.load(&request.model, &specs, &request.outputs, &options)?;
    let load_ms = Millis::from(started.elapsed());
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    let mut run = || -> Result<(Millis, Vec<Option<Tensor>>), ProfilerError> {
        let mut outputs: Vec<OutputBuffer<'_>> =
            request.outputs.iter().map(|_| OutputBuffer::Engine(None)).collect();
        let started = Instant::now();
        session.run(&views, &mut outputs)?;
        let elapsed = Millis::from(started.elapsed());
        let tensors = outputs
            .into_iter()
            .map(|output| match output {
                OutputBuffer::Engine(tensor) => tensor,
                OutputBuffer::Caller { .. } => None,
            })
            .collect();
        Ok((elapsed, tensors))
    };
    let (first_run_ms, mut last) = run()?;
    for _ in 0..request.warmup {
        run()?;
    }
    let mut runs_ms = Vec::new();
    for _ in 0..request.repeats.max(1) {
        let (elapsed, tensors) = run()?;
        runs_ms.push(elapsed.0);
        last = tensors;
    }
    let peak_memory_bytes = tranche_host::peak_resident(std::process::id()).unwrap_or_default();
    let mut outputs = Vec::new();
    if let Some(folder) = &request.output_folder {
        for (index, (name, tensor)) in request.outputs.iter().zip(&last).enumerate() {
            if let Some(tensor) = tensor {
                outputs.push(TensorFile::write(folder, index, name, tensor)?);
            }
        }
    }
    Ok(Measurement { base_memory_bytes, load_ms, first_run_ms, runs_ms, peak_memory_bytes, outputs })
}

/// The child's side: reads a request from standard input, returns the answer to print.
///
/// # Errors
/// When the request is not one, or the measurement fails.
pub fn answer(
    input: &str,
    open: impl FnOnce(&str, Option<&Path>) -> Result<std::sync::Arc<dyn Engine>, tranche_engine::EngineError>,
) -> Result<String, ProfilerError> {
    let request: MeasureRequest = serde_json::from_str(input)?;
    let engine = open(&request.engine, request.library.as_deref())?;
    Ok(serde_json::to_string(&measure(&*engine, &request)?)?)
}

/// The parent's side: measures in a new process started as `program arguments…`.
///
/// # Errors
/// When the process cannot be started, fails, or outlives the deadline.
pub fn in_process_of_its_own(
    program: &Path,
    arguments: &[String],
    request: &MeasureRequest,
    deadline: Duration,
) -> Result<Measurement, ProfilerError> {
    let text = serde_json::to_string(request)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Nobody would wait for it: it must not outlive this process, however that ends.
    let placement = Placement { die_with_parent: true, ..Placement::default() };
    let mut child = tranche_host::spawn(command, placement)
        .map_err(|error| match error {
            HostError::Spawn { source, .. } => source,
            other => std::io::Error::other(other.to_string()),
        })
        .map_err(|source| ProfilerError::Start { program: program.to_owned(), source })?
        .child;
    if let Some(mut input) = child.stdin.take() {
        // A child that died early shows in its status below.
        let _ = input.write_all(text.as_bytes());
    }
    let output = drain(child.stdout.take());
    let messages = drain(child.stderr.take());
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(ProfilerError::Deadline { model: request.model.clone(), deadline });
            }
            Err(source) => return Err(ProfilerError::Start { program: program.to_owned(), source }),
        }
    };
    let (output, messages) = (output.join().unwrap_or_default(), messages.join().unwrap_or_default());
    if !status.success() {
        let lines: Vec<&str> = messages.trim().lines().collect();
        return Err(ProfilerError::Child {
            model: request.model.clone(),
            status: status.to_string(),
            message: lines[lines.len().saturating_sub(5)..].join("\n"),
        });
    }
    Ok(serde_json::from_str(&output)?)
}

fn drain(stream: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
