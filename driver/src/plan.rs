//! The deployment as a dataflow: tensors by index, functions by index.

use crate::DriverError;
use std::collections::HashMap;
use std::time::Duration;
use tranche_schema::{Channel, Codec, Deployment, TensorSpec};

/// Index of a function in the deployment's order.
pub type FunctionIndex = usize;
/// Index of a tensor in [`WalkPlan::tensors`].
pub type TensorIndex = usize;

/// A tensor that a function or the caller makes.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Name, type and shape.
    pub spec: TensorSpec,
    /// The functions that read it, each once.
    pub readers: Vec<FunctionIndex>,
    /// Whether the caller reads it.
    pub to_caller: bool,
    /// How the caller codes it, for an input of the model.
    pub codec: Codec,
    /// How the caller sends it, for an input of the model.
    pub channel: Channel,
}

/// A function and the tensors it reads and writes.
#[derive(Clone, Debug)]
pub struct PlannedFunction {
    /// Name of its slice.
    pub slice: String,
    /// What it reads, in its order.
    pub inputs: Vec<TensorIndex>,
    /// What it writes, in its order.
    pub outputs: Vec<TensorIndex>,
}

/// What a walk follows. Invariants, checked by [`WalkPlan::new`]: every tensor
/// is made once, by the caller or by one function; every function reads only
/// tensors made by the caller or by functions before it, each once, as they are
/// made; every output of the model is made.
#[derive(Clone, Debug)]
pub struct WalkPlan {
    /// Every tensor: first the inputs of the model, in their order.
    pub tensors: Vec<PlannedTensor>,
    /// The functions, in the deployment's order.
    pub functions: Vec<PlannedFunction>,
    /// How many of [`WalkPlan::tensors`] are inputs of the model.
    pub input_count: usize,
    /// The outputs of the model, in their order.
    pub outputs: Vec<TensorIndex>,
}

/// Waiting and trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most tries of one function, the first included.
    pub max_attempts: u32,
    /// Wait before the second try; each later wait is twice the one before.
    pub first_wait: Duration,
    /// Longest wait.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Ten tries over about nine seconds: long enough for a crashed function to
    /// be started again.
    fn default() -> Self {
        Self { max_attempts: 10, first_wait: Duration::from_millis(50), longest_wait: Duration::from_secs(2) }
    }
}

impl RetryPolicy {
    /// Wait after try number `attempt` (from 1), between half and all of the
    /// exponential wait; `seed` decides where, so that callers spread.
    #[must_use]
    pub fn wait(&self, attempt: u32, seed: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let whole = self.first_wait.saturating_mul(1 << doublings).min(self.longest_wait);
        let fraction = (mix(seed ^ u64::from(attempt)) >> 40) as f64 / (1_u64 << 24) as f64;
        whole.mul_f64(0.5 + fraction / 2.0)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): spreads the bits of a counter.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl WalkPlan {
    /// Reads the dataflow off a deployment.
    ///
    /// # Errors
    /// When the deployment breaks an invariant; the error names the tensor or the function.
    pub fn new(deployment: &Deployment) -> Result<Self, DriverError> {
        Builder::default()
            .build(deployment)
            .map_err(|reason| DriverError::Deployment { deployment: deployment.name.clone(), reason })
    }
}

#[derive(Default)]
struct Builder<'a> {
    tensors: Vec<PlannedTensor>,
    by_name: HashMap<&'a str, TensorIndex>,
}

impl<'a> Builder<'a> {
    fn build(mut self, deployment: &'a Deployment) -> Result<WalkPlan, String> {
        for spec in &deployment.inputs {
            let at = self.make(spec)?;
            let edge =
                deployment.edges.iter().find(|edge| edge.from.is_none() && edge.tensor.name == spec.name);
            if let Some((edge, tensor)) = edge.zip(self.tensors.get_mut(at)) {
                tensor.codec = edge.codec;
                tensor.channel = edge.channel;
            }
        }
        let mut functions: Vec<PlannedFunction> = Vec::with_capacity(deployment.functions.len());
        for (index, function) in deployment.functions.iter().enumerate() {
            let slice = &function.slice;
            if functions.iter().any(|other| other.slice == *slice) {
                return Err(format!("two functions run `{slice}`"));
            }
            let inputs = function
                .inputs
                .iter()
                .map(|spec| self.read(spec, index).map_err(|reason| format!("`{slice}` {reason}")))
                .collect::<Result<_, _>>()?;
            let outputs = function.outputs.iter().map(|spec| self.make(spec)).collect::<Result<_, _>>()?;
            functions.push(PlannedFunction { slice: slice.clone(), inputs, outputs });
        }
        let outputs = deployment.outputs.iter().map(|spec| self.give(spec)).collect::<Result<_, _>>()?;
        Ok(WalkPlan { tensors: self.tensors, functions, input_count: deployment.inputs.len(), outputs })
    }

    fn make(&mut self, spec: &'a TensorSpec) -> Result<TensorIndex, String> {
        let at = self.tensors.len();
        if self.by_name.insert(&spec.name, at).is_some() {
            return Err(format!("tensor `{}` is made more than once", spec.name));
        }
        self.tensors.push(PlannedTensor {
            spec: spec.clone(),
            readers: Vec::new(),
            to_caller: false,
            codec: Codec::default(),
            channel: Channel::default(),
        });
        Ok(at)
    }

    fn read(&mut self, spec: &TensorSpec, reader: FunctionIndex) -> Result<TensorIndex, String> {
        let name = &spec.name;
        let (at, tensor) =
            self.find(name).ok_or_else(|| format!("reads tensor `{name}`, which nothing before it makes"))?;
        if tensor.spec != *spec {
            return Err(format!("reads tensor {}, it is made as {}", describe(spec), describe(&tensor.spec)));
        }
        if tensor.readers.contains(&reader) {
            return Err(format!("reads tensor `{name}` twice"));
        }
        tensor.readers.push(reader);
        Ok(at)
    }

    fn give(&mut self, spec: &TensorSpec) -> Result<TensorIndex, String> {
        let name = &spec.name;
        let (at, tensor) =
            self.find(name).ok_or_else(|| format!("output `{name}` of the model is made by no function"))?;
        if tensor.to_caller {
            return Err(format!("output `{name}` of the model is listed twice"));
        }
        tensor.to_caller = true;
        Ok(at)
    }

    fn find(&mut self, name: &str) -> Option<(TensorIndex, &mut PlannedTensor)> {
        let at = *self.by_name.get(name)?;
        Some((at, self.tensors.get_mut(at)?))
    }
}

/// As `x` float32 [1, 3].
pub(crate) fn describe(spec: &TensorSpec) -> String {
    format!("`{}` {} {:?}", spec.name, spec.element_type, spec.shape)
}
