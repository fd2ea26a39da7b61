//! Tensors behind the JSON, as Triton's extension "binary tensor data" has them: little-endian,
//! row-major, one after the other in the order of the inputs. Its strings (a little-endian u32
//! length before each) and everything else are [`Tensor`]'s own bytes, so nothing is converted.

use bytes::Bytes;
use tranche_schema::{ElementType, Tensor, TensorError, TensorSpec};

/// The bytes behind the JSON, from the first that no tensor has taken.
pub(super) struct Tail {
    bytes: Bytes,
}

impl Tail {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// The next so many bytes; `None` when there are fewer.
    pub(super) fn take(&mut self, length: u64) -> Option<Bytes> {
        let length = usize::try_from(length).ok().filter(|&length| length <= self.bytes.len())?;
        Some(self.bytes.split_to(length))
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The tensor that these bytes are; they are shared where they are aligned for its elements.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn tensor(spec: &TensorSpec, bytes: Bytes) -> Result<Tensor, String> {
    // Engines take any other byte for neither true nor false.
    if spec.element_type == ElementType::Bool && bytes.iter().any(|byte| *byte > 1) {
        return Err("a byte of it is neither 0 nor 1".to_owned());
    }
    Tensor::new(spec.element_type, spec.shape.clone(), bytes).map_err(|error| match error {
        TensorError::Strings { .. } => {
            "its bytes are not as many strings in UTF-8, each behind its length".to_owned()
        }
        TensorError::Length { expected, found, .. } => format!("it has {found} bytes, {expected} are needed"),
        TensorError::TooLarge { .. } => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tranche_transport::buffer_aligned_at;

    fn spec(element_type: ElementType, extent: u64) -> TensorSpec {
        TensorSpec { name: "x".to_owned(), element_type, shape: vec![extent] }
    }

    #[test]
    fn aligned_tensors_are_views_of_the_body() {
        let mut body = buffer_aligned_at(3, 19);
        body.extend_from_slice(&[7; 19]);
        let mut tail = Tail::new(body.freeze().split_off(3));
        let bytes = tail.take(8).unwrap();
        let tensor = tensor(&spec(ElementType::Float32, 2), bytes.clone()).unwrap();
        assert_eq!((tensor.data().as_ptr(), tail.len()), (bytes.as_ptr(), 8));
        assert!(tail.take(9).is_none() && tail.take(8).is_some());
    }

    #[test]
    fn bytes_that_are_no_such_tensor_are_told() {
        let wrong = |element_type, bytes: &'static [u8]| {
            tensor(&spec(element_type, 2), Bytes::from_static(bytes)).unwrap_err()
        };
        insta::assert_snapshot!(wrong(ElementType::Bool, &[0, 2]), @"a byte of it is neither 0 nor 1");
        insta::assert_snapshot!(wrong(ElementType::Int16, &[0; 3]), @"it has 3 bytes, 4 are needed");
        insta::assert_snapshot!(wrong(ElementType::String, &[1, 0, 0, 0, 255]), @"its bytes are not as many strings in UTF-8, each behind its length");
    }
}
