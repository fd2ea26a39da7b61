//! Tensors as JSON.
//!
//! A file is an object from names to tensors. A tensor is nested arrays, or
//! `{"shape": […], "data": […]}` with the elements in row-major order, which is
//! how it is written (with its `element_type`). Numbers become what is expected:
//! integers only exactly, decimal fractions the nearest float; `"NaN"`,
//! `"Infinity"` and `"-Infinity"` stand for what JSON lacks.

use super::{TensorFileError, find, in_file, mismatch, single};
use half::{bf16, f16};
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::path::Path;
use tranche_schema::{AlignedBuffer, ElementType, Tensor, TensorSpec};

/// Whether tensors of this type have a JSON form.
pub(super) fn holds(element_type: ElementType) -> bool {
    use ElementType as T;
    integer_range(element_type).is_some()
        || matches!(element_type, T::Bool | T::String | T::Float16 | T::BFloat16 | T::Float32 | T::Float64)
}

/// Reads the tensors of a file; with `name`, the file is that tensor.
pub(super) fn read(
    path: &Path,
    text: &str,
    name: Option<&str>,
    expected: &[TensorSpec],
) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| TensorFileError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    let convert = |value: &Value, spec: &TensorSpec| {
        let tensor = tensor(value, spec).map_err(|reason| in_file(path, spec, reason))?;
        Ok((spec.name.clone(), tensor))
    };
    match (name, &value) {
        (None, Value::Object(tensors)) => {
            tensors.iter().map(|(name, value)| convert(value, find(name, path, expected)?)).collect()
        }
        _ => Ok(vec![convert(&value, single(name, path, expected)?)?]),
    }
}

fn tensor(value: &Value, expected: &TensorSpec) -> Result<Tensor, String> {
    let element_type = expected.element_type;
    if !holds(element_type) {
        return Err(format!("JSON has no {element_type}"));
    }
    let (shape, elements) = match value {
        Value::Object(fields) => from_fields(fields, element_type)?,
        nested => {
            let mut shape = Vec::new();
            let mut elements = Vec::new();
            flatten(nested, 0, &mut shape, &mut elements)?;
            (shape, elements)
        }
    };
    if shape != expected.shape {
        return Err(mismatch(element_type.name(), &shape, expected));
    }
    let count = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
    if count != Some(elements.len() as u64) {
        return Err(format!("shape {shape:?} does not have {} elements", elements.len()));
    }
    let wrong = |at: usize, value: &Value| format!("element {at}, {value}, is no {element_type}");
    if element_type == ElementType::String {
        let texts: Option<Vec<&str>> = elements.iter().map(|value| value.as_str()).collect();
        let texts = texts.ok_or_else(|| "an element is no string".to_owned())?;
        return Tensor::from_strings(shape, &texts).map_err(|error| error.to_string());
    }
    let size = element_type.byte_size(&shape).and_then(|bytes| usize::try_from(bytes).ok());
    let mut buffer = AlignedBuffer::zeroed(size.ok_or("it is too large")?);
    let bits = element_type.bits().unwrap_or(8) as usize;
    for (at, value) in elements.iter().enumerate() {
        let pattern = encode(value, element_type).ok_or_else(|| wrong(at, value))?.to_le_bytes();
        let bytes = buffer.as_mut();
        if let Some(target) = bytes.get_mut(at * bits / 8..(at * bits / 8) + bits.div_ceil(8)) {
            // Elements below a byte are packed, the first in the low bits.
            let shift = (at * bits) % 8;
            let pattern = pattern.iter().map(|byte| byte << shift);
            target.iter_mut().zip(pattern).for_each(|(byte, bits)| *byte |= bits);
        }
    }
    Tensor::new(element_type, shape, buffer.freeze()).map_err(|error| error.to_string())
}

type Elements<'a> = (Vec<u64>, Vec<&'a Value>);

fn from_fields(fields: &Map<String, Value>, element_type: ElementType) -> Result<Elements<'_>, String> {
    if let Some(found) = fields.get("element_type").filter(|found| *found != element_type.name()) {
        return Err(format!("it is {found}, expected {element_type}"));
    }
    let list = |name: &str| {
        let value = fields.get(name).ok_or_else(|| format!("field `{name}` is missing"))?;
        value.as_array().ok_or_else(|| format!("field `{name}` is no list"))
    };
    let shape: Option<Vec<u64>> = list("shape")?.iter().map(Value::as_u64).collect();
    let shape = shape.ok_or("field `shape` is no list of extents")?;
    Ok((shape, list("data")?.iter().collect()))
}

/// Appends the leaves of nested arrays; all arrays of one depth have one length.
fn flatten<'a>(
    value: &'a Value,
    depth: usize,
    shape: &mut Vec<u64>,
    leaves: &mut Vec<&'a Value>,
) -> Result<(), String> {
    let Value::Array(items) = value else {
        if depth != shape.len() {
            return Err(format!("arrays are nested {} deep here and {depth} deep there", shape.len()));
        }
        leaves.push(value);
        return Ok(());
    };
    let length = items.len() as u64;
    match shape.get(depth) {
        None if leaves.is_empty() => shape.push(length),
        Some(&other) if other == length => {}
        Some(other) => return Err(format!("arrays of {other} and of {length} elements lie side by side")),
        None => return Err(format!("arrays are nested {} deep here and deeper there", shape.len())),
    }
    items.iter().try_for_each(|item| flatten(item, depth + 1, shape, leaves))
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
pub(super) fn write(sink: &mut impl Write, tensors: &[(String, Tensor)]) -> io::Result<()> {
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

fn write_elements(sink: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
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
