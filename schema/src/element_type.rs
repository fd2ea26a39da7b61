use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! element_types {
    ($($variant:ident = $code:literal, $name:literal, $bits:expr, $doc:literal;)*) => {
        /// Element types of ONNX tensors (`TensorProto.DataType`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ElementType {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl ElementType {
            /// Every element type.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// From the number that ONNX files carry.
            #[must_use]
            pub const fn from_onnx(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The number that ONNX files carry.
            #[must_use]
            pub const fn to_onnx(self) -> i32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The name as written in files and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Bits of one element; `None` for strings, which have no fixed size.
            #[must_use]
            pub const fn bits(self) -> Option<u32> {
                match self { $(Self::$variant => $bits,)* }
            }
        }
    };
}

element_types! {
    Float32 = 1, "float32", Some(32), "IEEE 754 single precision.";
    UInt8 = 2, "uint8", Some(8), "Unsigned 8-bit integer.";
    Int8 = 3, "int8", Some(8), "Signed 8-bit integer.";
    UInt16 = 4, "uint16", Some(16), "Unsigned 16-bit integer.";
    Int16 = 5, "int16", Some(16), "Signed 16-bit integer.";
    Int32 = 6, "int32", Some(32), "Signed 32-bit integer.";
    Int64 = 7, "int64", Some(64), "Signed 64-bit integer.";
    String = 8, "string", None, "UTF-8 text; in memory each is a little-endian u32 length and its bytes.";
    Bool = 9, "bool", Some(8), "One byte, 0 or 1.";
    Float16 = 10, "float16", Some(16), "IEEE 754 half precision.";
    Float64 = 11, "float64", Some(64), "IEEE 754 double precision.";
    UInt32 = 12, "uint32", Some(32), "Unsigned 32-bit integer.";
    UInt64 = 13, "uint64", Some(64), "Unsigned 64-bit integer.";
    Complex64 = 14, "complex64", Some(64), "Two float32: real, imaginary.";
    Complex128 = 15, "complex128", Some(128), "Two float64: real, imaginary.";
    BFloat16 = 16, "bfloat16", Some(16), "The upper half of a float32.";
    Float8E4M3FN = 17, "float8e4m3fn", Some(8), "8-bit float, 4 exponent bits, no infinities.";
    Float8E4M3FNUZ = 18, "float8e4m3fnuz", Some(8), "8-bit float, 4 exponent bits, no negative zero.";
    Float8E5M2 = 19, "float8e5m2", Some(8), "8-bit float, 5 exponent bits.";
    Float8E5M2FNUZ = 20, "float8e5m2fnuz", Some(8), "8-bit float, 5 exponent bits, no negative zero.";
    UInt4 = 21, "uint4", Some(4), "Unsigned 4-bit integer, two in a byte, first in the low half.";
    Int4 = 22, "int4", Some(4), "Signed 4-bit integer, two in a byte, first in the low half.";
    Float4E2M1 = 23, "float4e2m1", Some(4), "4-bit float, two in a byte.";
    Float8E8M0 = 24, "float8e8m0", Some(8), "8-bit power of two (a scale).";
    UInt2 = 25, "uint2", Some(2), "Unsigned 2-bit integer, four in a byte.";
    Int2 = 26, "int2", Some(2), "Signed 2-bit integer, four in a byte.";
    Float6E2M3 = 27, "float6e2m3", Some(6), "6-bit float, 2 exponent bits, packed.";
    Float6E3M2 = 28, "float6e3m2", Some(6), "6-bit float, 3 exponent bits, packed.";
}

impl ElementType {
    /// Bytes of a packed tensor of this shape; `None` for strings and where the
    /// product overflows.
    #[must_use]
    pub fn byte_size(self, shape: &[u64]) -> Option<u64> {
        let elements = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent))?;
        Some(elements.checked_mul(u64::from(self.bits()?))?.div_ceil(8))
    }

    /// From the name that [`ElementType::name`] gives.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|candidate| candidate.name() == name)
    }

    /// Whether this is a floating-point type.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float32
                | Self::Float64
                | Self::Float16
                | Self::BFloat16
                | Self::Float8E4M3FN
                | Self::Float8E4M3FNUZ
                | Self::Float8E5M2
                | Self::Float8E5M2FNUZ
                | Self::Float4E2M1
                | Self::Float8E8M0
                | Self::Float6E2M3
                | Self::Float6E3M2
        )
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
