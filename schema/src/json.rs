//! Tensors as JSON.
//!
//! A tensor is nested arrays, or `{"shape": […], "data": […]}` with the elements in row-major
//! order, which is how it is written (with its `element_type`). Numbers become what is expected:
//! integers only exactly, decimal fractions the nearest float; `"NaN"`, `"Infinity"` and
//! `"-Infinity"` stand for what JSON lacks.
//!
//! Reading is led by what is expected and goes element by element into the tensor's own bytes, so
//! no text makes the reader hold more than the text and the tensor.

use crate::{AlignedBuffer, ElementType, Tensor, TensorSpec};
use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::io::{self, Write};

/// Whether tensors of this type have a JSON form.
#[must_use]
pub fn has_json_form(element_type: ElementType) -> bool {
    use ElementType as T;
    integer_range(element_type).is_some()
        || matches!(element_type, T::Bool | T::String | T::Float16 | T::BFloat16 | T::Float32 | T::Float64)
}

/// Reads the tensor that is expected, from any deserialiser that describes itself.
///
/// Errors say what is wrong with the tensor, not which tensor it is.
#[derive(Clone, Copy, Debug)]
pub struct TensorSeed<'a>(pub &'a TensorSpec);

impl<'de> DeserializeSeed<'de> for TensorSeed<'_> {
    type Value = Tensor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tensor, D::Error> {
        let expected = self.0;
        let mut elements = Elements::of(expected).map_err(D::Error::custom)?;
        let told = deserializer.deserialize_any(Whole(&mut elements))?;
        let count = elements.count;
        let shape =
            told.unwrap_or_else(|| elements.lengths.iter().map(|length| length.unwrap_or(0)).collect());
        if shape != expected.shape {
            return Err(D::Error::custom(mismatch(&shape, expected)));
        }
        let product = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
        if product != Some(count) {
            return Err(D::Error::custom(format!("shape {shape:?} does not have {count} elements")));
        }
        elements.finish(shape).map_err(D::Error::custom)
    }
}

/// Reads the elements alone of the tensor that is expected: a list in row-major order, or arrays
/// nested as its shape says. Type and shape are told elsewhere, as in the Open Inference Protocol.
#[derive(Clone, Copy, Debug)]
pub struct ElementsSeed<'a>(pub &'a TensorSpec);

impl<'de> DeserializeSeed<'de> for ElementsSeed<'_> {
    type Value = Tensor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tensor, D::Error> {
        let shape = &self.0.shape;
        let mut elements = Elements::of(self.0).map_err(D::Error::custom)?;
        deserializer.deserialize_any(Nested { elements: &mut elements, depth: 0 })?;
        let lengths: Vec<u64> = elements.lengths.iter().map(|length| length.unwrap_or(0)).collect();
        if lengths.is_empty() {
            return Err(D::Error::custom("it is no list of elements"));
        }
        if lengths.len() > 1 && lengths != *shape {
            return Err(D::Error::custom(mismatch(&lengths, self.0)));
        }
        if elements.count != elements.most {
            return Err(D::Error::custom(format!(
                "shape {shape:?} does not have {} elements",
                elements.count
            )));
        }
        elements.finish(shape.clone()).map_err(D::Error::custom)
    }
}

fn mismatch(found: &[u64], expected: &TensorSpec) -> String {
    let TensorSpec { element_type, shape, .. } = expected;
    format!("it is {element_type} {found:?}, expected {element_type} {shape:?}")
}

/// The elements read so far, and the shape of the arrays they were found in.
struct Elements<'a> {
    expected: &'a TensorSpec,
    most: u64,
    count: u64,
    buffer: AlignedBuffer,
    strings: Vec<String>,
    /// Arrays around the elements, once the first is found.
    depth: Option<usize>,
    /// Length of the arrays of each depth, once the first has ended.
    lengths: Vec<Option<u64>>,
}

impl<'a> Elements<'a> {
    fn of(expected: &'a TensorSpec) -> Result<Self, String> {
        let TensorSpec { element_type, shape, .. } = expected;
        if !has_json_form(*element_type) {
            return Err(format!("JSON has no {element_type}"));
        }
        let most = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
        let bytes = match element_type {
            ElementType::String => Some(0),
            _ => element_type.byte_size(shape).and_then(|bytes| usize::try_from(bytes).ok()),
        };
        let (most, bytes) = most.zip(bytes).ok_or("it is too large")?;
        Ok(Self {
            expected,
            most,
            count: 0,
            buffer: AlignedBuffer::zeroed(bytes),
            strings: Vec::new(),
            depth: None,
            lengths: Vec::new(),
        })
    }

    fn begin_array(&mut self, depth: usize) -> Result<(), String> {
        if self.depth == Some(depth) {
            return Err(format!("arrays are nested {depth} deep here and deeper there"));
        }
        if self.lengths.len() <= depth {
            self.lengths.push(None);
        }
        Ok(())
    }

    fn end_array(&mut self, depth: usize, length: u64) -> Result<(), String> {
        let Some(known) = self.lengths.get_mut(depth) else { return Ok(()) };
        match *known {
            Some(other) if other != length => {
                Err(format!("arrays of {other} and of {length} elements lie side by side"))
            }
            _ => {
                *known = Some(length);
                Ok(())
            }
        }
    }

    fn push(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        let (element_type, at) = (self.expected.element_type, self.count);
        let known = *self.depth.get_or_insert(depth);
        if known != depth {
            return Err(format!("arrays are nested {known} deep here and {depth} deep there"));
        }
        if at == self.most {
            let TensorSpec { shape, .. } = self.expected;
            return Err(format!("it has more elements than {element_type} {shape:?}"));
        }
        if element_type == ElementType::String {
            self.strings.push(value.as_str().ok_or("an element is no string")?.to_owned());
        } else {
            let pattern = encode(value, element_type)
                .ok_or_else(|| format!("element {at}, {value}, is no {element_type}"))?;
            self.store(pattern);
        }
        self.count += 1;
        Ok(())
    }

    fn store(&mut self, pattern: u64) {
        let bits = self.expected.element_type.bits().unwrap_or(8) as usize;
        let first = self.count as usize * bits;
        if let Some(target) = self.buffer.as_mut().get_mut(first / 8..first / 8 + bits.div_ceil(8)) {
            // Elements below a byte are packed, the first in the low bits.
            let pattern = pattern.to_le_bytes();
            let pattern = pattern.iter().map(|byte| byte << (first % 8));
            target.iter_mut().zip(pattern).for_each(|(byte, bits)| *byte |= bits);
        }
    }

    fn finish(self, shape: Vec<u64>) -> Result<Tensor, String> {
        let tensor = match self.expected.element_type {
            ElementType::String => Tensor::from_strings(shape, &self.strings),
            element_type => Tensor::new(element_type, shape, self.buffer.freeze()),
        };
        tensor.map_err(|error| error.to_string())
    }
}

/// A tensor in either form; gives the shape that the object form tells.
struct Whole<'a, 'b>(&'a mut Elements<'b>);

/// An array or an element, so many arrays deep; gives whether it was an element.
struct Nested<'a, 'b> {
    elements: &'a mut Elements<'b>,
    depth: usize,
}

impl Nested<'_, '_> {
    fn leaf<E: Error>(self, value: &Value) -> Result<(), E> {
        self.elements.push(value, self.depth).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What both visitors do with scalars.
macro_rules! scalars {
    ($given:expr, $element:expr) => {
        fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
            $element(self, &value.into()).map(|()| $given)
        }
        fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
            $element(self, &value.into()).map(|()| $given)
        }
        fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
            $element(self, &value.into()).map(|()| $given)
        }
        fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
            $element(self, &value.into()).map(|()| $given)
        }
        fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
            $element(self, &value.into()).map(|()| $given)
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            $element(self, &Value::Null).map(|()| $given)
        }
    };
}

impl<'de> Visitor<'de> for Nested<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an element or an array of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { elements, depth } = self;
        elements.begin_array(depth).map_err(A::Error::custom)?;
        let mut length = 0;
        while items.next_element_seed(Nested { elements: &mut *elements, depth: depth + 1 })?.is_some() {
            length += 1;
        }
        elements.end_array(depth, length).map_err(A::Error::custom)
    }

    scalars!((), Nested::leaf);
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = Option<Vec<u64>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "nested arrays, or an object with `shape` and `data`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Nested { elements: self.0, depth: 0 }.visit_seq(items).map(|()| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut shape, mut data) = (None, false);
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "element_type" => {
                    let (found, expected) = (fields.next_value::<String>()?, self.0.expected.element_type);
                    if found != expected.name() {
                        return Err(A::Error::custom(format!("it is {found:?}, expected {expected}")));
                    }
                }
                "shape" => shape = Some(fields.next_value::<Vec<u64>>()?),
                "data" if data => return Err(A::Error::custom("field `data` is there twice")),
                "data" => {
                    data = true;
                    fields.next_value_seed(Nested { elements: &mut *self.0, depth: 0 })?;
                    if self.0.lengths.len() != 1 {
                        return Err(A::Error::custom("field `data` is no list of elements"));
                    }
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let missing = |field: &str| A::Error::custom(format!("field `{field}` is missing"));
        let shape = shape.ok_or_else(|| missing("shape"))?;
        if data { Ok(Some(shape)) } else { Err(missing("data")) }
    }

    scalars!(None, |whole: Self, value: &Value| Nested { elements: whole.0, depth: 0 }.leaf(value));
}

/// Smallest and largest value of an integer type.
fn integer_range(element_type: ElementType) -> Option<(i128, i128)> {
    use ElementType as T;
    let signed = match element_type {
        T::Int2 | T::Int4 | T::Int8 | T::Int16 | T::Int32 | T::Int64 => true,
        T::UInt2 | T::UInt4 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => false,
        _ => return None,
    };
    let bits = element_type.bits()?;
    Some(if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) })
}

/// The bits of an element, in the low end; `None` when the type cannot hold it.
fn encode(value: &Value, element_type: ElementType) -> Option<u64> {
    if let Some((least, most)) = integer_range(element_type) {
        let integer = match (value.as_i64(), value.as_u64()) {
            (Some(integer), _) => i128::from(integer),
            (None, Some(integer)) => i128::from(integer),
            // 1.0 is an integer too, as long as every integer nearby has its own float.
            (None, None) => value
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() <= (1_u64 << 53) as f64)
                .map(|float| float as i128)?,
        };
        let bits = element_type.bits()?;
        let pattern = (integer as u64) & (u64::MAX >> (64 - bits));
        return (least..=most).contains(&integer).then_some(pattern);
    }
    if element_type == ElementType::Bool {
        return value.as_bool().map(u64::from).or_else(|| value.as_u64().filter(|&bit| bit <= 1));
    }
    let float = match value {
        Value::String(text) => match text.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return None,
        },
        Value::Number(_) => value.as_f64()?,
        _ => return None,
    };
    let (pattern, kept) = match element_type {
        ElementType::Float16 => {
            let short = f16::from_f64(float);
            (u64::from(short.to_bits()), short.to_f64())
        }
        ElementType::BFloat16 => {
            let short = bf16::from_f64(float);
            (u64::from(short.to_bits()), short.to_f64())
        }
        ElementType::Float32 => (u64::from((float as f32).to_bits()), f64::from(float as f32)),
        ElementType::Float64 => (float.to_bits(), float),
        _ => return None,
    };
    // An integer must come through as it is; a fraction may be rounded, not overflow.
    let exact = match (value.as_i64(), value.as_u64()) {
        (Some(integer), _) => kept as i128 == i128::from(integer),
        (None, Some(integer)) => kept as i128 == i128::from(integer),
        (None, None) => kept.is_finite() == float.is_finite(),
    };
    exact.then_some(pattern)
}

/// Writes an object from names to tensors with type, shape and elements.
///
/// # Errors
/// When the sink fails. Tensors that [`has_json_form`] denies are the caller's to refuse.
pub fn write_tensors_json(sink: &mut impl Write, tensors: &[(String, Tensor)]) -> io::Result<()> {
    sink.write_all(b"{")?;
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        let separator = if index == 0 { "\n" } else { ",\n" };
        let name = serde_json::to_string(name)?;
        write!(sink, "{separator}  {name}: {{\n    \"element_type\": \"{}\",\n", tensor.element_type())?;
        write!(sink, "    \"shape\": {:?},\n    \"data\": [", tensor.shape())?;
        write_elements(sink, tensor)?;
        sink.write_all(b"]\n  }")?;
    }
    sink.write_all(b"\n}\n")
}

/// Writes the elements in row-major order, separated by commas, without brackets.
///
/// # Errors
/// When the sink fails. Tensors that [`has_json_form`] denies are the caller's to refuse.
pub fn write_elements(sink: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    if let Some(strings) = tensor.strings() {
        return join(sink, strings.into_iter().map(|text| serde_json::to_string(text).unwrap_or_default()));
    }
    let element_type = tensor.element_type();
    let bits = element_type.bits().unwrap_or(8) as usize;
    let count: u64 = tensor.shape().iter().product();
    let data = tensor.data();
    join(
        sink,
        (0..count as usize).map(|at| {
            let mut pattern = [0_u8; 8];
            let bytes = data.get(at * bits / 8..(at * bits / 8) + bits.div_ceil(8)).unwrap_or_default();
            pattern.iter_mut().zip(bytes).for_each(|(target, byte)| *target = *byte);
            let pattern = (u64::from_le_bytes(pattern) >> ((at * bits) % 8)) & (u64::MAX >> (64 - bits));
            element(pattern, element_type)
        }),
    )
}

fn join(sink: &mut impl Write, elements: impl Iterator<Item = String>) -> io::Result<()> {
    for (at, element) in elements.enumerate() {
        sink.write_all(if at == 0 { b"" } else { b", " })?;
        sink.write_all(element.as_bytes())?;
    }
    Ok(())
}

fn element(pattern: u64, element_type: ElementType) -> String {
    if let Some((least, _)) = integer_range(element_type) {
        let unused = 64 - element_type.bits().unwrap_or(64);
        let signed = ((pattern << unused) as i64) >> unused;
        return if least < 0 { signed.to_string() } else { pattern.to_string() };
    }
    match element_type {
        ElementType::Bool => (pattern != 0).to_string(),
        ElementType::Float16 => float(f16::from_bits(pattern as u16).to_f32()),
        ElementType::BFloat16 => float(bf16::from_bits(pattern as u16).to_f32()),
        ElementType::Float32 => float(f32::from_bits(pattern as u32)),
        _ => float(f64::from_bits(pattern)),
    }
}

/// The shortest digits that read back as the same float.
fn float<F: Into<f64> + std::fmt::Debug + Copy>(value: F) -> String {
    match value.into() {
        wide if wide.is_nan() => "\"NaN\"".to_owned(),
        f64::INFINITY => "\"Infinity\"".to_owned(),
        f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
        _ => format!("{value:?}"),
    }
}
