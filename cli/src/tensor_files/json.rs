//! Tensors in JSON files: an object from names to tensors, or one tensor.

use super::{TensorFileError, find, in_file, single};
use serde::de::DeserializeSeed as _;
use serde_json::Value;
use std::path::Path;
use tranche_schema::{Tensor, TensorSeed, TensorSpec};

/// Reads the tensors of a file; with `name`, the file is that tensor.
pub(super) fn read(
    path: &Path,
    text: &str,
    name: Option<&str>,
    expected: &[TensorSpec],
) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| TensorFileError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    read_value(path, &value, name, expected)
}

/// The same of what was parsed already.
pub(super) fn read_value(
    path: &Path,
    value: &Value,
    name: Option<&str>,
    expected: &[TensorSpec],
) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    let convert = |value: &Value, spec: &TensorSpec| {
        let tensor =
            TensorSeed(spec).deserialize(value).map_err(|error| in_file(path, spec, error.to_string()))?;
        Ok((spec.name.clone(), tensor))
    };
    match (name, value) {
        (None, Value::Object(tensors)) => {
            tensors.iter().map(|(name, value)| convert(value, find(name, path, expected)?)).collect()
        }
        _ => Ok(vec![convert(value, single(name, path, expected)?)?]),
    }
}
