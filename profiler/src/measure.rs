//! A model run in a process of its own: load, first run, later runs, memory.
//!
//! This is the side of the process that measures ([`answer`]); the side that starts it
//! is in `child`. Each line on its standard input is answered by lines on its
//! standard output, all JSON:
//!
//! 1. a [`MeasureRequest`] by `"loaded"` as soon as the session could take requests,
//!    then by a [`Measurement`];
//! 2. a number by the times of so many further runs, in milliseconds: whoever asks may
//!    have changed the process's limits meanwhile.

use crate::{ProfilerError, timing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tranche_engine::{Engine, EngineError, LoadOptions, OutputBuffer, Session};
use tranche_schema::{
    AlignedBuffer, ByteCount, ElementType, Millis, Tensor, TensorSpec, TensorView, WholeProfile,
};

/// The line that says that the session could take requests.
pub(crate) const LOADED: &str = "\"loaded\"";

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
    /// Whether it holds what a function holds besides: the frames of the request and of
    /// the answer, and what serves them.
    pub as_function: bool,
    /// Those of the outputs that it writes into slots of shared memory, which stay its own from
    /// one request to the next.
    #[serde(default)]
    pub mapped_outputs: Vec<TensorSpec>,
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
    /// Memory of its own after the runs: what the kernel cannot take back.
    #[serde(default)]
    pub kept_memory_bytes: ByteCount,
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

/// Answers the requests on `input` until it ends.
///
/// # Errors
/// When a line is no request, the measurement fails, or the answer cannot be written.
pub fn answer(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    open: impl FnOnce(&str, Option<&Path>) -> Result<Arc<dyn Engine>, EngineError>,
) -> Result<(), ProfilerError> {
    let mut lines = input.lines();
    let Some(line) = lines.next() else { return Ok(()) };
    let request: MeasureRequest = serde_json::from_str(&line.map_err(ProfilerError::Pipe)?)?;
    tranche_engine::return_large_blocks();
    let engine = open(&request.engine, request.library.as_deref())?;
    let _held = request.as_function.then(function_allowance);
    let base_memory_bytes = tranche_host::resident(std::process::id()).unwrap_or_default();
    let specs: Vec<TensorSpec> = request.inputs.iter().map(|input| input.spec.clone()).collect();
    let options =
        LoadOptions { threads: request.threads, optimise: request.optimise, ..LoadOptions::default() };
    let started = Instant::now();
    let session = engine.load(&request.model, &specs, &request.outputs, &options)?;
    let load_ms = Millis::from(started.elapsed());
    say(output, LOADED)?;
    let inputs = request.inputs.iter().map(TensorFile::read).collect::<Result<Vec<_>, _>>()?;
    let mut runner = Runner { session, inputs: &inputs, request: &request, slots: slots(&request) };
    let (first_run_ms, _) = runner.run()?;
    for _ in 0..request.warmup {
        runner.run()?;
    }
    let (runs_ms, last) = runner.runs(request.repeats)?;
    let measurement = Measurement {
        base_memory_bytes,
        load_ms,
        first_run_ms,
        runs_ms,
        peak_memory_bytes: tranche_host::peak_resident(std::process::id()).unwrap_or_default(),
        kept_memory_bytes: tranche_host::anonymous_resident(std::process::id()).unwrap_or_default(),
        outputs: write_outputs(&request, &last)?,
    };
    drop(last);
    say(output, &serde_json::to_string(&measurement)?)?;
    for line in lines {
        let repeats: u32 = serde_json::from_str(&line.map_err(ProfilerError::Pipe)?)?;
        say(output, &serde_json::to_string(&runner.runs(repeats)?.0)?)?;
    }
    Ok(())
}

fn say(output: &mut dyn Write, line: &str) -> Result<(), ProfilerError> {
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(ProfilerError::Pipe)
}

fn write_outputs(
    request: &MeasureRequest,
    tensors: &[Option<Tensor>],
) -> Result<Vec<TensorFile>, ProfilerError> {
    let Some(folder) = &request.output_folder else { return Ok(Vec::new()) };
    let named = request.outputs.iter().zip(tensors).enumerate();
    named
        .filter_map(|(index, (name, tensor))| Some((index, name, tensor.as_ref()?)))
        .map(|(index, name, tensor)| TensorFile::write(folder, index, name, tensor))
        .collect()
}

/// What a function's process has resident beyond the measuring one, before its first
/// request: runtime, server and connections.
const FUNCTION_ALLOWANCE: usize = 4 << 20;

fn function_allowance() -> Vec<u8> {
    touched(FUNCTION_ALLOWANCE)
}

/// Memory that is resident: written to, in every page.
fn touched(bytes: usize) -> Vec<u8> {
    vec![1; bytes]
}

struct Runner<'a> {
    session: Box<dyn Session>,
    inputs: &'a [Tensor],
    request: &'a MeasureRequest,
    /// In place of slots of shared memory, by output.
    slots: BTreeMap<String, (TensorSpec, Vec<u8>)>,
}

/// What a function's slots would hold, which it writes anew with each request.
fn slots(request: &MeasureRequest) -> BTreeMap<String, (TensorSpec, Vec<u8>)> {
    let mapped = request.mapped_outputs.iter().filter(|_| request.as_function);
    let fixed = mapped.filter(|spec| spec.element_type != ElementType::String && spec.bytes().0 > 0);
    fixed
        .map(|spec| {
            (spec.name.clone(), (spec.clone(), touched(usize::try_from(spec.bytes().0).unwrap_or(0))))
        })
        .collect()
}

/// The memory among `slots` that an output goes into, else the engine's own.
fn into_slot<'a>(
    name: &String,
    slots: &mut BTreeMap<&String, &'a mut (TensorSpec, Vec<u8>)>,
) -> OutputBuffer<'a> {
    match slots.remove(name) {
        Some((spec, data)) => {
            OutputBuffer::Caller { element_type: spec.element_type, shape: &spec.shape, data }
        }
        None => OutputBuffer::Engine(None),
    }
}

impl Runner<'_> {
    fn runs(&mut self, repeats: u32) -> Result<(Vec<f64>, Vec<Option<Tensor>>), ProfilerError> {
        let mut times = Vec::new();
        let mut last = Vec::new();
        for _ in 0..repeats.max(1) {
            // A function has sent its answer before the next request.
            drop(std::mem::take(&mut last));
            let (elapsed, tensors) = self.run()?;
            times.push(elapsed.0);
            last = tensors;
        }
        Ok((times, last))
    }

    fn run(&mut self) -> Result<(Millis, Vec<Option<Tensor>>), ProfilerError> {
        let frame: Vec<Vec<u8>> = match self.request.as_function {
            true => self.inputs.iter().map(|tensor| tensor.data().to_vec()).collect(),
            false => Vec::new(),
        };
        let views: Vec<TensorView<'_>> = self.inputs.iter().map(Tensor::view).collect();
        let mut slots: BTreeMap<_, _> = self.slots.iter_mut().collect();
        let mut outputs: Vec<OutputBuffer<'_>> =
            self.request.outputs.iter().map(|name| into_slot(name, &mut slots)).collect();
        let started = Instant::now();
        self.session.run(&views, &mut outputs)?;
        let elapsed = Millis::from(started.elapsed());
        drop(frame);
        let tensors: Vec<Option<Tensor>> = outputs
            .into_iter()
            .map(|output| match output {
                OutputBuffer::Engine(tensor) => tensor,
                OutputBuffer::Caller { .. } => None,
            })
            .collect();
        if self.request.as_function {
            let coded: Vec<Vec<u8>> =
                tensors.iter().flatten().map(|tensor| touched(tensor.data().len())).collect();
            drop(std::hint::black_box(coded));
        }
        Ok((elapsed, tensors))
    }
}
