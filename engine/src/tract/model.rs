use super::tensor::{from_datum, to_datum};
use super::{NAME, TractSession, in_tract_load};
use crate::node_names::unique_node_names;
use crate::{EngineError, LoadOptions};
use std::collections::HashMap;
use std::path::Path;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, OutletId, TractResult, TypedModel,
};
use tract_onnx::tract_core::internal::{ensure, format_err};
use tract_onnx::tract_hir::infer::Factoid;
use tranche_schema::{TensorSpec, TensorView};

/// A parsed model with its inputs in the caller's order and of the caller's shapes.
pub(super) struct Loaded {
    path: std::path::PathBuf,
    model: InferenceModel,
    /// Where each tensor of the main graph is.
    outlets: HashMap<String, OutletId>,
    /// Unique name and output tensors of each ONNX node, in the file's order. tract's
    /// nodes carry these names.
    pub(super) nodes: Vec<(String, Vec<String>)>,
}

impl Loaded {
    pub(super) fn read(path: &Path, inputs: &[TensorSpec]) -> Result<Self, EngineError> {
        let mut loaded = in_tract_load(path, || Self::parse(path))?;
        loaded.bind_inputs(inputs)?;
        Ok(loaded)
    }

    fn parse(path: &Path) -> TractResult<Self> {
        // Declared shapes of inner tensors and of outputs are left out: with symbolic
        // dimensions they clash with the concrete ones that follow from the inputs.
        let onnx = super::operators::reader().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let mut proto = onnx.proto_model_for_path(path)?;
        let mut nodes = Vec::new();
        if let Some(graph) = &mut proto.graph {
            let names =
                unique_node_names(graph.node.iter().map(|node| (node.name.as_str(), node.op_type.as_str())));
            for (node, name) in graph.node.iter_mut().zip(names) {
                node.name.clone_from(&name);
                let outputs = node.output.iter().filter(|output| !output.is_empty()).cloned();
                nodes.push((name, outputs.collect()));
            }
        }
        let folder = path.parent().map(|folder| {
            folder.to_str().ok_or_else(|| format_err!("the model's folder is not named in UTF-8"))
        });
        let parsed = onnx.parse(&proto, folder.transpose()?)?;
        ensure!(
            parsed.unresolved_inputs.is_empty(),
            "tensors without a producer: {}",
            parsed.unresolved_inputs.join(", ")
        );
        Ok(Self { path: path.to_owned(), model: parsed.model, outlets: parsed.outlets_by_name, nodes })
    }

    fn bind_inputs(&mut self, inputs: &[TensorSpec]) -> Result<(), EngineError> {
        let sources = self.model.inputs.clone();
        let mut order: Vec<OutletId> = Vec::with_capacity(inputs.len());
        for spec in inputs {
            let wrong = |reason: String| EngineError::Input { name: spec.name.clone(), reason };
            let outlet = self
                .outlets
                .get(&spec.name)
                .filter(|outlet| sources.contains(outlet))
                .copied()
                .ok_or_else(|| wrong("the model has no such input".to_owned()))?;
            if order.contains(&outlet) {
                return Err(wrong("it is given twice".to_owned()));
            }
            let fact = concrete_fact(spec).map_err(wrong)?;
            if let Ok(declared) = self.model.outlet_fact(outlet) {
                check_declared(declared, spec).map_err(wrong)?;
            }
            self.model.set_outlet_fact(outlet, fact).map_err(|error| self.refused(first_words(&error)))?;
            order.push(outlet);
        }
        if let Some(missing) = sources.iter().find(|outlet| !order.contains(outlet)) {
            return Err(EngineError::Input {
                name: self.model.node(missing.node).name.clone(),
                reason: "the model has this input, but no shape was given for it".to_owned(),
            });
        }
        self.model.set_input_outlets(&order).map_err(|error| self.refused(first_words(&error)))
    }

    pub(super) fn select_outputs(&mut self, outputs: &[String]) -> Result<(), EngineError> {
        let outlets = outputs.iter().map(|name| {
            let outlet = self.outlets.get(name).copied();
            outlet.ok_or_else(|| self.refused(format!("the model has no tensor `{name}`")))
        });
        let outlets = outlets.collect::<Result<Vec<_>, _>>()?;
        self.model.select_output_outlets(&outlets).map_err(|error| self.refused(first_words(&error)))
    }

    pub(super) fn into_typed(self) -> TractResult<TypedModel> {
        self.model.into_typed()
    }

    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.outlets.contains_key(name)
    }

    /// What shape inference finds from the inputs' shapes alone, by tensor name.
    pub(super) fn infer(&self) -> HashMap<String, TensorSpec> {
        let mut model = self.model.clone();
        // What it could not find is found by running.
        let analysed = crate::guard::guarded(|| model.analyse(true).map(|_| ()));
        if !matches!(analysed, Ok(Ok(()))) {
            tracing::debug!(model = %self.path.display(), "shape inference was not complete");
        }
        self.outlets
            .iter()
            .filter_map(|(name, outlet)| {
                Some((name.clone(), spec_of(name, model.outlet_fact(*outlet).ok()?)?))
            })
            .collect()
    }

    fn refused(&self, reason: String) -> EngineError {
        EngineError::Load { engine: NAME, model: self.path.clone(), reason }
    }
}

fn concrete_fact(spec: &TensorSpec) -> Result<InferenceFact, String> {
    let datum = to_datum(spec.element_type)
        .ok_or_else(|| format!("tract has no element type {}", spec.element_type))?;
    let shape: Vec<usize> = spec
        .shape
        .iter()
        .map(|&extent| usize::try_from(extent).map_err(|_| format!("{extent} elements do not fit memory")))
        .collect::<Result<_, _>>()?;
    Ok(InferenceFact::dt_shape(datum, shape))
}

fn check_declared(declared: &InferenceFact, spec: &TensorSpec) -> Result<(), String> {
    let datum: Option<DatumType> = declared.datum_type.concretize();
    if let Some(element_type) = datum.and_then(from_datum)
        && element_type != spec.element_type
    {
        return Err(format!("the model takes {element_type}, not {}", spec.element_type));
    }
    if declared.shape.is_open() {
        return Ok(());
    }
    let dims: Vec<Option<u64>> =
        declared.shape.dims().map(|dim| u64::try_from(dim.concretize()?.to_i64().ok()?).ok()).collect();
    let fits = dims.len() == spec.shape.len()
        && dims.iter().zip(&spec.shape).all(|(declared, extent)| declared.is_none_or(|dim| dim == *extent));
    if fits {
        return Ok(());
    }
    let dims = dims.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string()));
    Err(format!("the model takes shape [{}], not {:?}", dims.collect::<Vec<_>>().join(", "), spec.shape))
}

fn spec_of(name: &str, fact: &InferenceFact) -> Option<TensorSpec> {
    let element_type = from_datum(fact.datum_type.concretize()?)?;
    let shape = fact.shape.as_concrete_finite().ok()??;
    Some(TensorSpec {
        name: name.to_owned(),
        element_type,
        shape: shape.iter().map(|&extent| extent as u64).collect(),
    })
}

/// See [`crate::Engine::tensor_specs`].
pub(super) fn tensor_specs(
    path: &Path,
    inputs: &[TensorSpec],
    values: &[TensorView<'_>],
    tensors: &[String],
) -> Result<Vec<Option<TensorSpec>>, EngineError> {
    let loaded = Loaded::read(path, inputs)?;
    let mut known = loaded.infer();
    let missing: Vec<String> = tensors
        .iter()
        .filter(|name| !known.contains_key(*name) && loaded.has_tensor(name))
        .cloned()
        .collect();
    drop(loaded);
    known.extend(run_for_specs(path, inputs, values, &missing)?);
    Ok(tensors.iter().map(|name| known.get(name).cloned()).collect())
}

/// Types and shapes of tensors, found by running the model up to them.
pub(super) fn run_for_specs(
    path: &Path,
    inputs: &[TensorSpec],
    values: &[TensorView<'_>],
    tensors: &[String],
) -> Result<HashMap<String, TensorSpec>, EngineError> {
    if tensors.is_empty() {
        return Ok(HashMap::new());
    }
    let session = TractSession::load(path, inputs, tensors, &LoadOptions::default())?;
    let found = session.compute(values)?.values;
    let specs = tensors.iter().zip(found).filter_map(|(name, value)| {
        let element_type = from_datum(value.datum_type())?;
        let shape = value.shape().iter().map(|&extent| extent as u64).collect();
        Some((name.clone(), TensorSpec { name: name.clone(), element_type, shape }))
    });
    Ok(specs.collect())
}

/// tract's chain of reasons, outermost first, without the dumps of whole nodes that
/// some of them carry.
pub(super) fn first_words(error: &tract_onnx::prelude::TractError) -> String {
    const LONGEST: usize = 240;
    let reasons = error.chain().map(|reason| {
        let text = reason.to_string();
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            None => text,
        }
    });
    reasons.collect::<Vec<_>>().join(": ")
}
