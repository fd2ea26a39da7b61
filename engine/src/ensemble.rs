//! Several models as one session: parts of layers run at once, without engine threads between them.

use crate::output::store;
use crate::{Engine, EngineError, LoadOptions, NodeTime, OutputBuffer, Session};
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path};
use std::sync::Arc;
use std::thread;
use tranche_schema::{Document as _, Ensemble, EnsembleMember, Tensor, TensorSpec, TensorView};

/// An engine that also loads [`Ensemble`] files, with a session of the engine below for each member.
pub(crate) struct Ensembles(pub(crate) Arc<dyn Engine>);

impl Engine for Ensembles {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn version(&self) -> String {
        self.0.version()
    }

    fn uses_threads(&self) -> bool {
        self.0.uses_threads()
    }

    fn load(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        outputs: &[String],
        options: &LoadOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        if !model.to_string_lossy().ends_with(Ensemble::SUFFIX) {
            return self.0.load(model, inputs, outputs, options);
        }
        let refused =
            |reason: String| EngineError::Load { engine: self.name(), model: model.to_owned(), reason };
        let ensemble = Ensemble::read(model).map_err(|error| refused(error.to_string()))?;
        let waves = waves(&ensemble.members, inputs, outputs).map_err(refused)?;
        let folder = model.parent().unwrap_or(Path::new(""));
        let load = |place: usize| {
            let member = &ensemble.members[place];
            if !Path::new(&member.model).components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(refused(format!("the member `{}` is not beside it", member.model)));
            }
            let names: Vec<String> = member.outputs.iter().map(|output| output.name.clone()).collect();
            let threads = options.threads.min(member.threads.max(1) as usize);
            let options = LoadOptions { threads, ..options.clone() };
            let session = self.0.load(&folder.join(&member.model), &member.inputs, &names, &options)?;
            let reads = member.inputs.iter().map(|input| input.name.clone()).collect();
            Ok(Member { session, reads, writes: names })
        };
        let waves = waves
            .into_iter()
            .map(|wave| wave.into_iter().map(load).collect::<Result<Vec<_>, _>>())
            .collect::<Result<Vec<_>, _>>()?;
        let inputs = inputs.iter().map(|input| input.name.clone()).collect();
        Ok(Box::new(EnsembleSession { engine: self.name(), waves, inputs, outputs: outputs.to_vec() }))
    }

    fn tensor_specs(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        values: &[TensorView<'_>],
        tensors: &[String],
    ) -> Result<Vec<Option<TensorSpec>>, EngineError> {
        self.0.tensor_specs(model, inputs, values, tensors)
    }
}

/// Places of members by when they can run: those of one wave wait for earlier waves alone.
///
/// # Errors
/// When a member reads what nobody before it writes, a tensor has two writers, or a wanted
/// output has none.
fn waves(
    members: &[EnsembleMember],
    inputs: &[TensorSpec],
    outputs: &[String],
) -> Result<Vec<Vec<usize>>, String> {
    // From which wave on a tensor is there.
    let mut there: HashMap<&str, usize> = inputs.iter().map(|input| (input.name.as_str(), 0)).collect();
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (place, member) in members.iter().enumerate() {
        let mut wave = 0;
        for input in &member.inputs {
            let from = there.get(input.name.as_str()).ok_or_else(|| {
                format!("`{}` reads `{}`, which no member before it writes", member.model, input.name)
            })?;
            wave = wave.max(*from);
        }
        if waves.len() <= wave {
            waves.resize(wave + 1, Vec::new());
        }
        waves[wave].push(place);
        for output in &member.outputs {
            if there.insert(&output.name, wave + 1).is_some() {
                return Err(format!("`{}` has two writers", output.name));
            }
        }
    }
    match outputs.iter().find(|output| !there.contains_key(output.as_str())) {
        Some(output) => Err(format!("no member writes the output `{output}`")),
        None => Ok(waves),
    }
}

struct Member {
    session: Box<dyn Session>,
    reads: Vec<String>,
    writes: Vec<String>,
}

impl Member {
    fn run(&mut self, given: &HashMap<&str, TensorView<'_>>, made: &HashMap<String, Tensor>) -> Made {
        let missing = |name: &String| EngineError::Input {
            name: name.clone(),
            reason: "no member has made it".to_owned(),
        };
        let find = |name: &String| {
            made.get(name)
                .map(Tensor::view)
                .or_else(|| given.get(name.as_str()).copied())
                .ok_or_else(|| missing(name))
        };
        let inputs = self.reads.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let mut outputs: Vec<_> = self.writes.iter().map(|_| OutputBuffer::Engine(None)).collect();
        self.session.run(&inputs, &mut outputs)?;
        let named = self.writes.iter().zip(outputs).filter_map(|(name, output)| match output {
            OutputBuffer::Engine(tensor) => Some((name.clone(), tensor?)),
            OutputBuffer::Caller { .. } => None,
        });
        Ok(named.collect())
    }
}

/// What a member wrote.
type Made = Result<Vec<(String, Tensor)>, EngineError>;

struct EnsembleSession {
    engine: &'static str,
    waves: Vec<Vec<Member>>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Session for EnsembleSession {
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &mut [OutputBuffer<'_>],
    ) -> Result<(), EngineError> {
        let engine = self.engine;
        let failed = |reason: String| EngineError::Run { engine, reason };
        if inputs.len() != self.inputs.len() || outputs.len() != self.outputs.len() {
            return Err(failed(format!(
                "{} inputs and {} outputs were given, there are {} and {}",
                inputs.len(),
                outputs.len(),
                self.inputs.len(),
                self.outputs.len()
            )));
        }
        let given: HashMap<&str, TensorView<'_>> =
            self.inputs.iter().map(String::as_str).zip(inputs.iter().copied()).collect();
        let mut made: HashMap<String, Tensor> = HashMap::new();
        for place in 0..self.waves.len() {
            let wave = &mut self.waves[place];
            for tensors in at_once(wave, &given, &made, engine) {
                made.extend(tensors?);
            }
            let later = self.waves[place + 1..].iter().flatten().flat_map(|member| &member.reads);
            let needed: HashSet<&String> = later.chain(&self.outputs).collect();
            made.retain(|name, _| needed.contains(name));
        }
        for (name, output) in self.outputs.iter().zip(outputs) {
            match (made.get(name), given.get(name.as_str()), output) {
                (Some(tensor), _, OutputBuffer::Engine(slot)) => *slot = Some(tensor.clone()),
                (Some(tensor), _, buffer) => store(engine, name, tensor.view(), buffer)?,
                (None, Some(view), buffer) => store(engine, name, *view, buffer)?,
                (None, None, _) => return Err(failed(format!("no member has made the output `{name}`"))),
            }
        }
        Ok(())
    }

    fn profile(&mut self, _inputs: &[TensorView<'_>]) -> Result<Vec<NodeTime>, EngineError> {
        Err(EngineError::Run {
            engine: self.engine,
            reason: "nodes of an ensemble are not measured; profile the model it was made of".to_owned(),
        })
    }
}

/// Runs the members of a wave at once: the first on this thread.
fn at_once(
    wave: &mut [Member],
    given: &HashMap<&str, TensorView<'_>>,
    made: &HashMap<String, Tensor>,
    engine: &'static str,
) -> Vec<Made> {
    let Some((first, others)) = wave.split_first_mut() else { return Vec::new() };
    if others.is_empty() {
        return vec![first.run(given, made)];
    }
    thread::scope(|scope| {
        let started: Vec<_> = others
            .iter_mut()
            .map(|member| {
                thread::Builder::new()
                    .name("member".to_owned())
                    .spawn_scoped(scope, move || member.run(given, made))
            })
            .collect();
        let mut found = vec![first.run(given, made)];
        found.extend(started.into_iter().map(|thread| {
            let failed = |reason: String| EngineError::Run { engine, reason };
            thread
                .map_err(|error| failed(format!("no thread could be started: {error}")))?
                .join()
                .map_err(|_| failed("a member panicked".to_owned()))?
        }));
        found
    })
}
