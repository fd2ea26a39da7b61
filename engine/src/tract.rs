//! tract: pure Rust, always there.

mod model;
mod operators;
mod profile;
mod tensor;

use crate::guard::guarded;
use crate::output::{check_input, store};
use crate::{Engine, EngineError, LoadOptions, NodeTime, OutputBuffer, Session};
use model::{Loaded, first_words};
use profile::Profiler;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tract_onnx::prelude::{
    RunOptions, SymbolValues, TValue, TVec, TractResult, TypedModel, TypedSimplePlan, multithread::Executor,
};
use tranche_schema::{TensorSpec, TensorView};

pub(crate) use crate::discover::TRACT as NAME;

/// tract does not tell its version; a test holds this against Cargo.lock.
const VERSION: &str = "0.23.9";

/// The tract engine, built in.
///
/// It copies weights into its own memory, runs on one thread whatever
/// [`LoadOptions::threads`] says, and gives bit-identical results however a model
/// is cut. It has no bfloat16, 8-bit float or packed integer types.
#[derive(Clone, Copy, Debug, Default)]
pub struct TractEngine;

impl TractEngine {
    /// The engine.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Engine for TractEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }

    fn uses_threads(&self) -> bool {
        false
    }

    fn load(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        outputs: &[String],
        options: &LoadOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(TractSession::load(model, inputs, outputs, options)?))
    }

    fn tensor_specs(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        values: &[TensorView<'_>],
        tensors: &[String],
    ) -> Result<Vec<Option<TensorSpec>>, EngineError> {
        model::tensor_specs(model, inputs, values, tensors)
    }
}

struct TractSession {
    plan: Arc<TypedSimplePlan>,
    inputs: Vec<TensorSpec>,
    output_names: Vec<String>,
    path: PathBuf,
    profiler: Option<Profiler>,
}

impl TractSession {
    fn load(
        path: &Path,
        inputs: &[TensorSpec],
        outputs: &[String],
        options: &LoadOptions,
    ) -> Result<Self, EngineError> {
        let mut loaded = Loaded::read(path, inputs)?;
        loaded.select_outputs(outputs)?;
        let profiler = options.profile.then(|| Profiler::new(&loaded));
        let plan = in_tract_load(path, || into_plan(loaded, options.optimise))?;
        Ok(Self {
            plan,
            inputs: inputs.to_vec(),
            output_names: outputs.to_vec(),
            path: path.to_owned(),
            profiler,
        })
    }

    fn values(&self, inputs: &[TensorView<'_>]) -> Result<TVec<TValue>, EngineError> {
        if inputs.len() != self.inputs.len() {
            return Err(run_error(format!(
                "{} inputs were given to a model that has {}",
                inputs.len(),
                self.inputs.len()
            )));
        }
        self.inputs
            .iter()
            .zip(inputs)
            .map(|(spec, view)| {
                check_input(spec, view)?;
                tensor::to_tract(view)
                    .map_err(|reason| EngineError::Input { name: spec.name.clone(), reason })
            })
            .collect()
    }
}

/// What a run made, and the dimensions that it found on the way: a tensor that tract
/// knows as an expression of them is not computed by any node.
struct Results {
    values: TVec<TValue>,
    symbols: SymbolValues,
}

impl TractSession {
    fn compute(&self, inputs: &[TensorView<'_>]) -> Result<Results, EngineError> {
        let values = self.values(inputs)?;
        // A state of its own for each run: nothing that an operator keeps (random
        // generators, loop states) passes from one run to the next.
        in_tract(|| {
            let mut state = self.plan.spawn()?;
            state.set_inputs(values)?;
            state.exec()?;
            Ok(Results { values: state.outputs()?, symbols: state.turn_state.resolved_symbols.clone() })
        })
    }
}

impl Session for TractSession {
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &mut [OutputBuffer<'_>],
    ) -> Result<(), EngineError> {
        let results = self.compute(inputs)?;
        if outputs.len() != results.values.len() {
            return Err(run_error(format!(
                "{} output buffers were given for {} outputs",
                outputs.len(),
                results.values.len()
            )));
        }
        for ((name, value), buffer) in self.output_names.iter().zip(&results.values).zip(outputs) {
            let packed = in_tract(|| tensor::Packed::new(value, &results.symbols))?;
            store(NAME, name, packed.view(), buffer)?;
        }
        Ok(())
    }

    fn profile(&mut self, inputs: &[TensorView<'_>]) -> Result<Vec<NodeTime>, EngineError> {
        let values = self.values(inputs)?;
        let Some(profiler) = &mut self.profiler else {
            return Err(run_error("the model was loaded without profiling".to_owned()));
        };
        profiler.resolve_shapes(&self.path, &self.inputs, inputs)?;
        in_tract(|| profiler.run(&self.plan, values))
    }
}

/// A plan of a model, on one thread.
fn into_plan(loaded: Loaded, optimise: bool) -> TractResult<Arc<TypedSimplePlan>> {
    let model: TypedModel = loaded.into_typed()?.into_decluttered()?;
    let model = if optimise { model.into_optimized()? } else { model };
    let options = RunOptions { executor: Some(Executor::SingleThread), ..RunOptions::default() };
    TypedSimplePlan::new_with_options(model, &options)
}

fn in_tract_load<T>(path: &Path, work: impl FnOnce() -> TractResult<T>) -> Result<T, EngineError> {
    let failed = |reason| EngineError::Load { engine: NAME, model: path.to_owned(), reason };
    guarded(work).map_err(failed)?.map_err(|error| failed(first_words(&error)))
}

fn in_tract<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, EngineError> {
    guarded(work).map_err(run_error)?.map_err(|error| run_error(first_words(&error)))
}

fn run_error(reason: String) -> EngineError {
    EngineError::Run { engine: NAME, reason }
}
