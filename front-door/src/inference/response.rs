//! An answer: JSON, and the outputs that were asked for behind it.

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use std::io::{self, Write as _};
use tranche_driver::Answer;
use tranche_schema::{Tensor, write_elements};

use super::HEADER_LENGTH;
use super::metadata::VERSION;
use super::request::Asked;
use super::types::datatype;
use crate::run::Written;

/// The response object, and the bytes of tensors as they came from the functions.
pub(super) fn write(asked: &Asked, answer: &Answer) -> io::Result<Written> {
    let mut text = Vec::new();
    let name = serde_json::to_string(&answer.bill.deployment)?;
    write!(text, "{{\"model_name\":{name},\"model_version\":\"{VERSION}\"")?;
    if let Some(id) = &asked.id {
        write!(text, ",\"id\":{}", serde_json::to_string(id)?)?;
    }
    write!(text, ",\"parameters\":{{\"request_id\":\"{}\"}},\"outputs\":[", answer.request_id)?;
    let mut tensors = Vec::new();
    for (index, (name, binary)) in asked.outputs.iter().enumerate() {
        let Some((_, tensor)) = answer.outputs.iter().find(|(known, _)| known == name) else {
            return Err(io::Error::other(format!("output `{name}` is not there")));
        };
        if index > 0 {
            text.push(b',');
        }
        write_output(&mut text, name, tensor, *binary)?;
        if *binary {
            tensors.push(tensor.data().clone());
        }
    }
    text.extend_from_slice(b"]}");
    if tensors.is_empty() {
        return Ok(Written::json(text.into()));
    }
    let length = HeaderValue::from(text.len());
    let chunks = std::iter::once(Bytes::from(text)).chain(tensors).collect();
    Ok(Written {
        content_type: "application/octet-stream",
        headers: vec![(HeaderName::from_static(HEADER_LENGTH), length)],
        chunks,
    })
}

fn write_output(text: &mut Vec<u8>, name: &str, tensor: &Tensor, binary: bool) -> io::Result<()> {
    let name = serde_json::to_string(name)?;
    let datatype = datatype(tensor.element_type()).unwrap_or_default();
    let shape = serde_json::to_string(tensor.shape())?;
    write!(text, "{{\"name\":{name},\"datatype\":\"{datatype}\",\"shape\":{shape},")?;
    if binary {
        return write!(text, "\"parameters\":{{\"binary_data_size\":{}}}}}", tensor.data().len());
    }
    text.extend_from_slice(b"\"data\":[");
    write_elements(text, tensor)?;
    text.extend_from_slice(b"]}");
    Ok(())
}
