//! One signed request at a time, repeated where that helps.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

use super::functions::{Streamed, read_streamed};
use super::http::{self, Http};
use super::sign::{Service, Signed, sign};
use super::{AwsConfig, AwsError, Credentials};

/// Most tries of one request.
const MAX_ATTEMPTS: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Longest error document read.
const MAX_REFUSAL_BYTES: u64 = 64 * 1024;

/// Asks Lambda and S3. Cheap to clone; connections are shared.
///
/// Every request is signed (Signature Version 4), ends at its deadline, and is repeated with
/// back-off when AWS throttles it; requests that may arrive twice are also repeated when the
/// connection or the service fails.
#[derive(Clone, Debug)]
pub struct AwsClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: Http,
    config: AwsConfig,
    credentials: RwLock<Credentials>,
}

/// When a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// When it did not arrive, or was throttled.
    NotBegun,
    /// Whenever another try may succeed.
    Transient,
}

/// How an answer is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// As it is, at most this many bytes.
    Whole(u64),
    /// As an event stream whose payloads have at most this many bytes in all.
    Events(u64),
}

/// A request.
pub(super) struct Call {
    /// As AWS calls it, with function or object, for messages.
    pub(super) operation: String,
    pub(super) service: Service,
    pub(super) method: Method,
    /// Encoded as it is to be sent.
    pub(super) uri: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    pub(super) repeat: Repeat,
    pub(super) reading: Reading,
}

/// An answer with a status of success.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) streamed: Option<Streamed>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A failure, and whether the request may have arrived in a try before.
pub(super) struct Failed {
    pub(super) error: AwsError,
    pub(super) repeated: bool,
}

impl AwsClient {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// When certificates named in `AWS_CA_BUNDLE` cannot be read, or the region is none.
    pub fn new(config: AwsConfig) -> Result<Self, AwsError> {
        let secure = [config.lambda()?, config.bucket("any")?].iter().any(|url| url.scheme() == "https");
        let credentials = RwLock::new(config.credentials.clone());
        Ok(Self { inner: Arc::new(Inner { http: http::client(secure)?, config, credentials }) })
    }

    /// Signs with other credentials from now on, in every clone: temporary ones expire.
    pub fn replace_credentials(&self, credentials: Credentials) {
        *self.inner.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// Where it asks.
    #[must_use]
    pub fn config(&self) -> &AwsConfig {
        &self.inner.config
    }

    /// Sends until it is answered, refused for good, tried often enough, or time is over.
    pub(super) async fn call(&self, call: &Call, time: Duration) -> Result<Reply, Failed> {
        let until = Instant::now() + time;
        let mut repeated = false;
        let mut last = None;
        for attempt in 1.. {
            let error = match timeout_at(until, self.attempt(call)).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) => error,
                Err(_) => {
                    let operation = call.operation.clone();
                    return Err(Failed {
                        error: AwsError::Deadline { operation, after: time, last },
                        repeated,
                    });
                }
            };
            let begun = !matches!(error, AwsError::Connection { before_sending: true, .. });
            let again = match call.repeat {
                Repeat::NotBegun => !begun || error.is_throttling(),
                Repeat::Transient => error.is_transient(),
            };
            let wait = back_off(attempt).max(error.retry_after().unwrap_or_default());
            if !again || attempt >= MAX_ATTEMPTS || Instant::now() + wait >= until {
                return Err(Failed { error, repeated });
            }
            tracing::debug!(attempt, %error, "asked again");
            repeated |= begun && !error.is_throttling();
            last = Some(error.to_string());
            tokio::time::sleep(wait).await;
        }
        let operation = call.operation.clone();
        Err(Failed { error: AwsError::Deadline { operation, after: time, last }, repeated })
    }

    async fn attempt(&self, call: &Call) -> Result<Reply, AwsError> {
        let mut response = http::send(&self.inner.http, self.request(call)?, &call.operation).await?;
        let status = response.status().as_u16();
        if !(200..300).contains(&status) {
            return Err(refusal(response, call).await);
        }
        let (body, streamed) = match call.reading {
            Reading::Events(limit) => {
                let (body, streamed) = read_streamed(&mut response, limit, &call.operation).await?;
                (body, Some(streamed))
            }
            Reading::Whole(limit) if call.method != Method::HEAD => {
                let headers = response.headers().clone();
                let body = http::read(response, limit, &call.operation).await?;
                return Ok(Reply { status, headers, body, streamed: None });
            }
            Reading::Whole(_) => (Bytes::new(), None),
        };
        Ok(Reply { status, headers: response.headers().clone(), body, streamed })
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, AwsError> {
        let wrong = |reason: String| AwsError::Configuration { what: call.operation.clone(), reason };
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.uri)
            .body(Full::new(call.body.clone()))
            .map_err(|error| wrong(error.to_string()))?;
        for (name, value) in &call.headers {
            request.headers_mut().insert(name, value.clone());
        }
        // TLS guards a body that is not signed, and tensors have a checksum of their own.
        let secure = request.uri().scheme_str() == Some("https");
        let signed = match (call.service, &call.method) {
            (Service::S3, &Method::PUT) if secure => Signed::Nothing,
            _ => Signed::Body(&call.body),
        };
        let credentials = self.inner.credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        let region = &self.inner.config.region;
        sign(&mut request, signed, call.service, region, &credentials, SystemTime::now()).map_err(wrong)?;
        let product = HeaderValue::from_static(concat!("tranche/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, product);
        request.headers_mut().insert(CONTENT_LENGTH, call.body.len().into());
        Ok(request)
    }
}

/// Between half and all of the exponential wait.
fn back_off(attempt: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_WAIT);
    whole.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// What AWS says when it refuses: Lambda in JSON and a header, S3 in XML, HEAD in nothing.
async fn refusal(response: Response<Incoming>, call: &Call) -> AwsError {
    let status = response.status().as_u16();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let retry_after = header(RETRY_AFTER.as_str())
        .and_then(|text| text.trim().parse::<u32>().ok())
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    let kind = header("x-amzn-errortype").unwrap_or_default();
    let body = http::read(response, MAX_REFUSAL_BYTES, &call.operation).await.unwrap_or_default();
    let (mut code, message) = match call.service {
        Service::Lambda => (short_code(&kind), json_message(&body)),
        Service::S3 => xml_message(&body),
    };
    if code.is_empty() && status == 404 && call.method == Method::HEAD {
        "NotFound".clone_into(&mut code);
    }
    let message = match message {
        Some(message) => message,
        None => String::from_utf8_lossy(body.get(..1024).unwrap_or(&body)).trim().to_owned(),
    };
    AwsError::Refused { operation: call.operation.clone(), status, code, message, retry_after }
}

/// `TooManyRequestsException:http://…` is a code and a namespace.
fn short_code(kind: &str) -> String {
    kind.split(':').next().unwrap_or_default().trim().to_owned()
}

/// Lambda writes `message` or `Message`, and sometimes `Reason`.
fn json_message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |field: &str| value.get(field).and_then(|text| text.as_str());
    let message = text("message").or_else(|| text("Message")).or_else(|| text("errorMessage"))?;
    Some(match text("Reason") {
        Some(reason) => format!("{message} ({reason})"),
        None => message.to_owned(),
    })
}

/// `<Error><Code>…</Code><Message>…</Message>`.
fn xml_message(body: &[u8]) -> (String, Option<String>) {
    let document = std::str::from_utf8(body).ok().and_then(|text| roxmltree::Document::parse(text).ok());
    let text = |name: &str| {
        let document = document.as_ref()?;
        let node = document.root_element().children().find(|node| node.tag_name().name() == name)?;
        Some(node.text().unwrap_or_default().to_owned())
    };
    (text("Code").unwrap_or_default(), text("Message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_each_service_s_way() {
        let xml = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>";
        assert_eq!(xml_message(xml), ("NoSuchKey".to_owned(), Some("gone".to_owned())));
        assert_eq!(xml_message(b"not xml"), (String::new(), None));
        assert_eq!(short_code("TooManyRequestsException:http://internal/"), "TooManyRequestsException");
        let json = br#"{"Reason": "CallerRateLimitExceeded", "message": "Rate exceeded"}"#;
        assert_eq!(json_message(json).as_deref(), Some("Rate exceeded (CallerRateLimitExceeded)"));
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        for attempt in 1..40 {
            let wait = back_off(attempt);
            assert!(wait >= FIRST_WAIT / 2 && wait <= LONGEST_WAIT, "{attempt}: {wait:?}");
        }
    }
}
