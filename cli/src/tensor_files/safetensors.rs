//! The safetensors format: a JSON header, then the elements.

use super::{TensorFileError, cannot_hold, check_bools, find, in_file, mismatch, no_form};
use bytes::Bytes;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use std::path::Path;
use tranche_schema::{ElementType, Tensor, TensorSpec};

const TYPES: [(ElementType, Dtype); 22] = [
    (ElementType::Bool, Dtype::BOOL),
    (ElementType::Float4E2M1, Dtype::F4),
    (ElementType::Float6E2M3, Dtype::F6_E2M3),
    (ElementType::Float6E3M2, Dtype::F6_E3M2),
    (ElementType::UInt8, Dtype::U8),
    (ElementType::Int8, Dtype::I8),
    (ElementType::Float8E5M2, Dtype::F8_E5M2),
    (ElementType::Float8E4M3FN, Dtype::F8_E4M3),
    (ElementType::Float8E8M0, Dtype::F8_E8M0),
    (ElementType::Float8E4M3FNUZ, Dtype::F8_E4M3FNUZ),
    (ElementType::Float8E5M2FNUZ, Dtype::F8_E5M2FNUZ),
    (ElementType::Int16, Dtype::I16),
    (ElementType::UInt16, Dtype::U16),
    (ElementType::Float16, Dtype::F16),
    (ElementType::BFloat16, Dtype::BF16),
    (ElementType::Int32, Dtype::I32),
    (ElementType::UInt32, Dtype::U32),
    (ElementType::Float32, Dtype::F32),
    (ElementType::Complex64, Dtype::C64),
    (ElementType::Float64, Dtype::F64),
    (ElementType::Int64, Dtype::I64),
    (ElementType::UInt64, Dtype::U64),
];

/// Reads the tensors of a whole file, or the one called `name`.
pub(super) fn read(
    path: &Path,
    bytes: &Bytes,
    name: Option<&str>,
    expected: &[TensorSpec],
) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    let damaged = |reason: String| TensorFileError::Damaged { path: path.to_owned(), reason };
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut views = file.tensors();
    views.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut tensors = Vec::with_capacity(views.len());
    for (found, view) in views {
        if name.is_some_and(|name| name != found) {
            continue;
        }
        let wanted = find(&found, path, expected)?;
        let tensor = convert(bytes, &view, wanted).map_err(|reason| in_file(path, wanted, reason))?;
        tensors.push((found, tensor));
    }
    match name {
        Some(name) if tensors.is_empty() => Err(damaged(format!("it holds no tensor `{name}`"))),
        _ => Ok(tensors),
    }
}

fn convert(file: &Bytes, view: &TensorView<'_>, expected: &TensorSpec) -> Result<Tensor, String> {
    let shape: Vec<u64> = view.shape().iter().map(|&extent| extent as u64).collect();
    let known = TYPES.iter().find(|(_, dtype)| *dtype == view.dtype()).map(|(element_type, _)| *element_type);
    if known != Some(expected.element_type) || shape != expected.shape {
        let found = known.map_or_else(|| view.dtype().to_string(), |known| known.to_string());
        return Err(mismatch(&found, &shape, expected));
    }
    // Shares the file's bytes where they are aligned for the element.
    let tensor = Tensor::new(expected.element_type, shape, file.slice_ref(view.data()));
    check_bools(tensor.map_err(|error| error.to_string())?)
}

/// The bytes of a file with these tensors.
pub(super) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<Vec<u8>, TensorFileError> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let refuse = |reason| cannot_hold(path, name, reason);
        let (_, dtype) = TYPES
            .iter()
            .find(|(element_type, _)| *element_type == tensor.element_type())
            .ok_or_else(|| refuse(no_form(tensor.element_type())))?;
        let shape = tensor.shape().iter().map(|&extent| usize::try_from(extent));
        let shape = shape.collect::<Result<_, _>>().map_err(|error| refuse(error.to_string()))?;
        let view =
            TensorView::new(*dtype, shape, tensor.data()).map_err(|error| refuse(error.to_string()))?;
        views.push((name.as_str(), view));
    }
    serialize(views, None)
        .map_err(|error| TensorFileError::Damaged { path: path.to_owned(), reason: error.to_string() })
}
