//! The thread that owns the session: loads it, then runs requests one after the other.

use bytes::Bytes;
use hyper::StatusCode;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{error, info, warn};
use tranche_engine::{EngineError, LoadOptions, OutputBuffer, Session};
use tranche_schema::{ByteCount, Channel, Codec, FunctionMetrics, Tensor, TensorSpec};
use tranche_serving::{Phase, Refusal};
use tranche_transport::{
    CodedTensor, Frame, FrameError, Placement, RequestHeader, SharedFolder, TensorWriter,
};

use crate::answer::{bad_frame, bad_input};
use crate::function::{Function, State};
use crate::slice::{LoadFailure, Route, Slice};
use crate::{EngineOpener, metrics, start_up};

/// A request whose frame fits the slice.
pub(crate) struct Job {
    pub(crate) frame: Frame,
    /// What the caller calls it.
    pub(crate) call_id: Option<String>,
    /// When its last byte had come.
    pub(crate) received: Instant,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// Held until the worker is done with it, whether or not the caller still waits.
    pub(crate) permit: Arc<OwnedSemaphorePermit>,
    /// Its outputs go on over the network: no mapped files.
    pub(crate) inline: bool,
    /// Who asked prints the metrics, unless nobody waits for them any more.
    pub(crate) quiet: bool,
}

/// The answer's bytes or why there are none, and what it took.
pub(crate) struct Outcome {
    pub(crate) result: Result<Output, Refusal>,
    pub(crate) metrics: Option<FunctionMetrics>,
}

/// An answer's frame.
pub(crate) struct Output {
    pub(crate) chunks: Vec<Bytes>,
    /// The tensors in it.
    pub(crate) tensors: Vec<CodedTensor>,
    /// Shared files it names.
    leases: Vec<String>,
}

/// The worker's whole life.
pub(crate) fn work(
    function: &Function,
    slice: &Arc<Slice>,
    opener: EngineOpener,
    shared: Option<&SharedFolder>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
) {
    let (started, age) = (Instant::now(), start_up::process_age());
    let loaded = catch_unwind(AssertUnwindSafe(|| load(function, slice, opener)));
    let (mut session, library) = match loaded {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(engine_error)) => {
            return fail(function, LoadFailure::new(engine_error.to_string(), engine_error.hint()));
        }
        Err(_) => return fail(function, panicked(slice, "loading")),
    };
    let taken = start_up::taken(age, library, started.elapsed());
    let _ = function.start_up.set(taken);
    info!(
        slice = %slice.manifest.name,
        load_ms = started.elapsed().as_millis() as u64,
        start_up_ms = taken.total_ms.map(|total| total.0 as u64),
        peak_memory_bytes = metrics::peak_memory().0,
        "loaded"
    );
    function.state.send_replace(State::Ready);
    let mut cold = true;
    while let Some(job) = jobs.blocking_recv() {
        if job.reply.is_closed() {
            continue; // The caller has gone, or was told that its time is over.
        }
        let Job { frame, call_id, received, deadline, reply, permit, inline, quiet } = job;
        if Instant::now() >= deadline {
            let refusal = Refusal::deadline("the deadline passed while the request waited");
            let _ = reply.send(Outcome { result: Err(refusal), metrics: None });
            continue;
        }
        let mut measured = FunctionMetrics {
            request_id: frame.header.request_id_hex(),
            slice: slice.manifest.name.clone(),
            attempt: frame.header.attempt,
            call_id,
            wait_ms: received.elapsed().into(),
            input_bytes: ByteCount(frame.raw_bytes()),
            input_coded_bytes: ByteCount(frame.coded_bytes()),
            cold,
            start_up_ms: taken.total_ms.filter(|_| cold),
            ..FunctionMetrics::default()
        };
        let run = AssertUnwindSafe(|| {
            let folders = Folders { inputs: shared, outputs: shared.filter(|_| !inline) };
            run(session.as_mut(), slice, folders, frame, &mut measured)
        });
        let result = catch_unwind(run);
        measured.peak_memory_bytes = metrics::peak_memory();
        measured.billed_ms = received.elapsed().into();
        let poisoned = result.is_err();
        let result = result.unwrap_or_else(|_| {
            let failure = panicked(slice, "running");
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "engine-failed",
                failure.message,
                failure.hint,
            ))
        });
        match &result {
            Ok(_) => {
                cold = false;
                function.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(refusal) => warn!(request = %measured.request_id, code = refusal.code, "{}", refusal.message),
        }
        if poisoned {
            // Before the answer: who has it looks whether another request may be asked for.
            function.poisoned.store(true, Ordering::Relaxed);
        }
        drop(permit);
        let unsent = reply.send(Outcome { result, metrics: Some(measured.clone()) }).err();
        if !quiet || unsent.is_some() {
            metrics::print(&measured);
        }
        if let (Some(Outcome { result: Ok(output), .. }), Some(folder)) = (unsent, shared) {
            // Nobody will learn the names of these files, so nobody would release them.
            for lease in &output.leases {
                let _ = folder.release(lease);
            }
        }
        if poisoned {
            fail(function, panicked(slice, "running"));
            function.phase.send_replace(Phase::Draining);
            return;
        }
    }
}

/// The session, and how long its engine took to open.
fn load(
    function: &Function,
    slice: &Slice,
    opener: EngineOpener,
) -> Result<(Box<dyn Session>, Duration), EngineError> {
    let (options, started) = (&function.options, Instant::now());
    let engine = opener(&slice.engine, options.onnxruntime.as_deref())?;
    let library = started.elapsed();
    info!(engine = engine.name(), version = engine.version(), model = %slice.model.display(), "loading");
    let outputs: Vec<String> = slice.manifest.outputs.iter().map(|output| output.name.clone()).collect();
    let threads = options.threads.unwrap_or(slice.manifest.threads).max(1);
    let session = engine.load(
        &slice.model,
        &slice.manifest.inputs,
        &outputs,
        &LoadOptions {
            threads: threads as usize,
            optimise: options.optimise,
            profile: false,
            prepack: options.prepack,
        },
    )?;
    Ok((session, library))
}

/// Where mapped files of inputs lie, and those of outputs go.
#[derive(Clone, Copy)]
struct Folders<'a> {
    inputs: Option<&'a SharedFolder>,
    outputs: Option<&'a SharedFolder>,
}

fn run(
    session: &mut dyn Session,
    slice: &Slice,
    folders: Folders<'_>,
    frame: Frame,
    measured: &mut FunctionMetrics,
) -> Result<Output, Refusal> {
    let started = Instant::now();
    let mut inputs = Vec::with_capacity(slice.manifest.inputs.len());
    for input in &slice.manifest.inputs {
        let coded = frame
            .tensor(&input.name)
            .ok_or_else(|| bad_input(format!("input `{}` is missing", input.name)))?;
        inputs.push(coded.decode(&slice.tensor_limits, folders.inputs).map_err(|error| bad_frame(&error))?);
    }
    let header = RequestHeader { slice: slice.manifest.name.clone(), deadline: None, ..frame.header };
    drop(frame.tensors);
    measured.decode_ms = started.elapsed().into();

    let started = Instant::now();
    let views: Vec<_> = inputs.iter().map(Tensor::view).collect();
    let mut slots: Vec<_> = slice.manifest.outputs.iter().zip(&slice.routes).map(in_place(folders)).collect();
    let mut outputs: Vec<_> = slice.manifest.outputs.iter().zip(&mut slots).map(buffer).collect();
    let ran = session.run(&views, &mut outputs);
    measured.run_ms = started.elapsed().into();
    ran.map_err(|engine_error| engine_failed(engine_error.to_string(), engine_error.hint()))?;
    drop(views);
    drop(inputs); // Not held while outputs are coded: the peak is what is paid for.

    let started = Instant::now();
    let mut tensors = Vec::with_capacity(outputs.len());
    let made: Vec<_> = outputs.into_iter().map(engines).collect();
    let expected = slice.manifest.outputs.iter().zip(&slice.routes);
    for ((slot, tensor), (spec, route)) in slots.into_iter().zip(made).zip(expected) {
        if let Some(slot) = slot {
            tensors.push(slot.publish());
            continue;
        }
        let Some(tensor) = tensor else {
            return Err(engine_failed(
                format!("the engine gave no output `{}`", spec.name),
                "this is a bug in tranche; please report it",
            ));
        };
        if tensor.element_type() != spec.element_type || tensor.shape() != spec.shape {
            return Err(engine_failed(
                format!(
                    "output `{}` is {} {:?}, the manifest says {} {:?}",
                    spec.name,
                    tensor.element_type(),
                    tensor.shape(),
                    spec.element_type,
                    spec.shape
                ),
                "profile the model again with the shapes it is to run with",
            ));
        }
        let placement = match (route.channel, folders.outputs) {
            (Channel::MappedFile, Some(folder)) => Placement::Shared(folder),
            (Channel::MappedFile, None) | (Channel::Inline, _) => Placement::Inline,
        };
        let coded = match CodedTensor::encode(&spec.name, &tensor, route.codec, placement) {
            // A full shared folder must not fail a request that can be answered otherwise.
            Err(FrameError::Shared { source, .. }) => {
                warn!(tensor = %spec.name, "sent inline: {source}");
                CodedTensor::encode(&spec.name, &tensor, route.codec, Placement::Inline)
            }
            other => other,
        };
        tensors.push(coded.map_err(unencodable)?);
    }
    let answer = Frame { header, tensors };
    measured.output_bytes = ByteCount(answer.raw_bytes());
    measured.output_coded_bytes = ByteCount(answer.coded_bytes());
    let chunks = answer.to_chunks().map_err(unencodable)?;
    let leases = answer.leases().map(|lease| lease.name.clone()).collect();
    measured.encode_ms = started.elapsed().into();
    Ok(Output { chunks, tensors: answer.tensors, leases })
}

/// A slot for an output that whoever reads it maps: the engine writes there, and nothing is copied.
fn in_place<'a>(
    folders: Folders<'a>,
) -> impl FnMut((&'a TensorSpec, &'a Route)) -> Option<TensorWriter> + use<'a> {
    move |(spec, route)| {
        let folder = folders.outputs?;
        let is_mapped = route.channel == Channel::MappedFile && route.codec == Codec::Raw;
        is_mapped.then(|| TensorWriter::reserve(folder, spec)).flatten()
    }
}

fn buffer<'a>((spec, slot): (&'a TensorSpec, &'a mut Option<TensorWriter>)) -> OutputBuffer<'a> {
    match slot {
        Some(slot) => {
            OutputBuffer::Caller { element_type: spec.element_type, shape: &spec.shape, data: slot.bytes() }
        }
        None => OutputBuffer::Engine(None),
    }
}

/// The tensor that the engine made, where it made one.
fn engines(output: OutputBuffer<'_>) -> Option<Tensor> {
    match output {
        OutputBuffer::Engine(tensor) => tensor,
        OutputBuffer::Caller { .. } => None,
    }
}

fn engine_failed(message: String, hint: &str) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "engine-failed", message, hint)
}

fn unencodable(frame_error: FrameError) -> Refusal {
    engine_failed(frame_error.to_string(), frame_error.hint())
}

fn panicked(slice: &Slice, doing: &str) -> LoadFailure {
    LoadFailure::new(
        format!("{} panicked while {doing} slice `{}`", slice.engine, slice.manifest.name),
        "try the other engine (`--engine`); this is a bug in the engine",
    )
}

fn fail(function: &Function, failure: LoadFailure) {
    error!("{}", failure.message);
    function.state.send_replace(State::Failed(failure));
}
