use super::model::{Loaded, run_for_specs};
use crate::node_names::NodeIndex;
use crate::{EngineError, NodeTime};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tract_onnx::prelude::{TValue, TVec, TractResult, TypedSimplePlan};
use tract_onnx::tract_core;
use tranche_schema::{TensorSpec, TensorView};

/// Times tract's nodes and says which ONNX node each belongs to.
pub(super) struct Profiler {
    nodes: Vec<(String, Vec<String>)>,
    index: NodeIndex,
    specs: HashMap<String, TensorSpec>,
    resolved: bool,
}

impl Profiler {
    pub(super) fn new(loaded: &Loaded) -> Self {
        let names: Vec<String> = loaded.nodes.iter().map(|(name, _)| name.clone()).collect();
        Self {
            nodes: loaded.nodes.clone(),
            index: NodeIndex::new(&names),
            specs: loaded.infer(),
            resolved: false,
        }
    }

    /// Finds, by running the model, the shapes that follow from values only.
    pub(super) fn resolve_shapes(
        &mut self,
        path: &Path,
        inputs: &[TensorSpec],
        values: &[TensorView<'_>],
    ) -> Result<(), EngineError> {
        if !self.resolved {
            let tensors = self.nodes.iter().flat_map(|(_, outputs)| outputs);
            let missing: Vec<String> =
                tensors.filter(|name| !self.specs.contains_key(*name)).cloned().collect();
            self.specs.extend(run_for_specs(path, inputs, values, &missing)?);
            self.resolved = true;
        }
        Ok(())
    }

    pub(super) fn run(
        &self,
        plan: &Arc<TypedSimplePlan>,
        values: TVec<TValue>,
    ) -> TractResult<Vec<NodeTime>> {
        let mut times = vec![Duration::ZERO; self.nodes.len()];
        let mut elsewhere = Duration::ZERO;
        plan.spawn()?.run_plan_with_eval(values, |context, state, node, inputs| {
            let start = Instant::now();
            let result = tract_core::plan::eval(context, state, node, inputs);
            let time = start.elapsed();
            match self.index.find(&node.name).and_then(|index| times.get_mut(index)) {
                Some(total) => *total += time,
                None => elsewhere += time,
            }
            result
        })?;
        let mut result: Vec<NodeTime> = self
            .nodes
            .iter()
            .zip(times)
            .map(|((name, outputs), time)| NodeTime {
                node: name.clone(),
                time,
                outputs: outputs.iter().filter_map(|output| self.specs.get(output).cloned()).collect(),
            })
            .collect();
        if !elsewhere.is_zero() {
            result.push(NodeTime { node: String::new(), time: elsewhere, outputs: Vec::new() });
        }
        Ok(result)
    }
}
