//! A registry: requests with logins and retries, and the short ones of the API.

use super::auth::{Logins, Scopes, unauthorized};
use super::http::{Answer, Call, Failure, Http, Payload};
use super::layout::{Blob, LayoutImage};
use super::retry::{Operation, Tries, is_passing};
use super::{Credentials, Options, Reference, RegistryError};
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tranche_schema::{ByteCount, Digest};
use url::Url;

/// What registries call the digest of what they answer.
pub(super) const CONTENT_DIGEST: &str = "docker-content-digest";
/// What of a registry's message is repeated.
const MAX_MESSAGE: usize = 300;
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// A registry and who one is to it.
pub struct Registry {
    pub(super) host: String,
    pub(super) options: Options,
    base: Url,
    http: Http,
    credentials: Credentials,
    logins: Logins,
}

/// An image's manifest in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type, where the registry says it.
    pub media_type: Option<String>,
    /// Its size, where the registry says it.
    pub bytes: Option<ByteCount>,
}

impl Registry {
    /// The registry that `reference` is in. Looks up credentials, and connects
    /// to nothing yet.
    ///
    /// # Errors
    /// When it would have to be plain HTTP to another machine, or credentials or
    /// certificates cannot be read.
    pub async fn of(reference: &Reference, options: &Options) -> Result<Self, RegistryError> {
        let host = reference.host().to_owned();
        let scheme = if options.insecure { "http" } else { "https" };
        let api = reference.api_host();
        let base =
            Url::parse(&format!("{scheme}://{api}/v2/")).map_err(|error| RegistryError::Reference {
                text: reference.to_string(),
                reason: format!("`{api}` is no host: {error}"),
            })?;
        let http = Http::new(options, &host)?;
        // Before credentials are even looked for.
        http.check_scheme(&base)?;
        let credentials = options.credentials.find(&host).await?;
        let logins = Logins::default();
        Ok(Self { host, options: options.clone(), base, http, credentials, logins })
    }

    /// What the registry has under a tag or digest; none if it has nothing.
    ///
    /// # Errors
    /// When the registry refuses or does not answer in time.
    pub async fn head_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<RemoteManifest>, RegistryError> {
        let operation = Operation::new(&self.options, None);
        let scopes = Scopes::pull(reference.repository());
        self.manifest(reference, &scopes, &operation).await.map_err(|error| operation.finish(error))
    }

    pub(super) async fn manifest(
        &self,
        reference: &Reference,
        scopes: &Scopes,
        operation: &Operation,
    ) -> Result<Option<RemoteManifest>, RegistryError> {
        let mut call = Call::new(Method::HEAD, self.manifest_url(reference)?);
        call.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
        let mut answer = self.call(&call, scopes, operation).await?;
        // The header is not obligatory; contents tell their digest.
        if answer.status == StatusCode::OK && answer.header(CONTENT_DIGEST).is_none() {
            call.method = Method::GET;
            answer = self.call(&call, scopes, operation).await?;
        }
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(refused(&call, &answer)),
        }
        let told = answer.header(CONTENT_DIGEST).map(|digest| Digest(digest.to_owned()));
        let size = || answer.header("content-length")?.parse().ok().map(ByteCount);
        Ok(Some(RemoteManifest {
            digest: told.unwrap_or_else(|| Digest::of(&answer.body)),
            media_type: answer.header(CONTENT_TYPE.as_str()).map(str::to_owned),
            bytes: size(),
        }))
    }

    /// Puts an image's manifest under a tag and looks whether it is there.
    pub(super) async fn put_manifest(
        &self,
        reference: &Reference,
        image: &LayoutImage,
        operation: &Operation,
    ) -> Result<(), RegistryError> {
        let scopes = Scopes::push(reference.repository());
        let mut call = Call::new(Method::PUT, self.manifest_url(reference)?);
        let kind = HeaderValue::from_str(&image.media_type);
        call.headers.insert(CONTENT_TYPE, kind.map_err(|_| call.answer_error("no media type"))?);
        call.payload = Payload::Bytes(Bytes::from(image.manifest.clone()));
        let answer = self.call(&call, &scopes, operation).await?;
        if !answer.status.is_success() {
            return Err(refused(&call, &answer));
        }
        same_digest(&reference.to_string(), &image.digest, &answer)?;
        let found = self.manifest(reference, &scopes, operation).await?;
        match found {
            Some(found) if found.digest == image.digest => Ok(()),
            Some(found) => Err(wrong_digest(&reference.to_string(), &image.digest, &found.digest.0)),
            None => Err(call.answer_error("it took the manifest and does not have it")),
        }
    }

    pub(super) async fn has_blob(
        &self,
        repository: &str,
        blob: &Blob,
        operation: &Operation,
    ) -> Result<bool, RegistryError> {
        let call = Call::new(Method::HEAD, self.url(repository, &format!("blobs/{}", blob.digest))?);
        let answer = self.call(&call, &Scopes::push(repository), operation).await?;
        match answer.status {
            StatusCode::OK => {
                same_digest(&format!("a blob of {}/{repository}", self.host), &blob.digest, &answer)?;
                Ok(true)
            }
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refused(&call, &answer)),
        }
    }

    /// A request, tried again while that may help.
    pub(super) async fn call(
        &self,
        call: &Call,
        scopes: &Scopes,
        operation: &Operation,
    ) -> Result<Answer, RegistryError> {
        let mut tries = Tries::new(&self.options);
        loop {
            match self.once(call, scopes, operation).await {
                Ok(answer) if is_passing(&answer) => tries.after_answer(call, &answer, operation).await?,
                Ok(answer) => return Ok(answer),
                Err(failure) => tries.after_failure(call, failure, operation).await?,
            }
        }
    }

    /// A request, made again only to log in.
    pub(super) async fn once(
        &self,
        call: &Call,
        scopes: &Scopes,
        operation: &Operation,
    ) -> Result<Answer, Failure> {
        let home = self.base.origin();
        let deadline = operation.deadline;
        let value = self.logins.value(scopes).await;
        let answer = self.http.exchange(call, value.as_ref(), &home, deadline).await?;
        // Another host's refusal is no reason to log in here.
        if answer.status != StatusCode::UNAUTHORIZED || answer.url.origin() != home {
            return Ok(answer);
        }
        let asked = (call, &answer);
        let value =
            self.logins.renew(&self.http, &self.credentials, scopes, value.as_ref(), asked, deadline).await?;
        let answer = self.http.exchange(call, Some(&value), &home, deadline).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(unauthorized(call, &answer, "it does not take the login").into());
        }
        Ok(answer)
    }

    pub(super) fn url(&self, repository: &str, path: &str) -> Result<Url, RegistryError> {
        self.base.join(&format!("{repository}/{path}")).map_err(|error| RegistryError::Reference {
            text: format!("{}/{repository}", self.host),
            reason: error.to_string(),
        })
    }

    fn manifest_url(&self, reference: &Reference) -> Result<Url, RegistryError> {
        self.url(reference.repository(), &format!("manifests/{}", reference.manifest_name()))
    }
}

/// Fails if the registry names another digest. Saying none is allowed.
pub(super) fn same_digest(reference: &str, expected: &Digest, answer: &Answer) -> Result<(), RegistryError> {
    match answer.header(CONTENT_DIGEST) {
        Some(found) if found != expected.0 => Err(wrong_digest(reference, expected, found)),
        _ => Ok(()),
    }
}

fn wrong_digest(reference: &str, expected: &Digest, found: &str) -> RegistryError {
    let found = found.chars().take(MAX_MESSAGE).collect();
    RegistryError::WrongDigest { reference: reference.to_owned(), expected: expected.clone(), found }
}

pub(super) fn refused(call: &Call, answer: &Answer) -> RegistryError {
    let said = message(&answer.body);
    let reason = match (answer.status, said.is_empty()) {
        (StatusCode::FORBIDDEN, true) => "this account may not do that".to_owned(),
        (status, true) => status.canonical_reason().unwrap_or("no reason given").to_ascii_lowercase(),
        (_, false) => said,
    };
    let (method, url) = call.named();
    RegistryError::Refused { method, url, status: answer.status.as_u16(), reason }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
    #[serde(default)]
    message: String,
}

/// What a registry says of an error: its own format (distribution specification,
/// "Error Codes"), else the beginning of any text.
pub(super) fn message(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors }) => {
            let entry = |error: &ErrorEntry| match error.message.is_empty() {
                true => error.code.clone(),
                false => format!("{}: {}", error.code, error.message),
            };
            errors.iter().map(entry).collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(4 * MAX_MESSAGE)]).into_owned(),
    };
    // One line, without what moves a terminal's cursor.
    let printed = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line = printed.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_MESSAGE).collect()
}
