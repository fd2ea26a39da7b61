//! One line of JSON for every request that reached a model.

use serde::Serialize;
use std::io::Write as _;
use tranche_driver::Answer;
use tranche_schema::{ByteCount, GibSeconds, Millis};

/// What a request took. One line on stdout; what does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestLine {
    /// The request, as in the functions' metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The caller's name of the call (`X-Call-Id`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The deployment.
    pub deployment: String,
    /// Status of the answer.
    pub status: u16,
    /// Code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// From the request's head to the answer ready to be sent.
    pub elapsed_ms: Millis,
    /// The walk through the functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Millis>,
    /// Sum over the functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_ms: Option<Millis>,
    /// Sum over the functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_time: Option<GibSeconds>,
    /// Tries beyond one for each function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Bytes of the request's body.
    pub body_bytes: ByteCount,
    /// Bytes of the answer's body.
    pub answer_bytes: ByteCount,
}

impl RequestLine {
    pub(crate) fn add(&mut self, answer: &Answer) {
        self.request_id = Some(answer.request_id.clone());
        self.latency_ms = Some(answer.bill.latency_ms);
        self.billed_ms = Some(answer.bill.billed_ms);
        self.memory_time = Some(answer.bill.memory_time);
        self.retries = Some(answer.bill.slices.iter().map(|slice| slice.attempts.saturating_sub(1)).sum());
    }

    /// Prints it. Nobody reading it is no reason to fail a request.
    pub(crate) fn print(&self) {
        if let Ok(mut line) = serde_json::to_string(self) {
            line.push('\n');
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }
}
