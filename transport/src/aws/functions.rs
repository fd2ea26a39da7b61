//! Lambda's `Invoke` and `InvokeWithResponseStream`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Response};
use serde::Deserialize;
use std::time::Duration;

use super::client::{Call, Reading, Repeat, Reply};
use super::encoding::strictly;
use super::event_stream::{Decoder, Message};
use super::sign::Service;
use super::{AwsClient, AwsError, http};
use crate::lambda::{EVENT_PAYLOAD_LIMIT, PAYLOAD_LIMIT, STREAM_LIMIT};

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");

/// How a function is invoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvocationKind {
    /// Waits for the answer, and asks for the end of its log.
    RequestResponse,
    /// Hands the event over; Lambda invokes the function later, at least once.
    Event,
}

/// What Lambda answered. A function that failed is no error here: see
/// [`Invoked::function_error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoked {
    /// The HTTP status: 200, or 202 for an event.
    pub status: u16,
    /// `Handled` or `Unhandled` when the function failed; the payload then says how. A stream
    /// that breaks off is given as its error code.
    pub function_error: Option<String>,
    /// The version that ran.
    pub executed_version: Option<String>,
    /// Lambda's id of the invocation.
    pub request_id: String,
    /// What the function answered.
    pub payload: Bytes,
    /// The last 4 KiB of its log.
    pub log_tail: Option<String>,
}

/// What the end of a stream says.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    error: Option<String>,
    log: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InvokeComplete {
    error_code: Option<String>,
    error_details: Option<String>,
    log_result: Option<String>,
}

impl AwsClient {
    /// Invokes a function by name or ARN, at an alias or version.
    ///
    /// Repeated inside only where the function cannot have run: connections that were not made,
    /// throttling. Events are repeated whenever that may help; Lambda delivers them at least once
    /// anyway.
    ///
    /// # Errors
    /// When the payload is larger than the invocation takes, when Lambda refuses, or time is over.
    pub async fn invoke(
        &self,
        function: &str,
        qualifier: Option<&str>,
        payload: Bytes,
        kind: InvocationKind,
        deadline: Duration,
    ) -> Result<Invoked, AwsError> {
        let operation = format!("Invoke `{function}`");
        let (limit, repeat, name) = match kind {
            InvocationKind::RequestResponse => (PAYLOAD_LIMIT, Repeat::NotBegun, "RequestResponse"),
            InvocationKind::Event => (EVENT_PAYLOAD_LIMIT, Repeat::Transient, "Event"),
        };
        let path = format!("2015-03-31/functions/{}/invocations", strictly(function));
        let reading = Reading::Whole(PAYLOAD_LIMIT);
        let mut call = self.invocation(operation, &path, qualifier, (payload, limit), (repeat, reading))?;
        call.headers.push((INVOCATION_TYPE, HeaderValue::from_static(name)));
        if kind == InvocationKind::RequestResponse {
            call.headers.push((LOG_TYPE, HeaderValue::from_static("Tail")));
        }
        let reply = self.call(&call, deadline).await.map_err(|failed| failed.error)?;
        let log = reply.header("x-amz-log-result").and_then(read_log);
        let error = reply.header("x-amz-function-error").map(str::to_owned);
        Ok(invoked(reply, error, log))
    }

    /// Invokes a function whose answer is streamed; gives it whole, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`AwsClient::invoke`], and when the stream is damaged or ends before its end.
    pub async fn invoke_streamed(
        &self,
        function: &str,
        qualifier: Option<&str>,
        payload: Bytes,
        limit: u64,
        deadline: Duration,
    ) -> Result<Invoked, AwsError> {
        let operation = format!("InvokeWithResponseStream `{function}`");
        let path = format!("2021-11-15/functions/{}/response-streaming-invocations", strictly(function));
        let reading = Reading::Events(limit.min(STREAM_LIMIT));
        let how = (Repeat::NotBegun, reading);
        let mut call = self.invocation(operation, &path, qualifier, (payload, PAYLOAD_LIMIT), how)?;
        call.headers.push((INVOCATION_TYPE, HeaderValue::from_static("RequestResponse")));
        call.headers.push((LOG_TYPE, HeaderValue::from_static("Tail")));
        let mut reply = self.call(&call, deadline).await.map_err(|failed| failed.error)?;
        let Streamed { error, log } = reply.streamed.take().unwrap_or_default();
        Ok(invoked(reply, error, log.as_deref().and_then(read_log)))
    }

    fn invocation(
        &self,
        operation: String,
        path: &str,
        qualifier: Option<&str>,
        (body, limit): (Bytes, u64),
        (repeat, reading): (Repeat, Reading),
    ) -> Result<Call, AwsError> {
        if body.len() as u64 > limit {
            let reason = format!("its payload has {} bytes, Lambda takes {limit}", body.len());
            return Err(AwsError::Configuration { what: operation, reason });
        }
        let base = self.config().lambda()?;
        let mut uri = format!("{}/{path}", base.as_str().trim_end_matches('/'));
        if let Some(qualifier) = qualifier {
            uri.push_str("?Qualifier=");
            uri.push_str(&strictly(qualifier));
        }
        let json = HeaderValue::from_static("application/json");
        Ok(Call {
            operation,
            service: Service::Lambda,
            method: Method::POST,
            uri,
            headers: vec![(CONTENT_TYPE, json)],
            body,
            repeat,
            reading,
        })
    }
}

fn invoked(reply: Reply, function_error: Option<String>, log_tail: Option<String>) -> Invoked {
    let header = |name: &str| reply.header(name).map(str::to_owned);
    Invoked {
        status: reply.status,
        function_error,
        executed_version: header("x-amz-executed-version"),
        request_id: header("x-amzn-requestid").unwrap_or_default(),
        log_tail,
        payload: reply.body,
    }
}

fn read_log(base64: &str) -> Option<String> {
    let bytes = STANDARD.decode(base64).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Joins the payloads of an event stream.
pub(super) async fn read_streamed(
    response: &mut Response<Incoming>,
    limit: u64,
    operation: &str,
) -> Result<(Bytes, Streamed), AwsError> {
    let wrong = |reason: String| AwsError::Answer { operation: operation.to_owned(), reason };
    let mut decoder = Decoder::default();
    let mut payload = BytesMut::new();
    let mut end = None;
    while let Some(chunk) = http::next_chunk(response, operation).await? {
        decoder.push(&chunk);
        while let Some(message) = decoder.next().map_err(wrong)? {
            match event(&message) {
                Event::Payload => {
                    let length = payload.len() as u64 + message.payload.len() as u64;
                    if length > limit {
                        return Err(wrong(format!("has {length} bytes, at most {limit} were expected")));
                    }
                    payload.put(message.payload);
                }
                Event::End(streamed) => end = Some(streamed),
                Event::Failure(reason) => return Err(wrong(reason)),
                Event::Unknown => {}
            }
        }
    }
    let unfinished = || AwsError::Connection {
        operation: operation.to_owned(),
        reason: "the stream ended before its end".to_owned(),
        before_sending: false,
    };
    match end {
        Some(streamed) if decoder.is_empty() => Ok((payload.freeze(), streamed)),
        _ => Err(unfinished()),
    }
}

enum Event {
    Payload,
    End(Streamed),
    Failure(String),
    /// Of a later version: passed over.
    Unknown,
}

fn event(message: &Message) -> Event {
    let text = || String::from_utf8_lossy(&message.payload).into_owned();
    match (message.header(":message-type"), message.header(":event-type")) {
        (Some("event") | None, Some("PayloadChunk")) => Event::Payload,
        (Some("event") | None, Some("InvokeComplete")) => {
            let Ok(end) = serde_json::from_slice::<InvokeComplete>(&message.payload) else {
                return Event::Failure(format!("ends with `{}`", text()));
            };
            let code = end.error_code.filter(|code| !code.is_empty());
            let details = end.error_details.filter(|details| !details.is_empty());
            let error = code.map(|code| match details {
                Some(details) => format!("{code}: {details}"),
                None => code,
            });
            Event::End(Streamed { error, log: end.log_result })
        }
        (Some("exception" | "error"), _) => {
            let kind = message.header(":exception-type").or_else(|| message.header(":error-code"));
            let said = message.header(":error-message").map_or_else(text, str::to_owned);
            Event::Failure(format!("breaks off with {}: {said}", kind.unwrap_or("an error")))
        }
        _ => Event::Unknown,
    }
}
