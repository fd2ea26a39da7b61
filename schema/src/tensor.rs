use crate::ElementType;
use bytes::Bytes;

/// Alignment of every tensor buffer in memory and in frames: one cache line,
/// enough for any vector load.
pub(crate) const ALIGNMENT: usize = 64;

/// A byte buffer whose first byte is aligned to 64.
#[derive(Default)]
pub struct AlignedBuffer {
    /// Room for the bytes wherever the allocator puts it; never grows, so it never moves.
    room: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// A zeroed buffer of `length` bytes. A large one is fresh memory of the operating system,
    /// which is zero already and is not touched here.
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        let room = vec![0_u8; length.saturating_add(ALIGNMENT - 1)];
        // Under an interpreter that gives no alignment the bytes stay where they are: users check.
        let start = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT - 1);
        Self { room, start, length }
    }

    /// A buffer holding a copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.as_mut().copy_from_slice(bytes);
        buffer
    }

    /// As shared bytes, without a copy.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.room[self.start..self.start + self.length]
    }
}

impl AsMut<[u8]> for AlignedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.length]
    }
}

/// A tensor: element type, shape, and packed little-endian row-major bytes.
///
/// The bytes are shared: cloning is cheap. They are aligned at least to the
/// element's own size, so typed views never copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    element_type: ElementType,
    shape: Vec<u64>,
    data: Bytes,
}

/// A tensor that borrows its bytes.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Type of each element.
    pub element_type: ElementType,
    /// Extent of each dimension; empty for a scalar.
    pub shape: &'a [u64],
    /// Packed little-endian row-major elements.
    pub data: &'a [u8],
}

/// Bytes that do not make the tensor they are said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The byte count does not match type and shape.
    #[error("{element_type} tensor of shape {shape:?} needs {expected} bytes, got {found}")]
    Length {
        /// Type of each element.
        element_type: ElementType,
        /// The shape.
        shape: Vec<u64>,
        /// Bytes the shape asks for.
        expected: u64,
        /// Bytes given.
        found: u64,
    },
    /// The extents multiply beyond what a machine can address.
    #[error("{element_type} tensor of shape {shape:?} is too large to exist")]
    TooLarge {
        /// Type of each element.
        element_type: ElementType,
        /// The shape.
        shape: Vec<u64>,
    },
    /// A string tensor's bytes are not length-prefixed UTF-8, one per element.
    #[error("string tensor of shape {shape:?} is not made of as many length-prefixed UTF-8 strings")]
    Strings {
        /// The shape.
        shape: Vec<u64>,
    },
}

impl Tensor {
    /// From shared bytes; copies only when they are not aligned for the element.
    ///
    /// # Errors
    /// When the byte count does not match, or a string tensor is malformed.
    pub fn new(element_type: ElementType, shape: Vec<u64>, data: Bytes) -> Result<Self, TensorError> {
        check(element_type, &shape, &data)?;
        let size = element_type.bits().map_or(1, |bits| (bits as usize / 8).clamp(1, 8));
        let data = if (data.as_ptr() as usize).is_multiple_of(size) {
            data
        } else {
            AlignedBuffer::copy_of(&data).freeze()
        };
        Ok(Self { element_type, shape, data })
    }

    /// A `float32` tensor.
    ///
    /// # Errors
    /// When the element count does not match the shape.
    pub fn from_f32(shape: Vec<u64>, values: &[f32]) -> Result<Self, TensorError> {
        Self::new(ElementType::Float32, shape, AlignedBuffer::copy_of(bytemuck::cast_slice(values)).freeze())
    }

    /// An `int64` tensor.
    ///
    /// # Errors
    /// When the element count does not match the shape.
    pub fn from_i64(shape: Vec<u64>, values: &[i64]) -> Result<Self, TensorError> {
        Self::new(ElementType::Int64, shape, AlignedBuffer::copy_of(bytemuck::cast_slice(values)).freeze())
    }

    /// A string tensor.
    ///
    /// # Errors
    /// When the element count does not match the shape, or a string is longer than `u32::MAX`.
    pub fn from_strings(shape: Vec<u64>, values: &[impl AsRef<str>]) -> Result<Self, TensorError> {
        let mut data = Vec::new();
        for value in values {
            let text = value.as_ref().as_bytes();
            let length =
                u32::try_from(text.len()).map_err(|_| TensorError::Strings { shape: shape.clone() })?;
            data.extend_from_slice(&length.to_le_bytes());
            data.extend_from_slice(text);
        }
        Self::new(ElementType::String, shape, data.into())
    }

    /// Type of each element.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// Extent of each dimension; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The packed bytes.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// A borrowed view.
    #[must_use]
    pub fn view(&self) -> TensorView<'_> {
        TensorView { element_type: self.element_type, shape: &self.shape, data: &self.data }
    }

    /// The elements as `T`, when the type has that width and the bytes its alignment.
    #[must_use]
    pub fn as_slice<T: bytemuck::AnyBitPattern>(&self) -> Option<&[T]> {
        let width = self.element_type.bits()? as usize;
        (width == size_of::<T>() * 8).then(|| bytemuck::try_cast_slice(&self.data).ok()).flatten()
    }

    /// The elements of a string tensor.
    #[must_use]
    pub fn strings(&self) -> Option<Vec<&str>> {
        (self.element_type == ElementType::String).then(|| split_strings(&self.data)).flatten()
    }
}

impl TensorView<'_> {
    /// Checks that bytes, type and shape agree.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self) -> Result<(), TensorError> {
        check(self.element_type, self.shape, self.data)
    }

    /// A tensor of its own, with copied bytes.
    ///
    /// # Errors
    /// As [`TensorView::check`].
    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        Tensor::new(self.element_type, self.shape.to_vec(), AlignedBuffer::copy_of(self.data).freeze())
    }
}

fn check(element_type: ElementType, shape: &[u64], data: &[u8]) -> Result<(), TensorError> {
    let found = data.len() as u64;
    if element_type == ElementType::String {
        let elements = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
        // Counted, not collected: the bytes may be hostile, and a list of short strings is
        // several times as large as they are.
        let mut strings = 0_u64;
        let whole = each_string(data, |_| strings += 1).is_some();
        return if whole && elements == Some(strings) {
            Ok(())
        } else {
            Err(TensorError::Strings { shape: shape.to_vec() })
        };
    }
    match element_type.byte_size(shape) {
        None => Err(TensorError::TooLarge { element_type, shape: shape.to_vec() }),
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(TensorError::Length { element_type, shape: shape.to_vec(), expected, found }),
    }
}

fn split_strings(data: &[u8]) -> Option<Vec<&str>> {
    let mut strings = Vec::new();
    each_string(data, |text| strings.push(text))?;
    Some(strings)
}

fn each_string<'a>(mut data: &'a [u8], mut take: impl FnMut(&'a str)) -> Option<()> {
    while !data.is_empty() {
        let (length, rest) = data.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        take(std::str::from_utf8(text).ok()?);
        data = rest;
    }
    Some(())
}
