//! What an entry function is invoked with: a request's body as it is, an event of a function URL
//! (payload format 2.0), or a ping.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use std::collections::HashMap;
use tranche_schema::LambdaAsk;
use tranche_transport::TIMEOUT_HEADER;
use tranche_transport::lambda::decode_event;

/// Longer events are no pings.
const MAX_PING_BYTES: usize = 256;

/// An event, by its kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Ping,
    /// The payload is the body of a request.
    Direct,
    Url(UrlRequest),
}

/// A request as it came to a function URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UrlRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) timeout: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UrlEvent {
    #[serde(default)]
    raw_path: String,
    #[serde(default)]
    headers: HashMap<String, String>,
    request_context: Context,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
struct Context {
    http: Http,
}

#[derive(Deserialize)]
struct Http {
    method: String,
    #[serde(default)]
    path: String,
}

impl Event {
    /// Whatever is neither a ping nor of a URL is a body, whose reader says what is wrong with it.
    pub(super) fn read(payload: &[u8]) -> Self {
        let ping = payload.len() <= MAX_PING_BYTES
            && decode_event(payload).is_ok_and(|event| matches!(event.ask, LambdaAsk::Ping {}));
        if ping {
            return Self::Ping;
        }
        let Ok(event) = serde_json::from_slice::<UrlEvent>(payload) else { return Self::Direct };
        let text = event.body.unwrap_or_default();
        // What is no base64 is no JSON either, and refused as such.
        let body = match event.is_base64_encoded {
            true => STANDARD.decode(&text).unwrap_or_else(|_| text.into_bytes()),
            false => text.into_bytes(),
        };
        let header = |name: &str| {
            let found = event.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        let Http { method, path } = event.request_context.http;
        Self::Url(UrlRequest {
            method,
            path: [event.raw_path, path, "/".to_owned()]
                .into_iter()
                .find(|path| !path.is_empty())
                .unwrap_or_default(),
            timeout: header(TIMEOUT_HEADER),
            traceparent: header("traceparent"),
            body: body.into(),
        })
    }
}

/// An answer to a request that came to a function URL.
pub(super) fn url_answer(status: StatusCode, body: &[u8]) -> Bytes {
    let answer = serde_json::json!({
        "statusCode": status.as_u16(),
        "headers": { "content-type": "application/json" },
        "body": String::from_utf8_lossy(body),
        "isBase64Encoded": false,
    });
    answer.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(Event::read(b"{\"tranche\": 1, \"ask\": {\"ping\": {}}}"), Event::Ping);
        assert_eq!(Event::read(b"{\"inputs\": {}}"), Event::Direct);
        assert_eq!(Event::read(b"nonsense"), Event::Direct);
        let url = br#"{"version": "2.0", "rawPath": "/toy", "headers": {"x-timeout": "5s"},
            "requestContext": {"http": {"method": "POST", "path": "/toy"}},
            "body": "eyJpbnB1dHMiOiB7fX0=", "isBase64Encoded": true}"#;
        let Event::Url(request) = Event::read(url) else { panic!("of a URL") };
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/toy"));
        assert_eq!(
            (request.body.as_ref(), request.timeout.as_deref()),
            (b"{\"inputs\": {}}".as_slice(), Some("5s"))
        );
    }
}
