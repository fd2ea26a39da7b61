//! Trained weights by name, as packages ship them.

use crate::ModelsError;
use crate::builder::{Builder, Value, bytes_of};
use std::collections::BTreeMap;
use tranche_schema::{AlignedBuffer, ElementType};

/// How a stored matrix goes into the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orientation {
    AsStored,
    Transposed,
}

/// A tensor of single-precision reals, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrainedTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl TrainedTensor {
    /// Stores the tensor in the graph.
    pub(crate) fn constant(&self, builder: &Builder, name: &str, orientation: Orientation) -> Value {
        let store = |shape: &[usize], data| {
            let extents: Vec<_> =
                shape.iter().map(|&extent| i64::try_from(extent).unwrap_or(i64::MAX)).collect();
            builder.constant(ElementType::Float32, &extents, data, Some(name.to_owned()))
        };
        match (orientation, self.shape.as_slice()) {
            (Orientation::Transposed, &[rows, columns]) => {
                store(&[columns, rows], transposed(&self.values, rows, columns))
            }
            (_, shape) => store(shape, bytes_of(&self.values)),
        }
    }
}

/// Trained weights by the name they were published under.
#[derive(Default)]
pub(crate) struct TrainedWeights {
    pub(crate) tensors: BTreeMap<String, TrainedTensor>,
}

impl TrainedWeights {
    /// From the bytes of a safetensors file; tensors that are not single precision are left out.
    pub(crate) fn from_safetensors(bytes: &[u8]) -> Result<Self, ModelsError> {
        let file = safetensors::SafeTensors::deserialize(bytes)
            .map_err(|error| ModelsError::Weights(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != safetensors::Dtype::F32 {
                continue;
            }
            let (chunks, _) = view.data().as_chunks();
            let values = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            tensors.insert(name, TrainedTensor { shape: view.shape().to_vec(), values });
        }
        Ok(Self { tensors })
    }

    /// The tensor of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&TrainedTensor, ModelsError> {
        self.tensors.get(name).ok_or_else(|| ModelsError::Weights(format!("no tensor is called `{name}`")))
    }

    /// The tensor of this name, stored in the graph under the same name.
    pub(crate) fn constant(
        &self,
        builder: &Builder,
        name: &str,
        orientation: Orientation,
    ) -> Result<Value, ModelsError> {
        self.constant_as(builder, name, name, orientation)
    }

    /// The tensor of this name, stored in the graph under another one.
    pub(crate) fn constant_as(
        &self,
        builder: &Builder,
        name: &str,
        stored_name: &str,
        orientation: Orientation,
    ) -> Result<Value, ModelsError> {
        Ok(self.get(name)?.constant(builder, stored_name, orientation))
    }
}

/// Row-major [rows, columns] to row-major [columns, rows].
fn transposed(values: &[f32], rows: usize, columns: usize) -> AlignedBuffer {
    let transposed: Vec<f32> = (0..columns)
        .flat_map(|column| values.iter().skip(column).step_by(columns).take(rows).copied())
        .collect();
    bytes_of(&transposed)
}
