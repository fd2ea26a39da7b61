//! HTTP to AWS: TLS by rustls and ring, connections kept, bodies bounded.

use bytes::{BufMut as _, Bytes};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::AwsError;
use super::config::certificate_bundle;
use crate::aligned_buffer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Less than S3 and Lambda keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

pub(super) type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client; `secure` says whether it will ever be asked for https.
pub(super) fn client(secure: bool) -> Result<Http, AwsError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(secure)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector))
}

/// Trusts `AWS_CA_BUNDLE`, else the machine's certificates, else (an image without any) Mozilla's.
fn tls(secure: bool) -> Result<rustls::ClientConfig, AwsError> {
    let mut roots = rustls::RootCertStore::empty();
    match certificate_bundle() {
        // Reading a machine's certificates takes longer than a request.
        _ if !secure => {}
        Some(path) => read_bundle(&path, &mut roots)?,
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AwsError::Configuration { what: "TLS".to_owned(), reason: error.to_string() })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read_bundle(path: &Path, roots: &mut rustls::RootCertStore) -> Result<(), AwsError> {
    let wrong = |reason: String| AwsError::Configuration {
        what: format!("AWS_CA_BUNDLE {}", path.display()),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(()) }
}

/// Sends, waits for the head of the answer.
pub(super) async fn send(
    http: &Http,
    request: Request<Full<Bytes>>,
    operation: &str,
) -> Result<Response<Incoming>, AwsError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    http.request(request).await.map_err(|error| failure(&error, operation, host))
}

fn failure(error: &ClientError, operation: &str, host: String) -> AwsError {
    let operation = operation.to_owned();
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return AwsError::Certificate { operation, host, reason: error.to_string() };
    }
    let verb = if error.is_connect() { "cannot connect to" } else { "lost the connection to" };
    let reason = format!("{verb} {host}: {}", root_cause(error));
    AwsError::Connection { operation, reason, before_sending: error.is_connect() }
}

/// The whole body, of at most `limit` bytes, aligned as tensors are.
pub(super) async fn read(
    mut response: Response<Incoming>,
    limit: u64,
    operation: &str,
) -> Result<Bytes, AwsError> {
    let announced = response.body().size_hint().exact();
    let check = |length: u64| match length > limit {
        true => Err(AwsError::Answer {
            operation: operation.to_owned(),
            reason: format!("has {length} bytes, at most {limit} were expected"),
        }),
        false => Ok(()),
    };
    check(announced.unwrap_or(0))?;
    let mut body = aligned_buffer(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
    while let Some(chunk) = next_chunk(&mut response, operation).await? {
        check(body.len() as u64 + chunk.len() as u64)?;
        body.put(chunk);
    }
    Ok(body.freeze())
}

/// The next piece of a body.
pub(super) async fn next_chunk(
    response: &mut Response<Incoming>,
    operation: &str,
) -> Result<Option<Bytes>, AwsError> {
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.map_err(|error| AwsError::Connection {
            operation: operation.to_owned(),
            reason: format!("lost the connection: {}", root_cause(&error)),
            before_sending: false,
        })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
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
fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
