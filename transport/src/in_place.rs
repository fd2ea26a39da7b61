//! Tensors written where those who read them will map them.

use tranche_schema::{Codec, ElementType, TensorSpec};
use xxhash_rust::xxh3::xxh3_64;

use crate::{CodedTensor, Payload, SharedFolder, SlotWriter};

/// A slot of shared memory for a tensor that has yet to be made.
#[derive(Debug)]
pub struct TensorWriter {
    spec: TensorSpec,
    slot: SlotWriter,
}

impl TensorWriter {
    /// A slot of `folder`'s pool with exactly the bytes of a tensor of this type and shape. `None` where
    /// those are not known beforehand (strings), there are none, or no slot is left: then
    /// [`CodedTensor::encode`] finds another way.
    #[must_use]
    pub fn reserve(folder: &SharedFolder, spec: &TensorSpec) -> Option<Self> {
        let bytes = usize::try_from(spec.bytes().0).ok().filter(|&bytes| bytes > 0)?;
        let fixed = spec.element_type != ElementType::String;
        let slot = fixed.then(|| folder.reserve(bytes).ok()).flatten()?;
        Some(Self { spec: spec.clone(), slot })
    }

    /// The tensor's bytes, packed and row-major; what they hold before is not said.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.slot
    }

    /// The tensor as written, on its way. Whoever ends the request releases its lease.
    #[must_use]
    pub fn publish(self) -> CodedTensor {
        let (bytes, checksum) = (self.slot.len() as u64, xxh3_64(&self.slot));
        CodedTensor {
            spec: self.spec,
            codec: Codec::Raw,
            checksum,
            raw_bytes: bytes,
            coded_bytes: bytes,
            payload: Payload::Lease(self.slot.publish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrameLimits;

    fn folder() -> (tempfile::TempDir, SharedFolder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = SharedFolder::create(&parent.path().join("shared")).unwrap();
        (parent, folder)
    }

    fn spec(element_type: ElementType, shape: &[u64]) -> TensorSpec {
        TensorSpec { name: "made".to_owned(), element_type, shape: shape.to_vec() }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let (_parent, folder) = folder();
        let mut writer = TensorWriter::reserve(&folder, &spec(ElementType::Float32, &[2, 3])).unwrap();
        let values = [1.0_f32, -2.0, 3.0, f32::NAN, 0.0, 6.0];
        writer.bytes().copy_from_slice(bytemuck::cast_slice(&values));
        let coded = writer.publish();
        let read = coded.decode(&FrameLimits::default(), Some(&folder)).unwrap();
        assert_eq!(read.shape(), [2, 3]);
        assert_eq!(&read.data()[..], bytemuck::cast_slice::<f32, u8>(&values));
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_no_lease() {
        let (_parent, folder) = folder();
        drop(TensorWriter::reserve(&folder, &spec(ElementType::Int8, &[5])).unwrap());
        assert_eq!(folder.leases().unwrap(), 0);
    }

    #[test]
    fn tensors_of_unknown_size_have_no_slot() {
        let (_parent, folder) = folder();
        assert!(TensorWriter::reserve(&folder, &spec(ElementType::String, &[2])).is_none());
        assert!(TensorWriter::reserve(&folder, &spec(ElementType::Float32, &[0, 2])).is_none());
    }
}
