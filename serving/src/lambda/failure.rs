use bytes::Bytes;
use hyper::header::HeaderValue;
use serde_json::json;

use crate::Refusal;

/// Longest message sent: Lambda's own services cut longer ones.
const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// A failure as Lambda reports it to the caller: an error document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFailure {
    /// `errorType`, as `tranche.bad-frame`.
    pub error_type: String,
    /// `errorMessage`.
    pub message: String,
}

impl RuntimeFailure {
    /// A failure with `errorType` `tranche.CODE` and `errorMessage` `MESSAGE (HINT)`
    /// (docs/formats/lambda.md).
    #[must_use]
    pub fn new(code: &str, message: &str, hint: &str) -> Self {
        let message = if hint.is_empty() { message.to_owned() } else { format!("{message} ({hint})") };
        Self { error_type: format!("tranche.{code}"), message }
    }

    /// Lambda's document: `errorType`, `errorMessage`, and `stackTrace`, which is empty.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut end = self.message.len().min(MAX_MESSAGE_BYTES);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        let message = self.message.get(..end).unwrap_or_default();
        let document = json!({ "errorType": self.error_type, "errorMessage": message, "stackTrace": [] });
        Bytes::from(document.to_string())
    }

    /// `errorType` as a header.
    pub(super) fn type_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.error_type)
            .unwrap_or_else(|_| HeaderValue::from_static("tranche.unknown"))
    }
}

impl From<&Refusal> for RuntimeFailure {
    fn from(refusal: &Refusal) -> Self {
        Self::new(refusal.code, &refusal.message, &refusal.hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_lambdas_document() {
        let refusal = Refusal::deadline("the deadline passed before the answer was ready");
        let document = RuntimeFailure::from(&refusal).to_json();
        insta::assert_snapshot!(std::str::from_utf8(&document).unwrap(), @r#"{"errorType":"tranche.deadline","errorMessage":"the deadline passed before the answer was ready (give the request more time, or the function more CPU)","stackTrace":[]}"#);
    }

    #[test]
    fn long_messages_are_cut_between_letters() {
        let failure = RuntimeFailure::new("engine-failed", &"ä".repeat(MAX_MESSAGE_BYTES), "");
        let document: serde_json::Value = serde_json::from_slice(&failure.to_json()).unwrap();
        assert_eq!(document["errorMessage"].as_str().unwrap().len(), MAX_MESSAGE_BYTES);
    }
}
