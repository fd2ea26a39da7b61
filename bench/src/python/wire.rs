//! What the Python function reads and writes: a line of JSON, then bytes.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tranche_schema::{ElementType, Tensor};

/// A tensor of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// Its name.
    pub name: String,
    /// Type of each element, in NumPy's spelling.
    pub element_type: String,
    /// Its extents.
    pub shape: Vec<u64>,
    /// Packed little-endian elements, with no alignment.
    pub data: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    #[serde(rename = "type")]
    element_type: String,
    shape: Vec<u64>,
}

/// A request's body.
#[must_use]
pub fn encode(tensors: &[(String, Tensor)]) -> Bytes {
    let table: Vec<Entry> = tensors
        .iter()
        .map(|(name, tensor)| Entry {
            name: name.clone(),
            element_type: tensor.element_type().name().to_owned(),
            shape: tensor.shape().to_vec(),
        })
        .collect();
    let mut body = BytesMut::new();
    // Names and numbers always have a JSON form.
    body.put_slice(&serde_json::to_vec(&table).unwrap_or_default());
    body.put_u8(b'\n');
    for (_, tensor) in tensors {
        body.put_slice(tensor.data());
    }
    body.freeze()
}

/// The tensors of an answer's body.
///
/// # Errors
/// When it is none: why.
pub fn decode(body: &Bytes) -> Result<Vec<RawTensor>, String> {
    let end = body.iter().position(|&byte| byte == b'\n').ok_or("no line of JSON")?;
    let table: Vec<Entry> = serde_json::from_slice(&body[..end]).map_err(|error| error.to_string())?;
    let mut rest = body.slice(end + 1..);
    let mut tensors = Vec::new();
    for Entry { name, element_type, shape } in table {
        let length = ElementType::from_name(&element_type)
            .and_then(|kind| usize::try_from(kind.byte_size(&shape)?).ok())
            .filter(|&length| length <= rest.len())
            .ok_or_else(|| format!("`{name}` of {element_type}{shape:?} is not in {} bytes", rest.len()))?;
        tensors.push(RawTensor { name, element_type, shape, data: rest.split_to(length) });
    }
    if rest.is_empty() { Ok(tensors) } else { Err(format!("{} bytes too many", rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back() {
        let tensors = [
            ("x".to_owned(), Tensor::from_f32(vec![1, 2], &[1.0, -2.5]).unwrap()),
            ("none".to_owned(), Tensor::from_i64(vec![0, 3], &[]).unwrap()),
            ("id".to_owned(), Tensor::from_i64(vec![1], &[7]).unwrap()),
        ];
        let found = decode(&encode(&tensors)).unwrap();
        for ((name, tensor), raw) in tensors.iter().zip(&found) {
            assert_eq!((&raw.name, raw.shape.as_slice(), &raw.data), (name, tensor.shape(), tensor.data()));
        }
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn broken_bodies_are_refused() {
        let whole = encode(&[("x".to_owned(), Tensor::from_f32(vec![2], &[1.0, 2.0]).unwrap())]);
        for broken in [whole.slice(..whole.len() - 1), Bytes::from_static(b"[]\n1"), Bytes::new()] {
            decode(&broken).unwrap_err();
        }
        let huge = br#"[{"name":"x","type":"float32","shape":[4294967296,4294967296,16]}]"#;
        decode(&Bytes::from([huge.as_slice(), b"\n"].concat())).unwrap_err();
    }
}
