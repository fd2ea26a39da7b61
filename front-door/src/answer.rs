//! The JSON of an answer, and what a failure of the walk means to its caller.

use bytes::Bytes;
use hyper::StatusCode;
use std::io::{self, Write as _};
use tranche_driver::{Answer, DriverError};
use tranche_schema::write_tensors_json;
use tranche_serving::Refusal;

/// `{"request_id": …, "deployment": …, "outputs": {NAME: TENSOR}}`.
pub(crate) fn write(answer: &Answer) -> io::Result<Bytes> {
    let mut text = Vec::new();
    let deployment = serde_json::to_string(&answer.bill.deployment)?;
    write!(text, "{{\"request_id\": \"{}\", \"deployment\": {deployment}, \"outputs\": ", answer.request_id)?;
    write_tensors_json(&mut text, &answer.outputs)?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    text.extend_from_slice(b"}\n");
    Ok(text.into())
}

/// [`write()`], and the bill after the outputs.
pub(crate) fn write_with_bill(answer: &Answer) -> io::Result<Bytes> {
    let written = write(answer)?;
    let mut text = written.strip_suffix(b"}\n").unwrap_or(&written).to_vec();
    text.extend_from_slice(b", \"bill\": ");
    serde_json::to_writer(&mut text, &answer.bill)?;
    text.extend_from_slice(b"}\n");
    Ok(text.into())
}

/// The caller's mistakes are 400, the functions' failures 502, time that is over 504.
pub(crate) fn refusal(failure: &DriverError) -> Refusal {
    let (status, code) = match failure {
        DriverError::UnknownInput { .. }
        | DriverError::MissingInput { .. }
        | DriverError::RepeatedInput { .. }
        | DriverError::WrongInput { .. } => (StatusCode::BAD_REQUEST, "bad-input"),
        DriverError::Deadline { .. } => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
        DriverError::Function { .. }
        | DriverError::NotReady { .. }
        | DriverError::Receive { .. }
        | DriverError::Walker { .. }
        | DriverError::Store { .. } => (StatusCode::BAD_GATEWAY, "function-failed"),
        DriverError::Deployment { .. }
        | DriverError::Client { .. }
        | DriverError::Callback { .. }
        | DriverError::NoUrl { .. }
        | DriverError::NoStore { .. }
        | DriverError::Aws { .. }
        | DriverError::SharedFolder { .. }
        | DriverError::Send { .. }
        | DriverError::Task { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "front-door-failed"),
    };
    Refusal::new(status, code, failure.to_string(), failure.hint())
}
