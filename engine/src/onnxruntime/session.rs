use super::value::{Value, check, from_declared};
use super::{NAME, events};
use crate::guard::guarded;
use crate::output::{check_input, store};
use crate::skeleton::{Skeleton, map};
use crate::{EngineError, LoadOptions, NodeTime, OutputBuffer, Session};
use ort::AsPointer;
use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::ValueType;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr;
use tranche_schema::{AlignedBuffer, ElementType, TensorSpec, TensorView};

/// Where the model's bytes are.
pub(super) enum Source<'a> {
    /// In the file.
    File,
    /// In memory; external data is in the file's folder still.
    Memory(&'a [u8]),
}

pub(super) struct OnnxRuntimeSession {
    session: ort::session::Session,
    inputs: Vec<TensorSpec>,
    input_names: Vec<CString>,
    outputs: Vec<Output>,
    profiler: Option<Profiler>,
}

struct Output {
    name: String,
    c_name: CString,
    element_type: ElementType,
    /// Where the output is an input passed through: that input's place.
    passed_through: Option<usize>,
}

/// What it takes to make a session that profiles. ONNX Runtime writes a profile when
/// profiling ends, once a session: each [`Session::profile_runs`] after the first
/// loads the model anew.
struct Profiler {
    environment: Environment,
    model: PathBuf,
    options: LoadOptions,
    skeleton: Skeleton,
    /// Its profile ends up in here.
    folder: tempfile::TempDir,
    fresh: bool,
}

impl OnnxRuntimeSession {
    pub(super) fn load(
        environment: &Environment,
        model: &Path,
        source: Source<'_>,
        inputs: &[TensorSpec],
        outputs: &[String],
        options: &LoadOptions,
    ) -> Result<Self, EngineError> {
        let refused = |reason| EngineError::Load { engine: NAME, model: model.to_owned(), reason };
        let profiler = options.profile.then(|| Profiler::new(environment, model, options)).transpose();
        let profiler = profiler.map_err(refused)?;
        let profile = profiler.as_ref().map(|profiler| profiler.folder.path());
        let session = open(environment, model, source, options, profile).map_err(refused)?;
        check_inputs(&session, inputs)?;
        let outputs = outputs.iter().map(|name| find_output(&session, inputs, name));
        let outputs = outputs.collect::<Result<_, _>>().map_err(refused)?;
        let input_names = inputs.iter().map(|input| c_name(&input.name)).collect::<Result<_, _>>();
        let input_names = input_names.map_err(refused)?;
        Ok(Self { session, inputs: inputs.to_vec(), input_names, outputs, profiler })
    }

    fn check_count(&self, inputs: &[TensorView<'_>], outputs: usize) -> Result<(), EngineError> {
        if inputs.len() != self.inputs.len() || outputs != self.outputs.len() {
            return Err(run_error(format!(
                "{} inputs and {outputs} output buffers were given to a session of {} inputs and {} outputs",
                inputs.len(),
                self.inputs.len(),
                self.outputs.len()
            )));
        }
        self.inputs.iter().zip(inputs).try_for_each(|(spec, view)| check_input(spec, view))
    }

    /// Runs with the given places for outputs; empty ones are filled with values of
    /// ONNX Runtime's own.
    #[expect(unsafe_code, reason = "ort runs only with values of types that it knows at compile time")]
    fn call<'a>(
        &mut self,
        inputs: &[Value<'_>],
        outputs: &mut [(&Output, Option<Value<'a>>)],
    ) -> Result<(), String> {
        let input_names: Vec<_> = self.input_names.iter().map(|name| name.as_ptr()).collect();
        let input_values: Vec<_> = inputs.iter().map(|value| value.as_ptr().cast_const()).collect();
        let output_names: Vec<_> = outputs.iter().map(|(output, _)| output.c_name.as_ptr()).collect();
        let mut output_values: Vec<_> =
            outputs.iter().map(|(_, value)| value.as_ref().map_or(ptr::null_mut(), Value::as_ptr)).collect();
        // SAFETY: the session is alive and borrowed exclusively; names and values are
        // alive, and each list is as long as the count that goes with it.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr_mut(),
                ptr::null(),
                input_names.as_ptr(),
                input_values.as_ptr(),
                input_values.len(),
                output_names.as_ptr(),
                output_names.len(),
                output_values.as_mut_ptr(),
            )
        };
        // New values are taken over also when the run failed, so that they are released.
        for ((_, value), pointer) in outputs.iter_mut().zip(output_values) {
            if value.is_none() && !pointer.is_null() {
                *value = Some(Value::from_raw(pointer)?);
            }
        }
        check(status)
    }
}

impl Session for OnnxRuntimeSession {
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &mut [OutputBuffer<'_>],
    ) -> Result<(), EngineError> {
        self.check_count(inputs, outputs.len())?;
        guarded(|| run(self, inputs, outputs)).unwrap_or_else(|reason| Err(run_error(reason)))
    }

    fn profile(&mut self, inputs: &[TensorView<'_>]) -> Result<Vec<NodeTime>, EngineError> {
        let runs = self.profile_runs(inputs, 1, 1, &mut |_| {})?;
        runs.into_iter().next().ok_or_else(|| run_error("its profile has no run".to_owned()))
    }

    fn profile_runs(
        &mut self,
        inputs: &[TensorView<'_>],
        warmup: usize,
        repeats: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<NodeTime>>, EngineError> {
        let Some(profiler) = &mut self.profiler else {
            return Err(run_error("the model was loaded without profiling".to_owned()));
        };
        if !std::mem::replace(&mut profiler.fresh, false) {
            self.session = guarded(|| profiler.reopen()).and_then(|result| result).map_err(run_error)?;
        }
        for run in 0..warmup + repeats {
            let mut outputs: Vec<_> = self.outputs.iter().map(|_| OutputBuffer::Engine(None)).collect();
            self.run(inputs, &mut outputs)?;
            progress(run + 1);
        }
        let Some(profiler) = &self.profiler else { return Ok(Vec::new()) };
        let runs = guarded(|| profiler.read(&mut self.session)).and_then(|result| result);
        let mut runs = runs.map_err(run_error)?;
        if runs.len() != warmup + repeats {
            return Err(run_error(format!(
                "its profile has {} runs of {}, too many events for it",
                runs.len(),
                warmup + repeats
            )));
        }
        Ok(runs.split_off(warmup))
    }
}

fn run(
    session: &mut OnnxRuntimeSession,
    inputs: &[TensorView<'_>],
    buffers: &mut [OutputBuffer<'_>],
) -> Result<(), EngineError> {
    let outputs = std::mem::take(&mut session.outputs);
    let result = run_with(session, &outputs, inputs, buffers);
    session.outputs = outputs;
    result
}

fn run_with(
    session: &mut OnnxRuntimeSession,
    outputs: &[Output],
    inputs: &[TensorView<'_>],
    buffers: &mut [OutputBuffer<'_>],
) -> Result<(), EngineError> {
    let mut copies: Vec<AlignedBuffer> = inputs.iter().map(|_| AlignedBuffer::default()).collect();
    let mut values = Vec::with_capacity(inputs.len());
    for ((spec, view), copy) in session.inputs.iter().zip(inputs).zip(&mut copies) {
        let value = Value::input(view, copy);
        values.push(value.map_err(|reason| EngineError::Input { name: spec.name.clone(), reason })?);
    }
    let mut places = Vec::with_capacity(outputs.len());
    for (output, buffer) in outputs.iter().zip(buffers.iter_mut()) {
        if output.passed_through.is_none() {
            let place = place(output, buffer);
            places.push((output, place.map_err(|reason| of_output(output, &reason))?));
        }
    }
    let in_place: Vec<bool> = places.iter().map(|(_, place)| place.is_some()).collect();
    session.call(&values, &mut places).map_err(run_error)?;
    let tensors = places.into_iter().zip(in_place).map(|((output, value), in_place)| {
        // Written in place means done: let go of the caller's memory.
        let value = value.filter(|_| !in_place);
        value.map(|value| value.to_tensor().map_err(|reason| of_output(output, &reason))).transpose()
    });
    let mut tensors = tensors.collect::<Result<Vec<_>, _>>()?.into_iter();
    for (output, buffer) in outputs.iter().zip(buffers.iter_mut()) {
        if let Some(input) = output.passed_through.and_then(|index| inputs.get(index)) {
            store(NAME, &output.name, *input, buffer)?;
        } else if let Some(Some(tensor)) = tensors.next() {
            match buffer {
                OutputBuffer::Engine(slot) => *slot = Some(tensor),
                OutputBuffer::Caller { .. } => store(NAME, &output.name, tensor.view(), buffer)?,
            }
        }
    }
    Ok(())
}

/// The caller's memory as a value that ONNX Runtime writes, where it can.
fn place<'a>(output: &Output, buffer: &'a mut OutputBuffer<'_>) -> Result<Option<Value<'a>>, String> {
    let OutputBuffer::Caller { element_type, shape, data } = buffer else { return Ok(None) };
    if *element_type != output.element_type {
        return Err(format!("it is {}, its buffer is for {element_type}", output.element_type));
    }
    Value::output(*element_type, shape, data)
}

impl Profiler {
    fn new(environment: &Environment, model: &Path, options: &LoadOptions) -> Result<Self, String> {
        let skeleton = Skeleton::read(&map(model)?)?;
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for its profile: {error}"))?;
        Ok(Self {
            environment: environment.clone(),
            model: model.to_owned(),
            options: options.clone(),
            skeleton,
            folder,
            fresh: true,
        })
    }

    fn reopen(&self) -> Result<ort::session::Session, String> {
        open(&self.environment, &self.model, Source::File, &self.options, Some(self.folder.path()))
    }

    fn read(&self, session: &mut ort::session::Session) -> Result<Vec<Vec<NodeTime>>, String> {
        let path = PathBuf::from(session.end_profiling().map_err(|error| error.to_string())?);
        let json = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The folder is removed with the session; one profile can be many megabytes.
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "could not remove a profile");
        }
        events::parse(&json, &self.skeleton)
    }
}

fn open(
    environment: &Environment,
    model: &Path,
    source: Source<'_>,
    options: &LoadOptions,
    profile: Option<&Path>,
) -> Result<ort::session::Session, String> {
    let mut builder = builder(environment, options, profile).map_err(|error| error.to_string())?;
    let session = match source {
        Source::File => builder.commit_from_file(model),
        Source::Memory(bytes) => {
            let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let folder = folder.to_str().ok_or("the model's folder is not named in UTF-8")?;
            builder = builder
                .with_config_entry("session.model_external_initializers_file_folder_path", folder)
                .map_err(|error| error.to_string())?;
            builder.commit_from_memory(bytes)
        }
    };
    session.map_err(|error| error.to_string())
}

fn builder(
    environment: &Environment,
    options: &LoadOptions,
    profile: Option<&Path>,
) -> ort::Result<SessionBuilder> {
    let level = if options.optimise && profile.is_none() {
        GraphOptimizationLevel::All
    } else {
        GraphOptimizationLevel::Disable
    };
    let builder = ort::session::Session::builder(environment)?
        .with_intra_threads(options.threads.max(1))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(level)?
        .with_prepacking(options.prepack)?
        .with_deterministic_compute(true)?;
    Ok(match profile {
        Some(folder) => builder.with_profiling(folder.join("profile"))?,
        None => builder,
    })
}

fn check_inputs(session: &ort::session::Session, inputs: &[TensorSpec]) -> Result<(), EngineError> {
    let wrong = |name: &str, reason: String| Err(EngineError::Input { name: name.to_owned(), reason });
    for declared in session.inputs() {
        if !inputs.iter().any(|input| input.name == declared.name()) {
            return wrong(
                declared.name(),
                "the model has this input, but no shape was given for it".to_owned(),
            );
        }
    }
    for (index, input) in inputs.iter().enumerate() {
        if inputs.iter().take(index).any(|earlier| earlier.name == input.name) {
            return wrong(&input.name, "it is given twice".to_owned());
        }
        let Some(declared) = session.inputs().iter().find(|declared| declared.name() == input.name) else {
            return wrong(&input.name, "the model has no such input".to_owned());
        };
        let ValueType::Tensor { ty, shape, .. } = declared.dtype() else {
            return wrong(&input.name, "the model takes something other than a tensor".to_owned());
        };
        if from_declared(*ty) != Some(input.element_type) {
            return wrong(&input.name, format!("the model takes {ty}, not {}", input.element_type));
        }
        let fits = shape.len() == input.shape.len()
            && shape.iter().zip(&input.shape).all(|(&dim, &extent)| dim < 0 || dim as u64 == extent);
        if !fits {
            return wrong(&input.name, format!("the model takes shape {shape:?}, not {:?}", input.shape));
        }
    }
    Ok(())
}

fn find_output(session: &ort::session::Session, inputs: &[TensorSpec], name: &str) -> Result<Output, String> {
    let declared = session.outputs().iter().find(|output| output.name() == name);
    let declared = declared.ok_or_else(|| format!("the model has no output `{name}`"))?;
    let ValueType::Tensor { ty, .. } = declared.dtype() else {
        return Err(format!("output `{name}` is something other than a tensor"));
    };
    let element_type =
        from_declared(*ty).ok_or_else(|| format!("output `{name}` has the unknown type {ty}"))?;
    let passed_through = inputs.iter().position(|input| input.name == name);
    Ok(Output { name: name.to_owned(), c_name: c_name(name)?, element_type, passed_through })
}

fn c_name(name: &str) -> Result<CString, String> {
    CString::new(name).map_err(|_| format!("the name {name:?} holds a zero byte"))
}

fn of_output(output: &Output, reason: &str) -> EngineError {
    run_error(format!("output `{}`: {reason}", output.name))
}

fn run_error(reason: String) -> EngineError {
    EngineError::Run { engine: NAME, reason }
}
