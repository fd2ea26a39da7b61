use bytes::Bytes;
use tranche_schema::{Codec, ElementType, Tensor, TensorSpec};
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{self, Layout};
use crate::{FrameError, FrameLimits, LeaseReference, SharedFolder};

/// A tensor on its way: what it is, how it is coded, and where its bytes are.
///
/// Cloning is cheap. Moving it from a received frame into another forwards the tensor
/// without decoding or, for a lease, without even reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedTensor {
    /// Name, element type and shape.
    pub spec: TensorSpec,
    /// How the bytes are coded.
    pub codec: Codec,
    /// XXH3-64 of the coded bytes.
    pub checksum: u64,
    /// Bytes when decoded.
    pub raw_bytes: u64,
    /// Bytes as coded.
    pub coded_bytes: u64,
    /// Where they are.
    pub payload: Payload,
}

/// Where a tensor's coded bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In the frame.
    Inline(Bytes),
    /// In a slot or a file of a folder that sender and receiver share.
    Lease(LeaseReference),
    /// In an object store. Carried and forwarded; [`CodedTensor::decode`] does not fetch it.
    Object(ObjectReference),
}

/// A reference to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReference {
    /// Its URI.
    pub uri: String,
    /// The version meant.
    pub etag: String,
}

/// Where [`CodedTensor::encode`] puts the bytes.
#[derive(Clone, Copy, Debug)]
pub enum Placement<'a> {
    /// Into the frame.
    Inline,
    /// Into a slot of this process's pool in this folder, or a new file. Whoever ends the request
    /// releases it.
    Shared(&'a SharedFolder),
}

impl CodedTensor {
    /// Codes `tensor` and puts its bytes where `placement` says.
    ///
    /// Raw inline bytes are shared with `tensor`, not copied. The codec becomes
    /// [`Codec::Raw`] where coding would not make the bytes smaller, or where `codec` does not
    /// apply to such a tensor: the lossy ones to other types than `float32` or to values that
    /// they cannot hold.
    ///
    /// # Errors
    /// When the codec fails or the shared file cannot be written.
    pub fn encode(
        name: &str,
        tensor: &Tensor,
        codec: Codec,
        placement: Placement<'_>,
    ) -> Result<Self, FrameError> {
        let raw = tensor.data();
        let layout = Layout { element_type: tensor.element_type(), shape: tensor.shape() };
        let (codec, coded) = codec::encode(raw, layout, codec).map_err(|reason| FrameError::Codec {
            tensor: name.to_owned(),
            codec,
            reason,
        })?;
        let checksum = xxh3_64(&coded);
        let coded_bytes = coded.len() as u64;
        let payload = match placement {
            Placement::Inline => Payload::Inline(coded),
            Placement::Shared(folder) => Payload::Lease(
                folder
                    .place(&coded)
                    .map_err(|source| FrameError::Shared { tensor: name.to_owned(), source })?,
            ),
        };
        Ok(Self {
            spec: TensorSpec {
                name: name.to_owned(),
                element_type: tensor.element_type(),
                shape: tensor.shape().to_vec(),
            },
            codec,
            checksum,
            raw_bytes: raw.len() as u64,
            coded_bytes,
            payload,
        })
    }

    /// The same tensor with its inline bytes compressed; `None` where they lie elsewhere, are
    /// compressed already, or would not become fewer.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn compressed(&self) -> Result<Option<Self>, FrameError> {
        let (Payload::Inline(raw), Codec::Raw) = (&self.payload, self.codec) else { return Ok(None) };
        let (codec, coded) = codec::encode(raw, self.layout(), Codec::Zstd).map_err(|reason| {
            FrameError::Codec { tensor: self.spec.name.clone(), codec: Codec::Zstd, reason }
        })?;
        Ok((codec == Codec::Zstd).then(|| Self {
            codec,
            checksum: xxh3_64(&coded),
            coded_bytes: coded.len() as u64,
            payload: Payload::Inline(coded),
            ..self.clone()
        }))
    }

    /// The same tensor with its coded bytes here, as they were read from where they lie.
    #[must_use]
    pub fn with_bytes(&self, coded: Bytes) -> Self {
        Self { payload: Payload::Inline(coded), ..self.clone() }
    }

    /// The tensor: checksum compared, decoded, type and shape checked.
    ///
    /// Raw bytes that are aligned for their elements are read in place: in the frame,
    /// or in the mapped file.
    ///
    /// # Errors
    /// When the tensor is beyond `limits`, its bytes cannot be reached from here
    /// (`shared` missing, an object), are not those that were sent, or do not make the
    /// declared type and shape.
    pub fn decode(&self, limits: &FrameLimits, shared: Option<&SharedFolder>) -> Result<Tensor, FrameError> {
        self.check(limits)?;
        let name = || self.spec.name.clone();
        let coded = match &self.payload {
            Payload::Inline(bytes) => bytes.clone(),
            Payload::Lease(lease) => shared
                .ok_or_else(|| FrameError::NoSharedFolder { tensor: name() })?
                .map(lease)
                .map_err(|source| FrameError::Shared { tensor: name(), source })?,
            Payload::Object(object) => {
                return Err(FrameError::Object { tensor: name(), uri: object.uri.clone() });
            }
        };
        if coded.len() as u64 != self.coded_bytes || xxh3_64(&coded) != self.checksum {
            return Err(FrameError::Checksum { tensor: name() });
        }
        let too_large = |_| FrameError::Limit {
            what: format!("size of tensor `{}`", self.spec.name),
            found: self.raw_bytes,
            limit: usize::MAX as u64,
        };
        let raw_bytes = usize::try_from(self.raw_bytes).map_err(too_large)?;
        let raw = codec::decode(coded, self.layout(), self.codec, raw_bytes)
            .map_err(|reason| FrameError::Codec { tensor: name(), codec: self.codec, reason })?;
        Tensor::new(self.spec.element_type, self.spec.shape.clone(), raw)
            .map_err(|source| FrameError::Tensor { tensor: name(), source })
    }

    fn layout(&self) -> Layout<'_> {
        Layout { element_type: self.spec.element_type, shape: &self.spec.shape }
    }

    /// Whether the declared numbers agree with each other and with the limits.
    pub(crate) fn check(&self, limits: &FrameLimits) -> Result<(), FrameError> {
        let spec = &self.spec;
        let of = |what: &str| format!("{what} of tensor `{}`", spec.name);
        if self.raw_bytes > limits.max_tensor_bytes {
            return Err(FrameError::Limit {
                what: of("size"),
                found: self.raw_bytes,
                limit: limits.max_tensor_bytes,
            });
        }
        if spec.element_type == ElementType::String {
            // Each string has a 4-byte length, so the count is bounded by the bytes.
            let elements = spec.shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
            if elements.and_then(|count| count.checked_mul(4)).is_none_or(|least| least > self.raw_bytes) {
                return Err(FrameError::malformed(
                    of("shape"),
                    format!("{} bytes cannot hold {:?} strings", self.raw_bytes, spec.shape),
                ));
            }
        } else if spec.element_type.byte_size(&spec.shape) != Some(self.raw_bytes) {
            return Err(FrameError::malformed(
                of("length"),
                format!("{} {:?} is not {} bytes", spec.element_type, spec.shape, self.raw_bytes),
            ));
        }
        if !codec::plausible(self.codec, self.layout(), self.raw_bytes, self.coded_bytes) {
            return Err(FrameError::malformed(
                of("coded length"),
                format!("{} {} bytes cannot make {} bytes", self.coded_bytes, self.codec, self.raw_bytes),
            ));
        }
        Ok(())
    }
}
