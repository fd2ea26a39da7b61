//! The JSON of a request.

use hyper::StatusCode;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::fmt;
use tranche_schema::{Tensor, TensorSeed, TensorSpec};
use tranche_serving::Refusal;

/// Inputs by name.
pub(crate) type Tensors = Vec<(String, Tensor)>;

/// Reads `{"inputs": {NAME: TENSOR}}`, led by what the model takes, so that no text makes more
/// memory than itself and the inputs.
pub(crate) fn read(body: &[u8], expected: &[TensorSpec]) -> Result<Tensors, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let inputs = Body(expected).deserialize(&mut deserializer).map_err(|error| refuse(&error))?;
    deserializer.end().map_err(|error| refuse(&error))?;
    let given = |spec: &&TensorSpec| !inputs.iter().any(|(name, _)| *name == spec.name);
    match expected.iter().find(given) {
        Some(missing) => Err(bad_input(format!("input {} is missing", describe(missing)))),
        None => Ok(inputs),
    }
}

pub(crate) fn describe(spec: &TensorSpec) -> String {
    format!("`{}` {} {:?}", spec.name, spec.element_type, spec.shape)
}

pub(crate) fn bad_input(message: impl Into<String>) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad-input",
        message,
        "GET this URL for the names, types and shapes of the inputs",
    )
}

fn refuse(error: &serde_json::Error) -> Refusal {
    if error.is_data() {
        return bad_input(error.to_string());
    }
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad-json",
        format!("the body is no JSON: {error}"),
        "send {\"inputs\": {NAME: {\"shape\": [...], \"data\": [...]}}}",
    )
}

struct Body<'a>(&'a [TensorSpec]);

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = Tensors;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tensors, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = Tensors;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with `inputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tensors, A::Error> {
        let mut inputs = None;
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "inputs" if inputs.is_some() => return Err(A::Error::duplicate_field("inputs")),
                "inputs" => inputs = Some(fields.next_value_seed(Inputs(self.0))?),
                other => return Err(A::Error::unknown_field(other, &["inputs"])),
            }
        }
        inputs.ok_or_else(|| A::Error::missing_field("inputs"))
    }
}

struct Inputs<'a>(&'a [TensorSpec]);

impl<'de> DeserializeSeed<'de> for Inputs<'_> {
    type Value = Tensors;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tensors, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = Tensors;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object from names of inputs to tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tensors, A::Error> {
        let mut tensors = Tensors::with_capacity(self.0.len());
        while let Some(name) = fields.next_key::<String>()? {
            let Some(spec) = self.0.iter().find(|spec| spec.name == name) else {
                let valid: Vec<String> = self.0.iter().map(describe).collect();
                let valid = valid.join(", ");
                return Err(A::Error::custom(format!(
                    "the model has no input `{name}`; its inputs are {valid}"
                )));
            };
            if tensors.iter().any(|(given, _)| *given == name) {
                return Err(A::Error::custom(format!("input `{name}` is given twice")));
            }
            let tensor = fields
                .next_value_seed(TensorSeed(spec))
                .map_err(|error| A::Error::custom(format!("input `{name}`: {error}")))?;
            tensors.push((name, tensor));
        }
        Ok(tensors)
    }
}
