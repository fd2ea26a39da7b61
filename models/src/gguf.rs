//! Reads the weights of a GGUF file (version 2 or 3, little-endian), dequantised.

use crate::ModelsError;
use crate::weights::{TrainedTensor, TrainedWeights};
use half::f16;

/// Elements in a block of the quantised types.
const BLOCK: usize = 32;
/// Alignment of the tensor data, unless the file says otherwise.
const ALIGNMENT: usize = 32;
/// Strings and arrays nest at most this deep in a well-formed file.
const DEEPEST_ARRAY: usize = 4;

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

struct TensorHeader {
    name: String,
    shape: Vec<usize>,
    kind: u32,
    offset: usize,
}

/// Every tensor of the file, outermost extent first, as single precision.
pub(crate) fn read(bytes: &[u8]) -> Result<TrainedWeights, ModelsError> {
    let mut reader = Reader { bytes, position: 0 };
    if reader.take(4)? != b"GGUF" {
        return Err(damaged("does not begin with GGUF"));
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(damaged(format!("version {version} is neither 2 nor 3")));
    }
    let (tensors, properties) = (reader.length()?, reader.length()?);
    let mut alignment = ALIGNMENT;
    for _ in 0..properties {
        let key = reader.string()?;
        let kind = reader.u32()?;
        if key == "general.alignment" && kind == 4 {
            alignment = (reader.u32()? as usize).max(1);
        } else {
            reader.skip_value(kind, 0)?;
        }
    }
    let mut headers = Vec::new();
    for _ in 0..tensors {
        headers.push(reader.tensor_header()?);
    }
    let start = reader.position.next_multiple_of(alignment);
    let mut weights = TrainedWeights::default();
    for header in headers {
        let data = start.checked_add(header.offset).and_then(|at| bytes.get(at..));
        let data = data.ok_or_else(|| damaged(format!("`{}` lies beyond its end", header.name)))?;
        let values = dequantize(&header, data)?;
        weights.tensors.insert(header.name, TrainedTensor { shape: header.shape, values });
    }
    Ok(weights)
}

fn damaged(message: impl Into<String>) -> ModelsError {
    ModelsError::Weights(format!("GGUF file: {}", message.into()))
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ModelsError> {
        let end = self.position.checked_add(count);
        let end = end.filter(|&end| end <= self.bytes.len()).ok_or_else(|| damaged("is truncated"))?;
        let taken = self.bytes.get(self.position..end).unwrap_or_default();
        self.position = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelsError> {
        self.take(N)?.try_into().map_err(|_| damaged("is truncated"))
    }

    fn u32(&mut self) -> Result<u32, ModelsError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, ModelsError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| damaged("holds an absurd length"))
    }

    fn string(&mut self) -> Result<String, ModelsError> {
        let length = self.length()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// Skips a property's value of this type.
    fn skip_value(&mut self, kind: u32, depth: usize) -> Result<(), ModelsError> {
        match kind {
            0 | 1 | 7 => self.take(1).map(drop),
            2 | 3 => self.take(2).map(drop),
            4..=6 => self.take(4).map(drop),
            10..=12 => self.take(8).map(drop),
            8 => self.string().map(drop),
            9 if depth < DEEPEST_ARRAY => {
                let element = self.u32()?;
                for _ in 0..self.length()? {
                    self.skip_value(element, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(damaged(format!("property of unknown type {kind}"))),
        }
    }

    fn tensor_header(&mut self) -> Result<TensorHeader, ModelsError> {
        let name = self.string()?;
        let mut shape = Vec::new();
        for _ in 0..self.u32()? {
            shape.push(self.length()?);
        }
        // The file lists the innermost extent first.
        shape.reverse();
        Ok(TensorHeader { name, shape, kind: self.u32()?, offset: self.length()? })
    }
}

/// The elements of a tensor whose data begins at the beginning of `data`.
fn dequantize(header: &TensorHeader, data: &[u8]) -> Result<Vec<f32>, ModelsError> {
    let elements = header.shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    let elements = elements.ok_or_else(|| damaged(format!("`{}` is too large", header.name)))?;
    let (block, size) = match header.kind {
        0 => (1, 4),
        3 => (BLOCK, 20),
        8 => (BLOCK, 34),
        kind => return Err(damaged(format!("`{}` is of unsupported type {kind}", header.name))),
    };
    let length = (elements / block).checked_mul(size).filter(|_| elements % block == 0);
    let data = length.and_then(|length| data.get(..length));
    let data = data.ok_or_else(|| damaged(format!("`{}` lies beyond its end", header.name)))?;
    let mut values = Vec::with_capacity(elements);
    for block in data.chunks_exact(size) {
        match (header.kind, block) {
            (3, [scale_low, scale_high, minimum_low, minimum_high, codes @ ..]) => {
                let scale = f16::from_le_bytes([*scale_low, *scale_high]).to_f32();
                let minimum = f16::from_le_bytes([*minimum_low, *minimum_high]).to_f32();
                let low = codes.iter().map(|code| code & 15);
                let high = codes.iter().map(|code| code >> 4);
                values.extend(low.chain(high).map(|code| scale * f32::from(code) + minimum));
            }
            (8, [scale_low, scale_high, codes @ ..]) => {
                let scale = f16::from_le_bytes([*scale_low, *scale_high]).to_f32();
                values.extend(codes.iter().map(|code| f32::from(code.cast_signed()) * scale));
            }
            (_, block) => {
                let (reals, _) = block.as_chunks();
                values.extend(reals.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    fn header(name: &str, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let extents: Vec<u8> = shape.iter().flat_map(|extent| extent.to_le_bytes()).collect();
        let rank = (shape.len() as u32).to_le_bytes();
        [&text(name), &rank[..], &extents, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
    }

    /// Three tensors: plain [2, 3], and one block each of `Q4_1` and `Q8_0`.
    fn file() -> Vec<u8> {
        let counts = [3_u64, 2].map(u64::to_le_bytes).concat();
        let names =
            [&text("names")[..], &[9, 0, 0, 0, 8, 0, 0, 0], &2_u64.to_le_bytes(), &text("a"), &text("b")];
        let count = [&text("count")[..], &[4, 0, 0, 0, 7, 0, 0, 0]];
        let head = [&b"GGUF\x03\0\0\0"[..], &counts, &names.concat(), &count.concat()].concat();
        let headers =
            [header("plain", &[3, 2], 0, 0), header("four", &[32], 3, 32), header("eight", &[32], 8, 64)];
        let mut file = [head, headers.concat()].concat();
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat());
        file.resize(file.len() + 8, 0);
        let half = |value: f32| f16::from_f32(value).to_le_bytes();
        file.extend([&half(0.5)[..], &half(-1.0), &[0x21; 16], &[0; 12]].concat());
        file.extend([&half(0.25)[..], &[0xfe; 32]].concat());
        file
    }

    #[test]
    fn dequantizes_every_type() {
        let weights = read(&file()).unwrap();
        let plain = TrainedTensor { shape: vec![2, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(*weights.get("plain").unwrap(), plain);
        let four = [[-0.5; 16], [0.0; 16]].concat();
        assert_eq!(weights.get("four").unwrap().values, four);
        assert_eq!(weights.get("eight").unwrap().values, [-0.5; 32]);
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let file = file();
        for length in 0..file.len() {
            assert!(read(&file[..length]).is_err(), "{length} bytes");
        }
    }
}
