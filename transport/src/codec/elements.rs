//! Elements as unsigned integers of their width: what the lossless codecs look at.

use bytemuck::Pod;
use std::ops::BitOr;
use tranche_schema::ElementType;

/// An element's bits.
pub(super) trait Element: Pod + PartialEq + BitOr<Output = Self> {
    /// The element whose bits are all zero.
    const ZERO: Self;
    /// Bytes of an element.
    const WIDTH: usize = size_of::<Self>();

    /// The byte of weight 256 to the power of `index`.
    fn byte(self, index: usize) -> u8;

    /// With `byte` set at `index`, where it was zero.
    #[must_use]
    fn with_byte(self, index: usize, byte: u8) -> Self;
}

macro_rules! element {
    ($($type:ty),*) => {$(
        impl Element for $type {
            const ZERO: Self = 0;

            #[inline(always)]
            fn byte(self, index: usize) -> u8 {
                (self >> (8 * index)) as u8
            }

            #[inline(always)]
            fn with_byte(self, index: usize, byte: u8) -> Self {
                self | (<$type>::from(byte) << (8 * index))
            }
        }
    )*};
}
element!(u8, u16, u32, u64);

/// Bytes that are coded as one element: those of the number, half of a complex number, 1 for
/// types of less than a byte and for strings.
pub(super) fn width(element_type: ElementType) -> usize {
    match (element_type, element_type.bits()) {
        (ElementType::Complex64, _) => 4,
        (_, Some(16)) => 2,
        (_, Some(32)) => 4,
        (_, Some(64 | 128)) => 8,
        _ => 1,
    }
}

/// Calls `$function::<T>($arguments)` with the `T` that is as wide as the element type's elements.
macro_rules! by_width {
    ($element_type:expr, $function:ident($($argument:expr),*)) => {
        match $crate::codec::elements::width($element_type) {
            8 => $function::<u64>($($argument),*),
            4 => $function::<u32>($($argument),*),
            2 => $function::<u16>($($argument),*),
            _ => $function::<u8>($($argument),*),
        }
    };
}
pub(super) use by_width;

/// The elements that bytes hold.
pub(super) fn elements<T: Pod>(bytes: &[u8]) -> Result<&[T], String> {
    bytemuck::try_cast_slice(bytes).map_err(|error| format!("its bytes are not whole elements: {error}"))
}

/// The elements that bytes hold, to be written.
pub(super) fn elements_mut<T: Pod>(bytes: &mut [u8]) -> Result<&mut [T], String> {
    bytemuck::try_cast_slice_mut(bytes).map_err(|error| format!("its bytes are not whole elements: {error}"))
}
