//! One HTTP exchange at a time: TLS, plain HTTP only on this machine, redirects,
//! and limits on time and size.

use super::body::{FileBody, Sent};
use super::reference::{host_name, is_loopback};
use super::{Options, RegistryError};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use url::{Origin, Url};

const MAX_REDIRECTS: usize = 5;
/// More than any manifest: what registries need not take.
const MAX_ANSWER: usize = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What is sent, made anew for every try.
#[derive(Clone)]
pub(super) enum Payload {
    Bytes(Bytes),
    File { path: PathBuf, offset: u64, length: u64, sent: Sent },
}

impl Payload {
    pub(super) fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    fn sent_bytes(&self) -> u64 {
        match self {
            Self::Bytes(_) => 0,
            Self::File { sent, .. } => sent.bytes(),
        }
    }

    async fn body(&self) -> Result<UnsyncBoxBody<Bytes, io::Error>, RegistryError> {
        match self {
            Self::Bytes(bytes) => Ok(Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync()),
            Self::File { path, offset, length, sent } => {
                let body = FileBody::open(path, *offset, *length, sent.clone()).await;
                Ok(body.map_err(RegistryError::file("read", path))?.boxed_unsync())
            }
        }
    }
}

/// A request.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
}

impl Call {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::empty() }
    }

    /// For messages: method and URL without its query.
    pub(super) fn named(&self) -> (String, String) {
        (self.method.to_string(), printable(&self.url))
    }

    pub(super) fn answer_error(&self, reason: impl Into<String>) -> RegistryError {
        let (method, url) = self.named();
        RegistryError::Answer { method, url, reason: reason.into() }
    }
}

/// Without the query and user information, which may be secret.
pub(super) fn printable(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Where it came from, after redirects.
    pub(super) url: Url,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why an exchange failed.
pub(super) enum Failure {
    /// Another try may go well.
    Passing { reason: String },
    /// It may not.
    Final(RegistryError),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Final(error)
    }
}

#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, UnsyncBoxBody<Bytes, io::Error>>,
    insecure: bool,
    answer_timeout: Duration,
}

impl Http {
    pub(super) fn new(options: &Options, host: &str) -> Result<Self, RegistryError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT.min(options.answer_timeout)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(options, host)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            insecure: options.insecure,
            answer_timeout: options.answer_timeout,
        })
    }

    /// Sends a request and follows redirects. `authorization` goes to the origin
    /// of the request's URL alone, and `home` must be that origin.
    pub(super) async fn exchange(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
        home: &Origin,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let mut call = call.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.check_scheme(&call.url)?;
            let authorization = authorization.filter(|_| call.url.origin() == *home);
            let answer = self.send(&call, authorization, deadline).await?;
            let kept = matches!(answer.status.as_u16(), 307 | 308);
            let harmless = matches!(call.method, Method::GET | Method::HEAD);
            let followed = kept || (harmless && matches!(answer.status.as_u16(), 301..=303));
            if !followed {
                return Ok(answer);
            }
            let location = answer.header(LOCATION.as_str());
            let target = location.and_then(|location| call.url.join(location).ok());
            let target = target.ok_or_else(|| call.answer_error("it redirects to no address"))?;
            if call.url.scheme() == "https" && target.scheme() != "https" {
                return Err(call
                    .answer_error(format!("it redirects to {}, unencrypted", printable(&target)))
                    .into());
            }
            call.url = target;
        }
        Err(call.answer_error(format!("more than {MAX_REDIRECTS} redirects")).into())
    }

    /// Plain HTTP goes to this machine alone, and only if that was asked for.
    pub(super) fn check_scheme(&self, url: &Url) -> Result<(), RegistryError> {
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.insecure && is_loopback(host_name(host)) => Ok(()),
            _ => Err(RegistryError::PlainHttp { host: host.to_owned() }),
        }
    }

    async fn send(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let mut request = Request::new(call.payload.body().await?);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.url.as_str().parse().map_err(|_| call.answer_error("this is no URL"))?;
        *request.headers_mut() = call.headers.clone();
        let product = HeaderValue::from_static(concat!("tranche/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, product);
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let response = self.wait(call, self.client.request(request), deadline).await?;
        let (parts, body) = response.into_parts();
        let limit = self.patience(call, deadline)?;
        let body = match timeout(limit, Limited::new(body, MAX_ANSWER).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(Failure::Passing { reason: reason_of(&*error) }),
            Err(_) => return Err(self.timed_out(call, limit, deadline)),
        };
        let status = parts.status.as_u16();
        tracing::debug!(method = %call.method, url = printable(&call.url), status, "registry answered");
        Ok(Answer { status: parts.status, headers: parts.headers, body, url: call.url.clone() })
    }

    /// Waits for an answer as long as it takes to send the body, if that goes on.
    async fn wait<T>(
        &self,
        call: &Call,
        response: impl Future<Output = Result<T, hyper_util::client::legacy::Error>>,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let mut response = std::pin::pin!(response);
        let mut seen = call.payload.sent_bytes();
        loop {
            let limit = self.patience(call, deadline)?;
            match timeout(limit, &mut response).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(failure(call, &error)),
                Err(_) if call.payload.sent_bytes() == seen => {
                    return Err(self.timed_out(call, limit, deadline));
                }
                Err(_) => seen = call.payload.sent_bytes(),
            }
        }
    }

    fn patience(&self, call: &Call, deadline: Instant) -> Result<Duration, RegistryError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(out_of_time(call));
        }
        Ok(left.min(self.answer_timeout))
    }

    fn timed_out(&self, call: &Call, limit: Duration, deadline: Instant) -> Failure {
        if Instant::now() >= deadline {
            return Failure::Final(out_of_time(call));
        }
        Failure::Passing { reason: format!("no answer within {limit:?}") }
    }
}

/// The caller knows how long it gave, and puts that in.
pub(super) fn out_of_time(call: &Call) -> RegistryError {
    let (method, url) = call.named();
    RegistryError::Deadline { what: format!("{method} {url}"), limit: Duration::ZERO }
}

fn failure(call: &Call, error: &hyper_util::client::legacy::Error) -> Failure {
    if let Payload::File { path, sent, .. } = &call.payload
        && let Some(kind) = sent.failure()
    {
        return RegistryError::file("read", path)(kind.into()).into();
    }
    match causes(error).find_map(|error| error.downcast_ref::<rustls::Error>()).map(ToString::to_string) {
        Some(reason) => {
            let host = call.url.host_str().unwrap_or_default().to_owned();
            RegistryError::Tls { host, reason }.into()
        }
        None => Failure::Passing { reason: reason_of(error) },
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        // What an I/O error wraps is not among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
        Some(error)
    })
}

/// The innermost cause says most.
fn reason_of(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn tls(options: &Options, host: &str) -> Result<rustls::ClientConfig, RegistryError> {
    let wrong = |reason: String| RegistryError::Tls { host: host.to_owned(), reason };
    let mut roots = rustls::RootCertStore::empty();
    // What of the machine's certificates cannot be read is missed when it is needed.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &options.certificate_authority {
        let unreadable = |error: rustls::pki_types::pem::Error| wrong(format!("{}: {error}", path.display()));
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            let added = roots.add(certificate.map_err(unreadable)?);
            added.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
