//! S3: objects written, read, listed and deleted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

use super::client::{Call, Failed, Reading, Repeat};
use super::encoding::{path, strictly};
use super::sign::Service;
use super::{AwsClient, AwsError};

/// Keys of one `DeleteObjects`.
const DELETE_KEYS: usize = 1000;
/// Most keys that a list gives.
const MAX_LISTED: usize = 100_000;
/// More than a list of 1,000 keys of 1,024 bytes takes.
const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// When an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutCondition {
    /// Whatever is there.
    Any,
    /// Only if nothing is there (`If-None-Match: *`): of several writers one succeeds.
    IfAbsent,
}

/// What became of an object that was to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is there now.
    Written {
        /// Its entity tag, as S3 writes it.
        etag: String,
    },
    /// There was one already, which was left as it is.
    Exists,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

impl AwsClient {
    /// Writes an object.
    ///
    /// A conditional write that is repeated because its answer was lost finds its own object. That
    /// counts as written when the bytes there are those given: let bytes that claim something name
    /// who claims it.
    ///
    /// # Errors
    /// When S3 refuses for another reason than the condition, or time is over.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        bytes: Bytes,
        condition: PutCondition,
        deadline: Duration,
    ) -> Result<PutOutcome, AwsError> {
        let started = Instant::now();
        let mut call = self.object("PutObject", Method::PUT, bucket, key)?;
        call.body = bytes.clone();
        if condition == PutCondition::IfAbsent {
            call.headers.push((IF_NONE_MATCH, HeaderValue::from_static("*")));
        }
        match self.call(&call, deadline).await {
            Ok(reply) => {
                Ok(PutOutcome::Written { etag: reply.header(ETAG.as_str()).unwrap_or_default().to_owned() })
            }
            Err(Failed { error, repeated }) if error.status() == Some(412) => {
                let left = deadline.saturating_sub(started.elapsed());
                if repeated && let Some(etag) = self.holds(bucket, key, &bytes, left).await? {
                    return Ok(PutOutcome::Written { etag });
                }
                Ok(PutOutcome::Exists)
            }
            Err(failed) => Err(failed.error),
        }
    }

    /// The entity tag of an object, if it is these bytes.
    async fn holds(
        &self,
        bucket: &str,
        key: &str,
        bytes: &Bytes,
        left: Duration,
    ) -> Result<Option<String>, AwsError> {
        let mut call = self.object("GetObject", Method::GET, bucket, key)?;
        call.reading = Reading::Whole(bytes.len() as u64);
        match self.call(&call, left).await {
            Ok(reply) if reply.body == *bytes => {
                Ok(Some(reply.header(ETAG.as_str()).unwrap_or_default().to_owned()))
            }
            // Another object, larger or smaller.
            Ok(_) | Err(Failed { error: AwsError::Answer { .. }, .. }) => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// Reads an object of at most `limit_bytes`; `None` when there is none. With an `etag`, only
    /// that version of it.
    ///
    /// # Errors
    /// When S3 refuses, the object is larger or another version, or time is over.
    pub async fn get_object(
        &self,
        bucket: &str,
        key: &str,
        etag: Option<&str>,
        limit_bytes: u64,
        deadline: Duration,
    ) -> Result<Option<Bytes>, AwsError> {
        let mut call = self.object("GetObject", Method::GET, bucket, key)?;
        call.reading = Reading::Whole(limit_bytes);
        if let Some(etag) = etag.filter(|etag| !etag.is_empty()) {
            let value = HeaderValue::from_str(etag).map_err(|_| AwsError::Configuration {
                what: call.operation.clone(),
                reason: "its entity tag is not visible ASCII".to_owned(),
            })?;
            call.headers.push((IF_MATCH, value));
        }
        match self.call(&call, deadline).await {
            Ok(reply) => Ok(Some(reply.body)),
            Err(Failed { error, .. }) if is_missing_object(&error) => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// Size of an object; `None` when there is none.
    ///
    /// # Errors
    /// When S3 refuses, or time is over.
    pub async fn head_object(
        &self,
        bucket: &str,
        key: &str,
        deadline: Duration,
    ) -> Result<Option<u64>, AwsError> {
        let call = self.object("HeadObject", Method::HEAD, bucket, key)?;
        match self.call(&call, deadline).await {
            Ok(reply) => {
                Ok(Some(reply.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)))
            }
            Err(Failed { error, .. }) if is_missing_object(&error) => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// Deletes objects, also those that are not there.
    ///
    /// # Errors
    /// When S3 refuses, for all or for one of them, or time is over.
    pub async fn delete_objects<K: AsRef<str>>(
        &self,
        bucket: &str,
        keys: &[K],
        deadline: Duration,
    ) -> Result<(), AwsError> {
        let started = Instant::now();
        for keys in keys.chunks(DELETE_KEYS) {
            let mut call = self.bucket("DeleteObjects", Method::POST, bucket, "delete=")?;
            call.body = delete_document(keys).into();
            let hash = STANDARD.encode(Sha256::digest(&call.body));
            if let Ok(hash) = HeaderValue::from_str(&hash) {
                call.headers.push((HeaderName::from_static("x-amz-checksum-sha256"), hash));
            }
            let left = deadline.saturating_sub(started.elapsed());
            let reply = self.call(&call, left).await.map_err(|failed| failed.error)?;
            let failed = read_document(&reply.body, &call.operation, |root| {
                let error = root.children().find(|node| node.tag_name().name() == "Error")?;
                Some((child(error, "Key"), child(error, "Code"), child(error, "Message")))
            })?;
            if let Some((key, code, message)) = failed {
                let operation = format!("{} `{key}`", call.operation);
                return Err(AwsError::Refused { operation, status: 200, code, message, retry_after: None });
            }
        }
        Ok(())
    }

    /// Every object whose key begins with `prefix`, at most 100,000.
    ///
    /// # Errors
    /// When S3 refuses, there are more, or time is over.
    pub async fn list_objects(
        &self,
        bucket: &str,
        prefix: &str,
        deadline: Duration,
    ) -> Result<Vec<ListedObject>, AwsError> {
        let started = Instant::now();
        let mut listed = Vec::new();
        let mut token: Option<String> = None;
        loop {
            // In the order of their names, as signatures want them.
            let mut query = String::new();
            if let Some(token) = &token {
                let _ = write!(query, "continuation-token={}&", strictly(token));
            }
            let _ = write!(query, "list-type=2&prefix={}", strictly(prefix));
            let call = self.bucket("ListObjectsV2", Method::GET, bucket, &query)?;
            let left = deadline.saturating_sub(started.elapsed());
            let reply = self.call(&call, left).await.map_err(|failed| failed.error)?;
            token = read_document(&reply.body, &call.operation, |root| {
                let contents = root.children().filter(|node| node.tag_name().name() == "Contents");
                listed.extend(contents.map(|node| ListedObject {
                    key: child(node, "Key"),
                    bytes: child(node, "Size").parse().unwrap_or(0),
                }));
                let more = child(root, "IsTruncated") == "true";
                Some(child(root, "NextContinuationToken")).filter(|token| more && !token.is_empty())
            })?;
            if token.is_none() {
                return Ok(listed);
            }
            if listed.len() >= MAX_LISTED {
                let reason = format!("lists more than {MAX_LISTED} objects");
                return Err(AwsError::Answer { operation: call.operation, reason });
            }
        }
    }

    fn object(&self, name: &str, method: Method, bucket: &str, key: &str) -> Result<Call, AwsError> {
        let operation = format!("{name} `s3://{bucket}/{key}`");
        // S3 takes dots; what is between may not.
        if key.is_empty() || key.len() > 1024 || key.split('/').any(|part| matches!(part, "." | "..")) {
            let reason = "its key is empty, longer than 1,024 bytes, or has a part of dots".to_owned();
            return Err(AwsError::Configuration { what: operation, reason });
        }
        let base = self.config().bucket(bucket)?;
        let uri = format!("{}/{}", base.as_str().trim_end_matches('/'), path(key));
        Ok(call(operation, method, uri))
    }

    fn bucket(&self, name: &str, method: Method, bucket: &str, query: &str) -> Result<Call, AwsError> {
        let base = self.config().bucket(bucket)?;
        let uri = format!("{}/?{query}", base.as_str().trim_end_matches('/'));
        Ok(call(format!("{name} `{bucket}`"), method, uri))
    }
}

fn call(operation: String, method: Method, uri: String) -> Call {
    Call {
        operation,
        service: Service::S3,
        method,
        uri,
        headers: Vec::new(),
        body: Bytes::new(),
        repeat: Repeat::Transient,
        reading: Reading::Whole(MAX_DOCUMENT_BYTES),
    }
}

/// A bucket that is missing is no object that is.
fn is_missing_object(error: &AwsError) -> bool {
    error.status() == Some(404) && matches!(error.code(), Some("NoSuchKey" | "NotFound"))
}

fn delete_document<K: AsRef<str>>(keys: &[K]) -> String {
    let mut text = String::from("<Delete><Quiet>true</Quiet>");
    for key in keys {
        text.push_str("<Object><Key>");
        for letter in key.as_ref().chars() {
            match letter {
                '<' => text.push_str("&lt;"),
                '>' => text.push_str("&gt;"),
                '&' => text.push_str("&amp;"),
                '\r' => text.push_str("&#13;"),
                letter => text.push(letter),
            }
        }
        text.push_str("</Key></Object>");
    }
    text.push_str("</Delete>");
    text
}

fn read_document<T>(
    body: &[u8],
    operation: &str,
    read: impl FnOnce(roxmltree::Node<'_, '_>) -> Option<T>,
) -> Result<Option<T>, AwsError> {
    if body.is_empty() {
        return Ok(None);
    }
    let wrong = |reason: String| AwsError::Answer { operation: operation.to_owned(), reason };
    let text = std::str::from_utf8(body).map_err(|_| wrong("is not UTF-8".to_owned()))?;
    let document = roxmltree::Document::parse(text).map_err(|error| wrong(format!("is no XML: {error}")))?;
    Ok(read(document.root_element()))
}

fn child(node: roxmltree::Node<'_, '_>, name: &str) -> String {
    let found = node.children().find(|child| child.tag_name().name() == name);
    found.and_then(|child| child.text()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_in_xml() {
        let text = delete_document(&["a&b", "<c>"]);
        let document = roxmltree::Document::parse(&text).unwrap();
        let keys: Vec<&str> = (document.descendants())
            .filter(|node| node.tag_name().name() == "Key")
            .filter_map(|node| node.text())
            .collect();
        assert_eq!(keys, ["a&b", "<c>"]);
    }
}
