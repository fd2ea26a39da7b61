use half::{bf16, f16};
use tranche_schema::{ElementType, Tensor};

/// How far a tensor is from a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// max |other − reference| over the elements, by value. Infinite where one side
    /// is NaN and the other is not, where strings differ, or where elements of a type
    /// without a known value differ.
    pub max_absolute: f64,
    /// max |reference| over its finite elements; 1 where that is 0.
    pub scale: f64,
    /// `max_absolute / scale`.
    pub max_relative: f64,
    /// Whether the bytes are the same.
    pub bit_identical: bool,
}

/// Tensors that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// The element types differ.
    #[error("element types differ: {reference} and {other}")]
    ElementType {
        /// Of the reference.
        reference: ElementType,
        /// Of the other.
        other: ElementType,
    },
    /// The shapes differ.
    #[error("shapes differ: {reference:?} and {other:?}")]
    Shape {
        /// Of the reference.
        reference: Vec<u64>,
        /// Of the other.
        other: Vec<u64>,
    },
}

/// Compares element by element, by value: floats as they are (NaN equals NaN),
/// integers exactly, booleans as 0 and 1.
///
/// # Errors
/// When types or shapes differ.
pub fn compare(reference: &Tensor, other: &Tensor) -> Result<Difference, CompareError> {
    let (left, right) = (reference.element_type(), other.element_type());
    if left != right {
        return Err(CompareError::ElementType { reference: left, other: right });
    }
    if reference.shape() != other.shape() {
        return Err(CompareError::Shape {
            reference: reference.shape().to_vec(),
            other: other.shape().to_vec(),
        });
    }
    let (left, right) = (reference.data(), other.data());
    let bit_identical = left == right;
    let mut extremes = Extremes::default();
    match reference.element_type() {
        ElementType::Float32 | ElementType::Complex64 => {
            extremes.floats(left, right, |bytes| f64::from(f32::from_le_bytes(bytes)));
        }
        ElementType::Float64 | ElementType::Complex128 => extremes.floats(left, right, f64::from_le_bytes),
        ElementType::Float16 => extremes.floats(left, right, |bytes| f16::from_le_bytes(bytes).to_f64()),
        ElementType::BFloat16 => extremes.floats(left, right, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        ElementType::Int8 => extremes.integers(left, right, |bytes| i8::from_le_bytes(bytes).into()),
        ElementType::Int16 => extremes.integers(left, right, |bytes| i16::from_le_bytes(bytes).into()),
        ElementType::Int32 => extremes.integers(left, right, |bytes| i32::from_le_bytes(bytes).into()),
        ElementType::Int64 => extremes.integers(left, right, |bytes| i64::from_le_bytes(bytes).into()),
        ElementType::UInt8 | ElementType::Bool => {
            extremes.integers(left, right, |bytes| u8::from_le_bytes(bytes).into());
        }
        ElementType::UInt16 => extremes.integers(left, right, |bytes| u16::from_le_bytes(bytes).into()),
        ElementType::UInt32 => extremes.integers(left, right, |bytes| u32::from_le_bytes(bytes).into()),
        ElementType::UInt64 => extremes.integers(left, right, |bytes| u64::from_le_bytes(bytes).into()),
        _ if bit_identical => {}
        _ => extremes.absolute = f64::INFINITY,
    }
    let scale = if extremes.scale > 0.0 { extremes.scale } else { 1.0 };
    Ok(Difference {
        max_absolute: extremes.absolute,
        scale,
        max_relative: extremes.absolute / scale,
        bit_identical,
    })
}

#[derive(Default)]
struct Extremes {
    absolute: f64,
    scale: f64,
}

impl Extremes {
    fn floats<const WIDTH: usize>(&mut self, left: &[u8], right: &[u8], value: impl Fn([u8; WIDTH]) -> f64) {
        for (left, right) in left.as_chunks().0.iter().zip(right.as_chunks().0) {
            let (left, right) = (value(*left), value(*right));
            if left.is_finite() {
                self.scale = self.scale.max(left.abs());
            }
            if left == right || (left.is_nan() && right.is_nan()) {
                continue;
            }
            let difference = (right - left).abs();
            self.absolute = self.absolute.max(if difference.is_nan() { f64::INFINITY } else { difference });
        }
    }

    fn integers<const WIDTH: usize>(
        &mut self,
        left: &[u8],
        right: &[u8],
        value: impl Fn([u8; WIDTH]) -> i128,
    ) {
        let (mut absolute, mut scale) = (0, 0);
        for (left, right) in left.as_chunks().0.iter().zip(right.as_chunks().0) {
            let (left, right) = (value(*left), value(*right));
            scale = scale.max(left.unsigned_abs());
            absolute = absolute.max(left.abs_diff(right));
        }
        // Rounded to a float's 53 bits, which keeps 0 and the order.
        (self.absolute, self.scale) = (absolute as f64, scale as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_f32(vec![values.len() as u64], values).unwrap()
    }

    #[test]
    fn the_scale_is_the_largest_reference() {
        let difference = compare(&floats(&[1.0, -4.0]), &floats(&[1.5, -4.0])).unwrap();
        let expected =
            Difference { max_absolute: 0.5, scale: 4.0, max_relative: 0.125, bit_identical: false };
        assert_eq!(difference, expected);
        assert_eq!(compare(&floats(&[0.0]), &floats(&[-0.0])).unwrap().max_relative, 0.0);
        assert_eq!(compare(&floats(&[0.0]), &floats(&[0.5])).unwrap().max_relative, 0.5);
    }

    #[test]
    fn nan_equals_only_nan() {
        let nan = floats(&[f32::NAN, f32::INFINITY]);
        assert_eq!(compare(&nan, &nan).unwrap().max_absolute, 0.0);
        for other in [[0.0, f32::INFINITY], [f32::NAN, f32::NEG_INFINITY], [f32::NAN, 0.0]] {
            assert_eq!(compare(&nan, &floats(&other)).unwrap().max_absolute, f64::INFINITY);
            assert_eq!(compare(&floats(&other), &nan).unwrap().max_absolute, f64::INFINITY);
        }
    }

    #[test]
    fn integers_and_strings_are_exact() {
        let integers = |values: &[i64]| Tensor::from_i64(vec![2], values).unwrap();
        let difference = compare(&integers(&[i64::MIN, 5]), &integers(&[i64::MIN, 3])).unwrap();
        assert_eq!(difference.max_absolute, 2.0);
        let far = compare(&integers(&[i64::MIN, 0]), &integers(&[i64::MAX, 0])).unwrap();
        assert_eq!(far.max_absolute, 2.0_f64.powi(64));
        let strings = |values: &[&str]| Tensor::from_strings(vec![1], values).unwrap();
        assert!(compare(&strings(&["a"]), &strings(&["a"])).unwrap().bit_identical);
        assert_eq!(compare(&strings(&["a"]), &strings(&["b"])).unwrap().max_absolute, f64::INFINITY);
    }

    #[test]
    fn half_floats_are_compared_by_value() {
        let halves = |values: [f32; 2]| {
            let bytes: Vec<u8> =
                values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
            Tensor::new(ElementType::BFloat16, vec![2], bytes.into()).unwrap()
        };
        assert_eq!(compare(&halves([2.0, 1.0]), &halves([2.0, 1.5])).unwrap().max_relative, 0.25);
    }

    #[test]
    fn other_types_and_shapes_are_refused() {
        let error = compare(&floats(&[1.0]), &Tensor::from_i64(vec![1], &[1]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "element types differ: float32 and int64");
        let error = compare(&floats(&[1.0]), &floats(&[1.0, 2.0])).unwrap_err();
        assert_eq!(error.to_string(), "shapes differ: [1] and [2]");
    }
}
