//! Inputs that make sense for a model: shapes at the size of the reference
//! measurements, and contents that give no degenerate answer.

use crate::{ModelsError, catalogue, transformer, zoo};
use std::collections::BTreeMap;

/// What an input is filled with, so that the answer is not degenerate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFill {
    /// Reals, uniform in [0, 1).
    Uniform,
    /// Whole numbers, uniform in 0 … bound−1.
    Below(u64),
    /// Ones.
    Ones,
    /// Zeros.
    Zeros,
    /// This whole number, everywhere.
    Whole(u64),
}

/// An input with a shape and contents that make sense for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputHint {
    /// Name of the graph input.
    pub name: String,
    /// Every extent, symbols bound.
    pub shape: Vec<u64>,
    /// What to fill it with.
    pub fill: InputFill,
}

impl InputHint {
    pub(crate) fn new(name: impl Into<String>, shape: &[u64], fill: InputFill) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), fill }
    }
}

/// Inputs of BERT and its kin for one sentence of 128 tokens.
pub(crate) fn sentence() -> Vec<InputHint> {
    let vocabulary = transformer::BERT_VOCABULARY.unsigned_abs();
    vec![
        InputHint::new("input_ids", &[1, 128], InputFill::Below(vocabulary)),
        InputHint::new("attention_mask", &[1, 128], InputFill::Ones),
        InputHint::new("token_type_ids", &[1, 128], InputFill::Below(2)),
    ]
}

/// Inputs of a decoder for one prompt without a past.
pub(crate) fn decoder(vocabulary: u64, layers: usize, heads: u64, head_width: u64) -> Vec<InputHint> {
    let mut inputs = vec![InputHint::new("input_ids", &[1, 64], InputFill::Below(vocabulary))];
    for layer in 0..layers {
        for kind in ["key", "value"] {
            let name = format!("past_{kind}.{layer}");
            inputs.push(InputHint::new(name, &[1, heads, 0, head_width], InputFill::Uniform));
        }
    }
    inputs
}

/// Inputs of this model of the zoo or of the catalogue, in graph order.
///
/// # Errors
/// When no model has this name.
pub fn input_hints(name: &str) -> Result<&'static [InputHint], ModelsError> {
    let in_catalogue = catalogue::catalogue().iter().find(|model| model.name == name);
    match in_catalogue {
        Some(model) => Ok(&model.inputs),
        None => zoo::find(name).map(|model| model.inputs.as_slice()).map_err(|_| ModelsError::UnknownModel {
            name: name.to_owned(),
            known: zoo::zoo().iter().map(|model| model.name).chain(trained()).collect(),
        }),
    }
}

/// Names of the trained models.
fn trained() -> impl Iterator<Item = &'static str> {
    catalogue::catalogue().iter().map(|model| model.name)
}

/// Shape of every input of this model, by name.
///
/// # Errors
/// When no model has this name.
pub fn default_binding(name: &str) -> Result<BTreeMap<String, Vec<u64>>, ModelsError> {
    Ok(input_hints(name)?.iter().map(|input| (input.name.clone(), input.shape.clone())).collect())
}

/// What to fill every input of this model with, by name.
///
/// # Errors
/// When no model has this name.
pub fn default_fills(name: &str) -> Result<BTreeMap<String, InputFill>, ModelsError> {
    Ok(input_hints(name)?.iter().map(|input| (input.name.clone(), input.fill)).collect())
}

/// Exclusive upper bound of every whole-number input of this model that has one:
/// words in a vocabulary, nodes in a graph, 2 for masks.
///
/// # Errors
/// When no model has this name.
pub fn integer_bounds(name: &str) -> Result<BTreeMap<String, u64>, ModelsError> {
    let bound = |fill| match fill {
        InputFill::Below(bound) => Some(bound),
        InputFill::Ones => Some(2),
        InputFill::Uniform | InputFill::Zeros | InputFill::Whole(_) => None,
    };
    let hints = input_hints(name)?.iter();
    Ok(hints.filter_map(|input| Some((input.name.clone(), bound(input.fill)?))).collect())
}
