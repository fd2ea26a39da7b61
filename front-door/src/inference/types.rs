//! Names of element types.

use hyper::StatusCode;
use tranche_schema::{ElementType, TensorSpec};
use tranche_serving::Refusal;

/// The protocol's name of a type (its section "Tensor Data Types"); `None` for what it lacks.
pub(super) fn datatype(element_type: ElementType) -> Option<&'static str> {
    use ElementType as T;
    Some(match element_type {
        T::Bool => "BOOL",
        T::UInt8 => "UINT8",
        T::UInt16 => "UINT16",
        T::UInt32 => "UINT32",
        T::UInt64 => "UINT64",
        T::Int8 => "INT8",
        T::Int16 => "INT16",
        T::Int32 => "INT32",
        T::Int64 => "INT64",
        T::Float16 => "FP16",
        T::BFloat16 => "BF16",
        T::Float32 => "FP32",
        T::Float64 => "FP64",
        T::String => "BYTES",
        _ => return None,
    })
}

/// [`datatype`] of a tensor of a model.
///
/// # Errors
/// 501 for a type that the protocol lacks.
pub(super) fn datatype_of(spec: &TensorSpec) -> Result<&'static str, Refusal> {
    datatype(spec.element_type).ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "no-datatype",
            format!("`{}` is {}, for which the protocol has no datatype", spec.name, spec.element_type),
            "POST to /NAME instead, or convert the tensor inside the model",
        )
    })
}

/// A tensor as messages name it.
pub(super) fn describe(spec: &TensorSpec) -> String {
    let datatype = datatype(spec.element_type).unwrap_or(spec.element_type.name());
    format!("`{}` {datatype} {:?}", spec.name, spec.shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_has_fourteen_types() {
        let names: Vec<&str> = ElementType::ALL.iter().filter_map(|&of| datatype(of)).collect();
        insta::assert_snapshot!(names.join(" "), @"FP32 UINT8 INT8 UINT16 INT16 INT32 INT64 BYTES BOOL FP16 FP64 UINT32 UINT64 BF16");
    }
}
