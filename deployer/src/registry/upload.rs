//! Getting a blob into a repository (distribution specification, "Pushing Blobs").

use super::auth::Scopes;
use super::body::Sent;
use super::client::{Registry, refused, same_digest};
use super::http::{Answer, Call, Failure, Payload};
use super::layout::Blob;
use super::retry::{Operation, Tries, is_passing};
use super::{PushEvent, RegistryError};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use hyper::{Method, StatusCode};
use std::path::Path;
use tranche_schema::ByteCount;
use url::Url;

/// Blobs up to this size go with one request and begin anew when it fails.
const SMALL: u64 = 1 << 20;
const MIN_PART: &str = "oci-chunk-min-length";

/// How a mount went.
pub(super) enum Mount {
    Mounted,
    /// It has to be uploaded; the registry may have begun that already.
    Upload(Option<Start>),
}

/// An upload that the registry has begun.
pub(super) struct Start {
    location: Url,
    /// Smallest part that it takes, but for the last.
    min_part: u64,
}

/// A blob on its way.
pub(super) struct Upload<'a> {
    pub(super) registry: &'a Registry,
    pub(super) repository: &'a str,
    pub(super) blob: &'a Blob,
    pub(super) path: &'a Path,
    pub(super) operation: &'a Operation,
}

/// What comes after a step of an upload.
enum Step {
    Done,
    /// The registry has so many bytes and wants the rest there.
    Continue {
        offset: u64,
        location: Url,
    },
    /// The upload is lost.
    Anew,
}

impl Registry {
    /// Asks for a blob that another repository has.
    pub(super) async fn mount_blob(
        &self,
        repository: &str,
        from: &str,
        blob: &Blob,
        operation: &Operation,
    ) -> Result<Mount, RegistryError> {
        let mut url = self.url(repository, "blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &blob.digest.0).append_pair("from", from);
        let call = Call::new(Method::POST, url);
        match self.call(&call, &Scopes::mount(repository, from), operation).await {
            Ok(answer) if answer.status == StatusCode::CREATED => {
                same_digest(&format!("a blob of {}/{repository}", self.host), &blob.digest, &answer)?;
                Ok(Mount::Mounted)
            }
            Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                Ok(Mount::Upload(Some(Start::of(&call, &answer)?)))
            }
            // Reading the other repository may not be allowed: that hinders no upload.
            Ok(answer) if answer.status.is_client_error() => Ok(Mount::Upload(None)),
            Err(RegistryError::Unauthorized { .. }) => Ok(Mount::Upload(None)),
            Ok(answer) => Err(refused(&call, &answer)),
            Err(error) => Err(error),
        }
    }
}

impl Start {
    fn of(call: &Call, answer: &Answer) -> Result<Self, RegistryError> {
        let min_part = answer.header(MIN_PART).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Self { location: location(call, answer)?, min_part })
    }
}

/// Where an upload goes on: absolute or relative, with a query to be kept.
fn location(call: &Call, answer: &Answer) -> Result<Url, RegistryError> {
    let location = answer.header(LOCATION.as_str());
    let url = location.and_then(|location| answer.url.join(location).ok());
    url.ok_or_else(|| call.answer_error("it does not say where the upload goes on (Location)"))
}

impl Upload<'_> {
    /// Sends the blob, from where a broken connection left it if the registry
    /// still knows, else anew.
    pub(super) async fn run(&self, mut start: Option<Start>) -> Result<(), RegistryError> {
        let mut tries = Tries::new(&self.registry.options);
        loop {
            let begun = match start.take() {
                Some(start) => start,
                None => self.begin().await?,
            };
            let done = match self.blob.bytes.0 {
                0..=SMALL => self.send_whole(&begun, &mut tries).await?,
                _ => self.send_parts(begun, &mut tries).await?,
            };
            // The answer that is missing may have been a good one.
            if done || self.registry.has_blob(self.repository, self.blob, self.operation).await? {
                return Ok(());
            }
        }
    }

    async fn begin(&self) -> Result<Start, RegistryError> {
        let call = Call::new(Method::POST, self.registry.url(self.repository, "blobs/uploads/")?);
        let answer = self.registry.call(&call, &self.scopes(), self.operation).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(refused(&call, &answer));
        }
        Start::of(&call, &answer)
    }

    /// One PUT with everything. False if it has to begin anew, after a pause.
    async fn send_whole(&self, start: &Start, tries: &mut Tries<'_>) -> Result<bool, RegistryError> {
        let mut call = self.closing_call(&start.location);
        call.headers.insert(CONTENT_TYPE, octets());
        call.payload = self.payload(0, self.blob.bytes.0);
        match self.try_once(&call, tries).await? {
            Some(answer) => self.closed(&call, &answer).map(|()| true),
            None => Ok(false),
        }
    }

    /// PATCHes and an empty PUT. False if it has to begin anew.
    async fn send_parts(&self, start: Start, tries: &mut Tries<'_>) -> Result<bool, RegistryError> {
        let total = self.blob.bytes.0;
        let part = self.registry.options.part.map_or(total, |part| part.0.max(start.min_part).max(1));
        let (mut location, mut offset) = (start.location, 0);
        loop {
            let step = match offset < total {
                true => self.send_part(&location, offset, part.min(total - offset), tries).await?,
                false => self.close(&location, tries).await?,
            };
            match step {
                Step::Done => return Ok(true),
                Step::Anew => return Ok(false),
                Step::Continue { offset: reached, location: next } => {
                    if reached > offset {
                        tries.restart();
                    }
                    (offset, location) = (reached, next);
                }
            }
        }
    }

    async fn send_part(
        &self,
        location: &Url,
        offset: u64,
        length: u64,
        tries: &mut Tries<'_>,
    ) -> Result<Step, RegistryError> {
        let mut call = Call::new(Method::PATCH, location.clone());
        call.headers = part_headers(&call, offset, length)?;
        call.payload = self.payload(offset, length);
        let Some(answer) = self.try_once(&call, tries).await? else { return self.resume(location).await };
        match answer.status.as_u16() {
            202 => {
                let location = self::location(&call, &answer)?;
                // What the registry counts is what holds; some say nothing.
                let reached = received(&answer.headers).unwrap_or(offset + length);
                if reached > offset + length {
                    return Err(call.answer_error(format!("it has {reached} bytes of {}", offset + length)));
                }
                if reached <= offset {
                    let reason = format!("it took none of {length} bytes");
                    tries.after_failure(&call, Failure::Passing { reason }, self.operation).await?;
                }
                Ok(Step::Continue { offset: reached, location })
            }
            // The registry has another number of bytes, or forgot the upload.
            404 | 410 | 416 => {
                let reason = format!("answered {}", answer.status.as_u16());
                tries.after_failure(&call, Failure::Passing { reason }, self.operation).await?;
                if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
                    self.resume(location).await
                } else {
                    Ok(Step::Anew)
                }
            }
            _ => Err(refused(&call, &answer)),
        }
    }

    async fn close(&self, location: &Url, tries: &mut Tries<'_>) -> Result<Step, RegistryError> {
        let call = self.closing_call(location);
        match self.try_once(&call, tries).await? {
            Some(answer) => self.closed(&call, &answer).map(|()| Step::Done),
            None if self.registry.has_blob(self.repository, self.blob, self.operation).await? => {
                Ok(Step::Done)
            }
            None => self.resume(location).await,
        }
    }

    fn closed(&self, call: &Call, answer: &Answer) -> Result<(), RegistryError> {
        if answer.status != StatusCode::CREATED {
            return Err(refused(call, answer));
        }
        let name = format!("a blob of {}/{}", self.registry.host, self.repository);
        same_digest(&name, &self.blob.digest, answer)
    }

    /// Asks how much has arrived. A registry that does not know begins anew.
    async fn resume(&self, location: &Url) -> Result<Step, RegistryError> {
        let call = Call::new(Method::GET, location.clone());
        let answer = self.registry.call(&call, &self.scopes(), self.operation).await?;
        let offset = received(&answer.headers).filter(|offset| *offset <= self.blob.bytes.0);
        match (answer.status.as_u16(), offset) {
            (200 | 202 | 204, Some(offset)) => {
                let next = self::location(&call, &answer).unwrap_or_else(|_| location.clone());
                Ok(Step::Continue { offset, location: next })
            }
            _ => Ok(Step::Anew),
        }
    }

    /// One try; none after a failure that may pass, when the pause is over.
    async fn try_once(&self, call: &Call, tries: &mut Tries<'_>) -> Result<Option<Answer>, RegistryError> {
        match self.registry.once(call, &self.scopes(), self.operation).await {
            Ok(answer) if is_passing(&answer) => tries.after_answer(call, &answer, self.operation).await?,
            Ok(answer) => return Ok(Some(answer)),
            Err(failure) => tries.after_failure(call, failure, self.operation).await?,
        }
        Ok(None)
    }

    fn closing_call(&self, location: &Url) -> Call {
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", &self.blob.digest.0);
        Call::new(Method::PUT, url)
    }

    fn payload(&self, offset: u64, length: u64) -> Payload {
        let (operation, repository) = (self.operation.clone(), self.printed_repository());
        let (digest, bytes) = (self.blob.digest.clone(), self.blob.bytes);
        let sent = Sent::observed(move |sent| {
            let (repository, digest) = (repository.clone(), digest.clone());
            operation.tell(PushEvent::Uploading {
                repository,
                digest,
                sent: ByteCount(offset + sent),
                bytes,
            });
        });
        Payload::File { path: self.path.to_owned(), offset, length, sent }
    }

    fn printed_repository(&self) -> String {
        format!("{}/{}", self.registry.host, self.repository)
    }

    fn scopes(&self) -> Scopes {
        Scopes::push(self.repository)
    }
}

fn octets() -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}

fn part_headers(call: &Call, offset: u64, length: u64) -> Result<HeaderMap, RegistryError> {
    let range = HeaderValue::from_str(&format!("{offset}-{}", offset + length - 1));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, octets());
    headers.insert(CONTENT_RANGE, range.map_err(|error| call.answer_error(error.to_string()))?);
    Ok(headers)
}

/// How many bytes `Range: 0-LAST` says have arrived. Registries write `0-0` also
/// for none, which is the safe reading: they refuse a wrong start and are asked again.
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let last: u64 = text.trim_start_matches("bytes=").strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last.checked_add(1)? })
}
