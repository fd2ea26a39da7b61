//! From what people ask to what models are given, and back: pure functions
//! around the catalogue's models.

pub mod ocr;
pub mod sentence;

use crate::ModelsError;
use tranche_schema::{ElementType, TensorError, TensorView};

/// A shape as tensors hold it.
fn shape<const N: usize>(extents: [usize; N]) -> Vec<u64> {
    extents.iter().map(|&extent| extent as u64).collect()
}

impl From<TensorError> for ModelsError {
    fn from(error: TensorError) -> Self {
        Self::Answer(error.to_string())
    }
}

/// The elements of a tensor of reals with `N` extents.
fn reals<const N: usize>(view: &TensorView) -> Result<([usize; N], Vec<f32>), ModelsError> {
    let extents: Option<Vec<usize>> = view.shape.iter().map(|&extent| extent.try_into().ok()).collect();
    let extents = extents.and_then(|extents| <[usize; N]>::try_from(extents).ok());
    let (chunks, _) = view.data.as_chunks();
    match extents {
        Some(extents)
            if view.element_type == ElementType::Float32
                && extents.iter().product::<usize>() == chunks.len() =>
        {
            Ok((extents, chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
        }
        _ => Err(ModelsError::Answer(format!(
            "expected float32 of {N} dimensions, got {} of shape {:?}",
            view.element_type.name(),
            view.shape
        ))),
    }
}
