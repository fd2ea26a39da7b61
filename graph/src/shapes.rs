//! What is known of each tensor's type and concrete shape, and from where.

use crate::{Dimension, Graph, TensorId, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use tranche_schema::TensorSpec;

/// Where a fact about a tensor comes from, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactSource {
    /// It follows from the tensors that it is computed from.
    Inferred,
    /// The file says it, symbols bound.
    Declared,
    /// An engine made it so.
    Measured,
}

/// A tensor of which two sources say different things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "tensor `{}` is {} {:?} by declaration, {} {:?} by measurement",
    .declared.name, .declared.element_type, .declared.shape, .measured.element_type, .measured.shape
)]
pub struct FactConflict {
    /// What the file says.
    pub declared: TensorSpec,
    /// What an engine made.
    pub measured: TensorSpec,
}

/// Type and concrete shape of each tensor of a [`Graph`], as far as known.
#[derive(Clone, Debug)]
pub struct TensorFacts {
    facts: Vec<Option<(TensorSpec, FactSource)>>,
    by_name: HashMap<String, TensorId>,
}

impl TensorFacts {
    /// What the file declares, with symbolic dimensions bound to extents, and what
    /// follows from it: a node that works on each element by itself gives its first
    /// input's shape. `inputs` says more of model inputs than the file does
    /// ([`Graph::bind`]).
    #[must_use]
    pub fn declared(graph: &Graph, inputs: &[TensorSpec], dimensions: &BTreeMap<String, u64>) -> Self {
        let facts =
            graph.tensors().iter().map(|tensor| Some((concrete(tensor, dimensions)?, FactSource::Declared)));
        let mut this = Self {
            facts: facts.collect(),
            by_name: graph
                .tensors()
                .iter()
                .enumerate()
                .map(|(index, tensor)| (tensor.name.clone(), TensorId(index as u32)))
                .collect(),
        };
        for input in inputs {
            this.put(input.clone(), FactSource::Declared);
        }
        this.infer(graph);
        this
    }

    /// Takes what an engine made of each tensor, by name; names that the graph does
    /// not have (an engine's own) are passed over. What is measured replaces what
    /// was known; where the file had said otherwise, the conflict is returned, in
    /// the order of tensor ids.
    pub fn measure(&mut self, graph: &Graph, measured: &HashMap<String, TensorSpec>) -> Vec<FactConflict> {
        let mut conflicts = Vec::new();
        for (tensor, fact) in graph.tensors().iter().zip(&mut self.facts) {
            let Some(spec) = measured.get(&tensor.name) else { continue };
            let spec = TensorSpec { name: tensor.name.clone(), ..spec.clone() };
            if let Some((declared, FactSource::Declared)) = fact
                && *declared != spec
            {
                conflicts.push(FactConflict { declared: declared.clone(), measured: spec.clone() });
            }
            *fact = Some((spec, FactSource::Measured));
        }
        self.infer(graph);
        conflicts
    }

    /// Type and shape of a tensor, when known.
    #[must_use]
    pub fn spec(&self, tensor: TensorId) -> Option<&TensorSpec> {
        self.fact(tensor).map(|(spec, _)| spec)
    }

    /// Type and shape of a tensor by name, when known.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&TensorSpec> {
        self.spec(*self.by_name.get(name)?)
    }

    /// Where what is known of a tensor comes from.
    #[must_use]
    pub fn source(&self, tensor: TensorId) -> Option<FactSource> {
        self.fact(tensor).map(|&(_, source)| source)
    }

    /// Bytes of a tensor when packed; `None` when not known, and for strings.
    #[must_use]
    pub fn byte_size(&self, tensor: TensorId) -> Option<u64> {
        let spec = self.spec(tensor)?;
        spec.element_type.byte_size(&spec.shape)
    }

    /// Activations and inputs of which nothing is known, in the order of ids.
    #[must_use]
    pub fn unknown(&self, graph: &Graph) -> Vec<TensorId> {
        let all = (0..self.facts.len() as u32).map(TensorId);
        all.filter(|&tensor| self.fact(tensor).is_none() && !graph.is_initializer(tensor)).collect()
    }

    /// Every fact by tensor name, as [`Graph::extract_with`] takes them.
    #[must_use]
    pub fn specs(&self) -> BTreeMap<String, TensorSpec> {
        self.facts.iter().flatten().map(|(spec, _)| (spec.name.clone(), spec.clone())).collect()
    }

    fn fact(&self, tensor: TensorId) -> Option<&(TensorSpec, FactSource)> {
        self.facts.get(tensor.0 as usize)?.as_ref()
    }

    fn put(&mut self, spec: TensorSpec, source: FactSource) {
        if let Some(fact) = self.by_name.get(&spec.name).and_then(|id| self.facts.get_mut(id.0 as usize)) {
            *fact = Some((spec, source));
        }
    }

    /// Follows shapes through nodes that keep them.
    fn infer(&mut self, graph: &Graph) {
        for node in graph.nodes() {
            let keeps = node.domain().is_empty() && KEEPS_SHAPE.contains(&node.operator());
            let (Some(&Some(input)), Some(&Some(output))) = (node.inputs.first(), node.outputs.first())
            else {
                continue;
            };
            if !keeps || self.fact(output).is_some() {
                continue;
            }
            if let Some(known) = self.spec(input) {
                let spec = TensorSpec { name: graph.tensor(output).name.clone(), ..known.clone() };
                self.put(spec, FactSource::Inferred);
            }
        }
    }
}

/// Operators whose first output has type and shape of the first input.
const KEEPS_SHAPE: &[&str] = &[
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Mish",
    "Gelu",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Neg",
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Identity",
    "Dropout",
    "Softmax",
    "LogSoftmax",
    "BatchNormalization",
    "LayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LRN",
    "CumSum",
    "Not",
];

fn concrete(tensor: &TensorInfo, dimensions: &BTreeMap<String, u64>) -> Option<TensorSpec> {
    let shape = tensor
        .shape
        .as_ref()?
        .iter()
        .map(|dimension| match dimension {
            Dimension::Fixed(extent) => Some(*extent),
            Dimension::Symbol(symbol) => dimensions.get(symbol).copied(),
            Dimension::Unknown => None,
        })
        .collect::<Option<Vec<u64>>>()?;
    Some(TensorSpec { name: tensor.name.clone(), element_type: tensor.element_type?, shape })
}
