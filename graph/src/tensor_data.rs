//! The elements of a stored tensor, wherever the file keeps them.

use crate::onnx::{TensorProto, tensor_proto::DataLocation};
use crate::{GraphError, Model};
use bytes::Bytes;
use tranche_schema::ElementType;

/// More bytes than any process can address: a shape beyond this is a mistake.
const MAX_BYTES: u64 = 1 << 47;

/// Packed size of a shape; `None` when no machine could hold it. Strings count as
/// one byte each.
pub(crate) fn plausible_bytes(element_type: ElementType, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent))?;
    let bits = u64::from(element_type.bits().unwrap_or(8));
    Some(elements.checked_mul(bits)?.div_ceil(8)).filter(|&bytes| bytes <= MAX_BYTES)
}

/// What a stored tensor says of itself, checked for sense.
pub(crate) struct Declared {
    pub(crate) element_type: ElementType,
    pub(crate) elements: u64,
    /// Packed size; `None` for strings.
    pub(crate) bytes: Option<u64>,
}

impl Declared {
    /// # Errors
    /// When the element type is unknown, an extent is negative, the product
    /// overflows, or the tensor is a segment of another.
    pub(crate) fn of(tensor: &TensorProto) -> Result<Self, GraphError> {
        let invalid = |message: String| GraphError::invalid(message).at_tensor(tensor.name());
        let element_type = ElementType::from_onnx(tensor.data_type())
            .ok_or_else(|| invalid(format!("unknown element type {}", tensor.data_type())))?;
        if tensor.segment.is_some() {
            return Err(GraphError::unsupported("is stored in segments, which nothing reads")
                .at_tensor(tensor.name()));
        }
        let shape = tensor
            .dims
            .iter()
            .map(|&extent| u64::try_from(extent).map_err(|_| invalid(format!("extent {extent} is negative"))))
            .collect::<Result<Vec<u64>, _>>()?;
        let bytes = plausible_bytes(element_type, &shape)
            .ok_or_else(|| invalid(format!("shape {shape:?} is too large to exist")))?;
        let elements = shape.iter().product();
        Ok(Self { element_type, elements, bytes: element_type.bits().map(|_| bytes) })
    }
}

impl Model {
    /// The elements of a stored tensor, packed, little-endian, row-major; strings
    /// each as a little-endian `u32` length and its bytes.
    ///
    /// Raw and external data is shared with the memory map; data in the typed
    /// fields (`float_data` and so on) is converted to bytes of its own.
    ///
    /// # Errors
    /// When type, shape and stored data disagree, or external data is missing,
    /// too short or outside of the model's folder.
    pub fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Bytes, GraphError> {
        let declared = Declared::of(tensor)?;
        let at = |error: GraphError| error.at_tensor(tensor.name());
        if is_external(tensor) {
            return self.external_bytes(tensor, &declared);
        }
        let data = match &tensor.raw_data {
            Some(_) if declared.element_type == ElementType::String => {
                return Err(at(GraphError::invalid("strings are stored as raw data")));
            }
            Some(raw) => raw.clone(),
            None => typed_bytes(tensor, declared.element_type).map_err(at)?,
        };
        check_length(tensor, &declared, data.len() as u64)?;
        Ok(data)
    }

    /// Checks that a stored tensor's type, shape and data agree, reading no element.
    pub(crate) fn check_tensor(&self, tensor: &TensorProto) -> Result<(), GraphError> {
        let declared = Declared::of(tensor)?;
        if is_external(tensor) {
            return self.external_region(tensor, &declared).map(|_| ());
        }
        match &tensor.raw_data {
            Some(raw) if declared.element_type != ElementType::String => {
                check_length(tensor, &declared, raw.len() as u64)
            }
            _ => self.tensor_bytes(tensor).map(|_| ()),
        }
    }
}

pub(crate) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External
}

fn check_length(tensor: &TensorProto, declared: &Declared, found: u64) -> Result<(), GraphError> {
    match declared.bytes {
        Some(expected) if expected != found => Err(GraphError::invalid(format!(
            "{} of shape {:?} needs {expected} bytes, {found} are stored",
            declared.element_type, tensor.dims
        ))
        .at_tensor(tensor.name())),
        None if tensor.string_data.len() as u64 != declared.elements => Err(GraphError::invalid(format!(
            "shape {:?} needs {} strings, {} are stored",
            tensor.dims,
            declared.elements,
            tensor.string_data.len()
        ))
        .at_tensor(tensor.name())),
        _ => Ok(()),
    }
}

fn typed_bytes(tensor: &TensorProto, element_type: ElementType) -> Result<Bytes, GraphError> {
    use ElementType as E;
    let narrow = |width: usize| narrow_integers(&tensor.int32_data, width);
    let bytes: Vec<u8> = match element_type {
        E::Float32 | E::Complex64 => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        E::Float64 | E::Complex128 => {
            tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        E::Int64 => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        E::UInt64 => tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        E::UInt32 => {
            let mut bytes = Vec::with_capacity(tensor.uint64_data.len().saturating_mul(4));
            for &value in &tensor.uint64_data {
                let value = u32::try_from(value).map_err(|_| out_of_range(value))?;
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            bytes
        }
        E::Int32 => tensor.int32_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        E::Int16 | E::UInt16 | E::Float16 | E::BFloat16 => narrow(2)?,
        E::Int8
        | E::UInt8
        | E::Bool
        | E::Float8E4M3FN
        | E::Float8E4M3FNUZ
        | E::Float8E5M2
        | E::Float8E5M2FNUZ
        | E::Float8E8M0
        // Two or four elements lie in each entry, packed as in raw data.
        | E::Int4
        | E::UInt4
        | E::Float4E2M1
        | E::Int2
        | E::UInt2 => narrow(1)?,
        E::Float6E2M3 | E::Float6E3M2 => pack_six_bits(&tensor.int32_data)?,
        E::String => {
            let mut bytes = Vec::new();
            for text in &tensor.string_data {
                let length = u32::try_from(text.len()).map_err(|_| out_of_range(text.len()))?;
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(text);
            }
            bytes
        }
    };
    Ok(bytes.into())
}

fn out_of_range(value: impl std::fmt::Display) -> GraphError {
    GraphError::invalid(format!("stored value {value} is out of range for the element type"))
}

/// The low `width` bytes of each entry; signed and unsigned readings are both taken.
fn narrow_integers(entries: &[i32], width: usize) -> Result<Vec<u8>, GraphError> {
    let bits = 8 * width as u32;
    let range = -(1_i64 << (bits - 1))..(1_i64 << bits);
    let mut bytes = Vec::with_capacity(entries.len().saturating_mul(width));
    for &entry in entries {
        if !range.contains(&i64::from(entry)) {
            return Err(out_of_range(entry));
        }
        bytes.extend(entry.to_le_bytes().iter().take(width));
    }
    Ok(bytes)
}

/// Four 6-bit elements in three bytes, first in the lowest bits.
fn pack_six_bits(entries: &[i32]) -> Result<Vec<u8>, GraphError> {
    let mut bytes = Vec::with_capacity(entries.len());
    for group in entries.chunks(4) {
        let mut word = 0_u32;
        for (place, &entry) in group.iter().enumerate() {
            if !(0..64).contains(&entry) {
                return Err(out_of_range(entry));
            }
            word |= entry.unsigned_abs() << (6 * place);
        }
        bytes.extend(word.to_le_bytes().iter().take((6 * group.len()).div_ceil(8)));
    }
    Ok(bytes)
}
