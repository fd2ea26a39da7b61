//! Where a request goes on by itself, from slice to slice (docs/decisions/0005).

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// One stop of a request: a function and what it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The slice.
    pub slice: String,
    /// Base URL of its function, without a final slash.
    pub url: String,
    /// Names of the tensors that it or a later stop reads.
    pub send: Vec<String>,
}

/// Who waits for the outputs of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// URL that the outputs, or the reason why there are none, are posted to.
    pub url: String,
    /// Names of the outputs.
    pub send: Vec<String>,
}

/// What is left of a request's way when a slice receives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Itinerary {
    /// The stops after this one, in order.
    pub stops: Vec<Stop>,
    /// Where the answer goes.
    pub answer: Destination,
}

impl Itinerary {
    /// What this slice is to send on, whether to the next stop or as the answer.
    #[must_use]
    pub fn send(&self) -> &[String] {
        self.stops.first().map_or(&self.answer.send, |stop| &stop.send)
    }
}

/// A value as JSON in ASCII, as a header needs it.
///
/// # Errors
/// When the value has no JSON form.
pub fn to_ascii_json(value: &(impl Serialize + ?Sized)) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    if json.is_ascii() {
        return Ok(json);
    }
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_fits_a_header() {
        let stop = Stop { slice: "tranché \u{1F52A}\n".into(), url: "http://f".into(), send: vec![] };
        let text = to_ascii_json(&stop).unwrap();
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<Stop>(&text).unwrap(), stop);
    }
}
