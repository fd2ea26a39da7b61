use crate::EngineError;
use std::path::Path;
use std::time::Duration;
use tranche_schema::{ElementType, Tensor, TensorSpec, TensorView};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Engine threads, at least 1.
    pub threads: usize,
    /// Whether the engine rewrites the graph for speed. Off, results are bit-identical
    /// however the model is cut.
    pub optimise: bool,
    /// Whether node times will be asked for ([`Session::profile`]).
    pub profile: bool,
    /// Whether the engine may copy weights into a layout of its own for speed. Off,
    /// ONNX Runtime leaves external weights as mapped file pages: much less memory
    /// and start-up, a little more time a run. tract copies either way.
    pub prepack: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { threads: 1, optimise: true, profile: false, prepack: true }
    }
}

/// An inference engine.
pub trait Engine: Send + Sync {
    /// `tract` or `onnxruntime`.
    fn name(&self) -> &'static str;

    /// Its version.
    fn version(&self) -> String;

    /// Whether [`LoadOptions::threads`] above one makes a difference.
    fn uses_threads(&self) -> bool {
        true
    }

    /// Loads a model whose inputs will have these types and shapes, in this
    /// order, and of whose outputs these names are wanted, in this order.
    ///
    /// External data is read relative to the model's folder.
    ///
    /// # Errors
    /// When the engine refuses the model.
    fn load(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        outputs: &[String],
        options: &LoadOptions,
    ) -> Result<Box<dyn Session>, EngineError>;

    /// Types and concrete shapes that these tensors of the main graph take when the
    /// model runs on `values`, given as `inputs` says and in that order.
    ///
    /// Inferred where the engine can, else found by running the model. `None` where
    /// the engine has no such tensor or no element type for it.
    ///
    /// # Errors
    /// When the engine refuses the model or the values, or the run fails.
    fn tensor_specs(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        values: &[TensorView<'_>],
        tensors: &[String],
    ) -> Result<Vec<Option<TensorSpec>>, EngineError>;
}

/// A loaded model. Runs are exclusive: one at a time.
pub trait Session: Send {
    /// Runs the model.
    ///
    /// `inputs` are borrowed, in the order given to [`Engine::load`]. `outputs`
    /// has one entry an output, in order: a [`OutputBuffer::Caller`] is written in
    /// place, a [`OutputBuffer::Engine`] is filled with a tensor.
    ///
    /// # Errors
    /// When the inputs do not fit, or the engine fails.
    fn run(&mut self, inputs: &[TensorView<'_>], outputs: &mut [OutputBuffer<'_>])
    -> Result<(), EngineError>;

    /// Runs the model and measures each node.
    ///
    /// One entry for each node of the main graph, in the file's order: zero time for
    /// a node that was folded away or fused into another, whose time then is in that
    /// one's entry. Then, where there is any, one entry with an empty name for the time
    /// in nodes of the engine's own that belong to none.
    ///
    /// # Errors
    /// As [`Session::run`], and when the model was loaded without
    /// [`LoadOptions::profile`].
    fn profile(&mut self, inputs: &[TensorView<'_>]) -> Result<Vec<NodeTime>, EngineError>;

    /// Measures each node over `repeats` runs, after `warmup` that are not reported.
    /// `progress` is told after each run how many are done, warm-up included.
    ///
    /// What [`Session::profile`] gives, once a run. With ONNX Runtime much cheaper than
    /// calling that in a loop, which loads the model again for each call.
    ///
    /// # Errors
    /// As [`Session::profile`].
    fn profile_runs(
        &mut self,
        inputs: &[TensorView<'_>],
        warmup: usize,
        repeats: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<NodeTime>>, EngineError> {
        let mut runs = Vec::with_capacity(repeats);
        for run in 0..warmup + repeats {
            let times = self.profile(inputs)?;
            if run >= warmup {
                runs.push(times);
            }
            progress(run + 1);
        }
        Ok(runs)
    }
}

/// Where an output goes.
#[derive(Debug)]
pub enum OutputBuffer<'a> {
    /// Into the caller's memory, which must have exactly the output's size.
    Caller {
        /// Type the caller expects.
        element_type: ElementType,
        /// Shape the caller expects.
        shape: &'a [u64],
        /// The memory.
        data: &'a mut [u8],
    },
    /// Into a tensor made by the engine; `None` until the run has filled it.
    Engine(Option<Tensor>),
}

/// What one node took and made in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTime {
    /// Node name as in the ONNX file, or `Operator_index` where the file has none or
    /// repeats it; empty when the engine's node has no counterpart.
    pub node: String,
    /// Time in the node.
    pub time: Duration,
    /// Its outputs with concrete shapes, in the node's order, where the engine tells.
    pub outputs: Vec<TensorSpec>,
}
