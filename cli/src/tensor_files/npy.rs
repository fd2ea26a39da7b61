//! NumPy's array format (NEP 1): a header that is a Python dictionary, then the
//! elements. Written as version 1.0 in C order; read as 1.0, 2.0 and 3.0 in
//! either order.
//!
//! Types that NumPy lacks (bfloat16, the 8-bit floats) are stored as void of
//! their width, as the `ml_dtypes` package stores them; the reader takes them
//! for the type that is expected. Strings are stored as fixed-width UTF-32.

use super::{check_bools, mismatch, no_form};
use std::io::{self, Read, Write};
use tranche_schema::{AlignedBuffer, ElementType, Tensor, TensorSpec};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header read. Version 1.0 cannot be longer; later versions need more
/// only for records, which are no tensors.
const MAX_HEADER_BYTES: usize = 65_535;
/// Most bytes read for an array of strings, whose width the file decides.
const MAX_STRING_BYTES: u64 = 1 << 28;

/// What NumPy calls each type that it has.
const KINDS: [(ElementType, &str); 14] = [
    (ElementType::Bool, "|b1"),
    (ElementType::Int8, "|i1"),
    (ElementType::UInt8, "|u1"),
    (ElementType::Int16, "<i2"),
    (ElementType::UInt16, "<u2"),
    (ElementType::Int32, "<i4"),
    (ElementType::UInt32, "<u4"),
    (ElementType::Int64, "<i8"),
    (ElementType::UInt64, "<u8"),
    (ElementType::Float16, "<f2"),
    (ElementType::Float32, "<f4"),
    (ElementType::Float64, "<f8"),
    (ElementType::Complex64, "<c8"),
    (ElementType::Complex128, "<c16"),
];

/// Reads one array, to the end of `source`.
pub(super) fn read(source: &mut impl Read, expected: &TensorSpec) -> Result<Tensor, String> {
    let header = read_header(source)?;
    let element_type = expected.element_type;
    let found = header.describe(element_type);
    if header.shape != expected.shape || found != element_type.name() {
        return Err(mismatch(&found, &header.shape, expected));
    }
    let elements = header
        .shape
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(extent))
        .ok_or("it is too large")?;
    let width = header.width(element_type).ok_or("its type is too wide")?;
    let bytes = elements.checked_mul(width).ok_or("it is too large")?;
    if element_type == ElementType::String && bytes > MAX_STRING_BYTES {
        return Err(format!("its strings take {bytes} bytes, at most {MAX_STRING_BYTES} are read"));
    }
    let size = usize::try_from(bytes).map_err(|_| "it is too large")?;
    let mut buffer = AlignedBuffer::zeroed(size);
    source.read_exact(buffer.as_mut()).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("the file ends before its {bytes} bytes of elements"),
        _ => error.to_string(),
    })?;
    let mut one = [0_u8];
    if source.read(&mut one).map_err(|error| error.to_string())? != 0 {
        return Err(format!("the file goes on after its {bytes} bytes of elements"));
    }
    if header.fortran_order && header.shape.len() > 1 && width > 0 {
        buffer = to_row_major(buffer.as_ref(), &header.shape, width as usize);
    }
    let tensor = if element_type == ElementType::String {
        let strings = decode_strings(buffer.as_ref(), elements, width)?;
        Tensor::from_strings(header.shape, &strings)
    } else {
        Tensor::new(element_type, header.shape, buffer.freeze())
    };
    check_bools(tensor.map_err(|error| error.to_string())?)
}

/// The bytes before the elements.
pub(super) fn header(tensor: &Tensor) -> Result<Vec<u8>, String> {
    let element_type = tensor.element_type();
    let kind = match (KINDS.iter().find(|(known, _)| *known == element_type), element_type.bits()) {
        (Some((_, kind)), _) => (*kind).to_owned(),
        (None, Some(8)) => "|V1".to_owned(),
        (None, Some(16)) => "<V2".to_owned(),
        (None, None) => format!("<U{}", longest(tensor)),
        (None, Some(_)) => return Err(no_form(element_type)),
    };
    let mut shape: String = tensor.shape().iter().map(|extent| format!("{extent}, ")).collect();
    // A tuple of one element keeps its comma.
    shape.truncate(shape.len().saturating_sub(if tensor.shape().len() == 1 { 1 } else { 2 }));
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Elements begin at a multiple of 64; a newline ends the header.
    let padded = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.extend(std::iter::repeat_n(' ', padded - 1 - text.len()));
    text.push('\n');
    let length = u16::try_from(padded).map_err(|_| format!("rank {} is too high", tensor.shape().len()))?;
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend(length.to_le_bytes());
    header.extend(text.as_bytes());
    Ok(header)
}

/// Bytes of the whole file.
pub(super) fn length(header: &[u8], tensor: &Tensor) -> u64 {
    let strings = || 4 * longest(tensor) as u64 * tensor.strings().map_or(0, |strings| strings.len() as u64);
    let elements =
        if tensor.element_type() == ElementType::String { strings() } else { tensor.data().len() as u64 };
    header.len() as u64 + elements
}

/// Writes header and elements.
pub(super) fn write(sink: &mut impl Write, header: &[u8], tensor: &Tensor) -> io::Result<()> {
    sink.write_all(header)?;
    let Some(strings) = tensor.strings() else { return sink.write_all(tensor.data()) };
    let width = longest(tensor);
    for text in strings {
        let mut points: Vec<u8> = text.chars().flat_map(|point| u32::from(point).to_le_bytes()).collect();
        points.resize(4 * width, 0);
        sink.write_all(&points)?;
    }
    Ok(())
}

/// Code points of the longest string; NumPy has no strings of width 0 in arrays
/// that it writes, so at least 1.
fn longest(tensor: &Tensor) -> usize {
    let strings = tensor.strings().unwrap_or_default();
    strings.iter().map(|text| text.chars().count()).max().unwrap_or(1).max(1)
}

fn decode_strings(bytes: &[u8], elements: u64, width: u64) -> Result<Vec<String>, String> {
    if width == 0 {
        return Ok(vec![String::new(); usize::try_from(elements.min(MAX_STRING_BYTES)).unwrap_or(0)]);
    }
    bytes
        .chunks_exact(width as usize)
        .map(|element| {
            let points = element.as_chunks::<4>().0.iter().map(|point| u32::from_le_bytes(*point));
            let text: Option<String> = points.map(char::from_u32).collect();
            text.map(|text| text.trim_end_matches('\0').to_owned())
                .ok_or_else(|| "it holds a code point that is none".to_owned())
        })
        .collect()
}

/// From first-index-fastest to last-index-fastest.
fn to_row_major(bytes: &[u8], shape: &[u64], width: usize) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(bytes.len());
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = width;
    for &extent in shape {
        strides.push(stride);
        stride = stride.saturating_mul(extent as usize);
    }
    let mut index = vec![0_u64; shape.len()];
    let mut offset = 0;
    for target in buffer.as_mut().chunks_exact_mut(width) {
        if let Some(element) = bytes.get(offset..offset + width) {
            target.copy_from_slice(element);
        }
        for ((position, &extent), &stride) in index.iter_mut().zip(shape).zip(&strides).rev() {
            *position += 1;
            offset += stride;
            if *position < extent {
                break;
            }
            offset -= stride * extent as usize;
            *position = 0;
        }
    }
    buffer
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    kind: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl Header {
    /// The name of the type in the file; the expected one where the file leaves it open.
    fn describe(&self, expected: ElementType) -> String {
        if let Some((known, _)) = KINDS.iter().find(|(_, kind)| *kind == self.kind) {
            return known.name().to_owned();
        }
        let numpy_lacks = KINDS.iter().all(|(known, _)| *known != expected);
        let fits = match (self.kind.as_str(), expected.bits()) {
            ("|V1", bits) => bits == Some(8) && numpy_lacks,
            ("<V2" | "|V2", bits) => bits == Some(16) && numpy_lacks,
            (kind, None) => kind.strip_prefix("<U").is_some_and(|width| width.parse::<u32>().is_ok()),
            _ => false,
        };
        if fits { expected.name().to_owned() } else { format!("NumPy's `{}`", self.kind) }
    }

    /// Bytes of an element.
    fn width(&self, element_type: ElementType) -> Option<u64> {
        match element_type.bits() {
            Some(bits) => Some(u64::from(bits) / 8),
            None => self.kind.strip_prefix("<U")?.parse::<u32>().ok().map(|points| 4 * u64::from(points)),
        }
    }
}

fn read_header(source: &mut impl Read) -> Result<Header, String> {
    let cut = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file ends within its header".to_owned(),
        _ => error.to_string(),
    };
    let mut start = [0_u8; 8];
    source.read_exact(&mut start).map_err(cut)?;
    let length = match start.strip_prefix(MAGIC) {
        Some([1, 0]) => {
            let mut length = [0_u8; 2];
            source.read_exact(&mut length).map_err(cut)?;
            usize::from(u16::from_le_bytes(length))
        }
        Some([2 | 3, 0]) => {
            let mut length = [0_u8; 4];
            source.read_exact(&mut length).map_err(cut)?;
            u32::from_le_bytes(length) as usize
        }
        Some([major, minor]) => return Err(format!("version {major}.{minor} of .npy is unknown")),
        _ => return Err("it is not a .npy array".to_owned()),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("its header has {length} bytes, at most {MAX_HEADER_BYTES} are read"));
    }
    let mut text = vec![0_u8; length];
    source.read_exact(&mut text).map_err(cut)?;
    let text = std::str::from_utf8(&text).map_err(|_| "its header is not text")?;
    Parser(text).header().ok_or_else(|| format!("its header is not one of a tensor: {}", text.trim()))
}

/// The literals that a header of a plain array can hold.
struct Parser<'a>(&'a str);

impl<'a> Parser<'a> {
    fn header(mut self) -> Option<Header> {
        let (mut kind, mut fortran_order, mut shape) = (None, None, None);
        self.token("{")?;
        while self.token("}").is_none() {
            let key = self.string()?;
            self.token(":")?;
            match key {
                "descr" => kind = Some(self.string()?.to_owned()),
                "fortran_order" => {
                    fortran_order = Some(match self.token("True") {
                        Some(()) => true,
                        None => self.token("False").map(|()| false)?,
                    });
                }
                "shape" => shape = Some(self.tuple()?),
                _ => return None,
            }
            if self.token(",").is_none() {
                self.token("}")?;
                break;
            }
        }
        self.0.trim().is_empty().then_some(())?;
        Some(Header { kind: kind?, fortran_order: fortran_order?, shape: shape? })
    }

    fn token(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = if self.token("'").is_some() { '\'' } else { self.token("\"").map(|()| '"')? };
        let (text, rest) = self.0.split_once(quote)?;
        self.0 = rest;
        Some(text)
    }

    fn tuple(&mut self) -> Option<Vec<u64>> {
        let mut extents = Vec::new();
        self.token("(")?;
        while self.token(")").is_none() {
            let text = self.0.trim_start();
            let end = text.find(|digit: char| !digit.is_ascii_digit())?;
            let (digits, rest) = text.split_at_checked(end)?;
            extents.push(digits.parse().ok()?);
            // Python 2 marked long integers.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if self.token(",").is_none() {
                self.token(")")?;
                break;
            }
        }
        Some(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_numpy_writes_are_understood() {
        let parse = |text| Parser(text).header();
        let header = |kind: &str, fortran_order, shape: &[u64]| {
            Some(Header { kind: kind.to_owned(), fortran_order, shape: shape.to_vec() })
        };
        assert_eq!(
            parse("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }   \n"),
            header("<f4", false, &[1, 3])
        );
        assert_eq!(parse("{'descr': '|b1', 'fortran_order': True, 'shape': (), }"), header("|b1", true, &[]));
        assert_eq!(
            parse("{\"shape\": (3L,), \"fortran_order\": False, \"descr\": \"<U5\"}"),
            header("<U5", false, &[3])
        );
    }

    #[test]
    fn other_headers_are_refused() {
        for text in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2), }",
            "{'descr': '<f4",
            "((((((((((((((((((((((((((((((((",
        ] {
            assert_eq!(Parser(text).header(), None, "{text}");
        }
    }
}
