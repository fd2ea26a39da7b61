//! Giving every input of a model a concrete shape.

use crate::tensor_data::plausible_bytes;
use crate::{Dimension, ErrorKind, Graph, GraphError, TensorId, TensorInfo};
use std::collections::{BTreeMap, BTreeSet};
use tranche_schema::TensorSpec;

/// Concrete inputs of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Every input of the graph, in its order.
    pub inputs: Vec<TensorSpec>,
    /// Every symbolic dimension of the inputs and its extent.
    pub dimensions: BTreeMap<String, u64>,
}

/// A symbol's extent and which flag said so.
struct Bound {
    extent: u64,
    source: String,
}

impl Graph {
    /// Binds the symbolic dimensions of the inputs: `shapes` (as `--shape
    /// input=1x3x224x224`) gives whole shapes by input name, `dimensions` (as
    /// `--dim batch=4`) extents by symbol. A symbol bound by one input's shape
    /// holds for the others too.
    ///
    /// # Errors
    /// When a name is not an input or a symbol, a shape disagrees with the declared
    /// one or with another binding, an extent is left open, or an input is not a
    /// tensor of known type.
    pub fn bind(
        &self,
        shapes: &BTreeMap<String, Vec<u64>>,
        dimensions: &BTreeMap<String, u64>,
    ) -> Result<Binding, GraphError> {
        self.check_names(shapes, dimensions)?;
        let mut bound: BTreeMap<String, Bound> = dimensions
            .iter()
            .map(|(symbol, &extent)| {
                (symbol.clone(), Bound { extent, source: format!("--dim {symbol}={extent}") })
            })
            .collect();
        for &id in self.inputs() {
            let tensor = self.tensor(id);
            if let Some(asked) = shapes.get(&tensor.name) {
                bind_shape(tensor, asked, &mut bound).map_err(|error| error.at_input(&tensor.name))?;
            }
        }
        let inputs = self
            .inputs()
            .iter()
            .map(|&id| self.bind_input(id, shapes, &bound))
            .collect::<Result<Vec<_>, _>>()?;
        let dimensions = bound.into_iter().map(|(symbol, bound)| (symbol, bound.extent)).collect();
        Ok(Binding { inputs, dimensions })
    }

    fn bind_input(
        &self,
        id: TensorId,
        shapes: &BTreeMap<String, Vec<u64>>,
        bound: &BTreeMap<String, Bound>,
    ) -> Result<TensorSpec, GraphError> {
        let tensor = self.tensor(id);
        let element_type = tensor.element_type.ok_or_else(|| {
            GraphError::unsupported("is an input that is not a tensor of known type").at_input(&tensor.name)
        })?;
        let shape = match (shapes.get(&tensor.name), &tensor.shape) {
            (Some(asked), _) => asked.clone(),
            (None, Some(declared)) => declared
                .iter()
                .map(|dimension| match dimension {
                    Dimension::Fixed(extent) => Some(*extent),
                    Dimension::Symbol(symbol) => bound.get(symbol).map(|bound| bound.extent),
                    Dimension::Unknown => None,
                })
                .collect::<Option<Vec<u64>>>()
                .ok_or_else(|| open(tensor, declared, bound))?,
            (None, None) => {
                return Err(GraphError::binding(format!(
                    "has no declared shape; give one with --shape {}=…",
                    tensor.name
                ))
                .at_input(&tensor.name));
            }
        };
        if plausible_bytes(element_type, &shape).is_none() {
            return Err(
                GraphError::binding(format!("shape {shape:?} is too large to exist")).at_input(&tensor.name)
            );
        }
        Ok(TensorSpec { name: tensor.name.clone(), element_type, shape })
    }

    fn check_names(
        &self,
        shapes: &BTreeMap<String, Vec<u64>>,
        dimensions: &BTreeMap<String, u64>,
    ) -> Result<(), GraphError> {
        let inputs: Vec<&str> = self.inputs().iter().map(|&id| self.tensor(id).name.as_str()).collect();
        if let Some(stranger) = shapes.keys().find(|name| !inputs.contains(&name.as_str())) {
            return Err(unknown("input", stranger, &inputs));
        }
        let symbols: BTreeSet<&str> = self
            .inputs()
            .iter()
            .flat_map(|&id| self.tensor(id).shape.iter().flatten())
            .filter_map(|dimension| match dimension {
                Dimension::Symbol(symbol) => Some(symbol.as_str()),
                _ => None,
            })
            .collect();
        if let Some(stranger) = dimensions.keys().find(|name| !symbols.contains(name.as_str())) {
            return Err(unknown("symbolic dimension", stranger, &symbols.into_iter().collect::<Vec<_>>()));
        }
        Ok(())
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> GraphError {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    GraphError::new(ErrorKind::UnknownName(format!("no {what} is named `{name}`; there are: {known}")))
}

/// Holds an asked shape against the declared one and binds its symbols.
fn bind_shape(
    tensor: &TensorInfo,
    asked: &[u64],
    bound: &mut BTreeMap<String, Bound>,
) -> Result<(), GraphError> {
    let Some(declared) = &tensor.shape else { return Ok(()) };
    if declared.len() != asked.len() {
        return Err(GraphError::binding(format!(
            "has {} dimensions [{}], asked for {}",
            declared.len(),
            shape_text(declared),
            asked.len()
        )));
    }
    for (axis, (dimension, &extent)) in declared.iter().zip(asked).enumerate() {
        match dimension {
            Dimension::Fixed(fixed) if *fixed != extent => {
                return Err(GraphError::binding(format!(
                    "extent {axis} of [{}] is fixed to {fixed}, asked for {extent}",
                    shape_text(declared)
                )));
            }
            Dimension::Symbol(symbol) => match bound.get(symbol) {
                Some(before) if before.extent != extent => {
                    return Err(GraphError::binding(format!(
                        "extent {axis} of [{}] is `{symbol}`, asked for {extent}, but {} makes it {}",
                        shape_text(declared),
                        before.source,
                        before.extent
                    )));
                }
                Some(_) => {}
                None => {
                    let source = format!("--shape {}=…", tensor.name);
                    bound.insert(symbol.clone(), Bound { extent, source });
                }
            },
            Dimension::Fixed(_) | Dimension::Unknown => {}
        }
    }
    Ok(())
}

/// The error of an input whose extents are not all known.
fn open(tensor: &TensorInfo, declared: &[Dimension], bound: &BTreeMap<String, Bound>) -> GraphError {
    let mut missing = Vec::new();
    for dimension in declared {
        if let Dimension::Symbol(symbol) = dimension
            && !bound.contains_key(symbol)
        {
            let flag = format!("--dim {symbol}=…");
            if !missing.contains(&flag) {
                missing.push(flag);
            }
        }
    }
    let whole = format!("--shape {}=…", tensor.name);
    let flags = if missing.is_empty() || declared.contains(&Dimension::Unknown) {
        whole
    } else {
        format!("{} or {whole}", missing.join(" "))
    };
    GraphError::binding(format!("has the open shape [{}]; give {flags}", shape_text(declared)))
        .at_input(&tensor.name)
}

/// A declared shape as people read it, without brackets.
pub(crate) fn shape_text(shape: &[Dimension]) -> String {
    let extents: Vec<String> = shape
        .iter()
        .map(|dimension| match dimension {
            Dimension::Fixed(extent) => extent.to_string(),
            Dimension::Symbol(symbol) => symbol.clone(),
            Dimension::Unknown => "?".to_owned(),
        })
        .collect();
    extents.join(", ")
}
