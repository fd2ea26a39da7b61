//! /system/*, behind basic authentication.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::answer::{Answer, Cut, json, status, text};
use crate::body::Piped;
use crate::gateway::Gateway;
use crate::provider::{Denied, MOST_REPLICAS};
use crate::{BasicAuth, FunctionDescription, Provider};

/// Longest body of a /system call.
const MOST_BODY_BYTES: usize = 1024 * 1024;

/// Answers a call below /system.
pub(crate) async fn answer(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Result<Answer, Cut> {
    if let Some(auth) = gateway.options.auth.as_ref().filter(|auth| !admits(auth, request.headers())) {
        tracing::debug!(user = auth.user, "wrong credentials");
        let mut answer = text(StatusCode::UNAUTHORIZED, "invalid credentials\n");
        let realm = HeaderValue::from_static("Basic realm=\"Restricted\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, realm);
        return Ok(answer);
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MOST_BODY_BYTES).collect().await else {
        return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, ""));
    };
    let body = body.to_bytes();
    let query = query(parts.uri.query().unwrap_or_default());
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').skip(1).collect();
    if path == ["functions"] && parts.method == Method::GET {
        return list(gateway);
    }
    let answered = match (path.as_slice(), &parts.method) {
        (["functions"], &Method::POST) => create(gateway, &body).await,
        (["functions"], &Method::PUT) => update(gateway, &body).await,
        (["functions"], &Method::DELETE) => delete(gateway, &body).await,
        (["function", name], &Method::GET) => one(gateway, name),
        (["scale-function", name], &Method::POST) => scale(gateway, name, &body).await,
        (["info"], &Method::GET) => Ok(info(gateway.provider())),
        (["namespaces"], &Method::GET) => Ok(json(&[gateway.provider().namespace()])),
        (["secrets"], method) => secrets(gateway, method, &body),
        (["logs"], &Method::GET) => logs(gateway, &query),
        _ => Err((404, "404 page not found\n".to_owned())),
    };
    Ok(answered.unwrap_or_else(|(code, message)| status(code, &message)))
}

fn admits(auth: &BasicAuth, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let coded = given.and_then(|value| value.strip_prefix("Basic "));
    let decoded = coded.and_then(|coded| BASE64_STANDARD.decode(coded.trim()).ok());
    decoded.is_some_and(|pair| pair == format!("{}:{}", auth.user, auth.password).into_bytes())
}

fn read<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Denied> {
    serde_json::from_slice(body).map_err(|error| (400, format!("unable to unmarshal request: {error}")))
}

/// Without Prometheus the gateway of commit 1ab3f323 has no metrics to add to the functions: it
/// panics, and Go closes the connection.
fn list(gateway: &Gateway) -> Result<Answer, Cut> {
    let functions = gateway.functions();
    if !gateway.options.prometheus && !functions.is_empty() {
        return Err(Cut::Close);
    }
    let all: Vec<_> = functions.values().map(|function| function.status(gateway.provider())).collect();
    Ok(json(&all))
}

fn one(gateway: &Gateway, name: &str) -> Result<Answer, Denied> {
    let function = gateway.find(name).ok_or((404, String::new()))?;
    Ok(json(&function.status(gateway.provider())))
}

async fn create(gateway: &Arc<Gateway>, body: &[u8]) -> Result<Answer, Denied> {
    let description: FunctionDescription = read(body)?;
    gateway.create(description).await?;
    Ok(status(gateway.provider().accepted(), ""))
}

async fn update(gateway: &Arc<Gateway>, body: &[u8]) -> Result<Answer, Denied> {
    let description: FunctionDescription = read(body)?;
    Ok(status(gateway.update(description).await?, ""))
}

async fn delete(gateway: &Arc<Gateway>, body: &[u8]) -> Result<Answer, Denied> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Delete {
        function_name: String,
    }
    let Delete { function_name } = read(body)?;
    gateway.delete(&function_name).await?;
    Ok(status(gateway.provider().accepted(), ""))
}

async fn scale(gateway: &Arc<Gateway>, name: &str, body: &[u8]) -> Result<Answer, Denied> {
    #[derive(Deserialize)]
    struct Scale {
        replicas: u64,
    }
    let Scale { replicas } = read(body)?;
    gateway.scale(name, replicas.clamp(1, MOST_REPLICAS)).await?;
    Ok(status(gateway.provider().accepted(), ""))
}

fn info(provider: Provider) -> Answer {
    let (orchestration, name) = provider.identity();
    json(&json!({
        "provider": {
            "provider": name,
            "orchestration": orchestration,
            "version": { "release": "double", "sha": "" },
        },
        "version": { "release": "double", "sha": "", "commit_message": "" },
        "arch": std::env::consts::ARCH,
    }))
}

#[derive(Deserialize)]
struct Secret {
    name: String,
    #[serde(default)]
    value: String,
    /// Bytes as Go writes them; wins over `value`.
    #[serde(default, rename = "rawValue")]
    raw_value: String,
}

/// Names are listed, values never.
fn secrets(gateway: &Gateway, method: &Method, body: &[u8]) -> Result<Answer, Denied> {
    let provider = gateway.provider();
    let mut secrets = gateway.secrets();
    if method == Method::GET {
        let names: Vec<_> =
            secrets.keys().map(|name| json!({ "name": name, "namespace": provider.namespace() })).collect();
        return Ok(json(&names));
    }
    let secret: Secret = read(body)?;
    let (there, faasd) = (secrets.contains_key(&secret.name), provider == Provider::Faasd);
    if secret.name.trim().is_empty() || secret.name.contains('/') || secret.name.contains("..") {
        return Err((400, "the secret's name is not valid".to_owned()));
    }
    let missing = if faasd { 500 } else { 404 };
    match *method {
        // faasd writes a file, new or not.
        Method::POST if there && !faasd => Err((409, "already exists".to_owned())),
        Method::PUT if !there && !faasd => Err((missing, "not found".to_owned())),
        Method::POST | Method::PUT => {
            let value = match BASE64_STANDARD.decode(&secret.raw_value) {
                Ok(raw) if !raw.is_empty() => raw,
                _ => secret.value.into_bytes(),
            };
            secrets.insert(secret.name, value);
            Ok(status(provider.accepted(), ""))
        }
        Method::DELETE if !there => Err((missing, "not found".to_owned())),
        Method::DELETE => {
            secrets.remove(&secret.name);
            Ok(status(provider.accepted(), ""))
        }
        _ => Err((400, String::new())),
    }
}

/// Lines as JSON, the last `tail` of them, and with `follow` those to come.
fn logs(gateway: &Gateway, query: &BTreeMap<String, String>) -> Result<Answer, Denied> {
    let name =
        query.get("name").filter(|name| !name.is_empty()).ok_or((400, "name is required".to_owned()))?;
    let number = |field: &str| -> Result<usize, Denied> {
        let text = query.get(field).map_or("0", String::as_str);
        text.parse().map_err(|_| (400, format!("`{field}` is no number")))
    };
    let since = match query.get("since").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            Some(humantime::parse_rfc3339(text).map_err(|error| (400, format!("`since`: {error}")))?)
        }
    };
    let tail = number("tail")?;
    let follow = query.get("follow").is_some_and(|text| text == "true" || text == "1");
    Ok(log_answer(gateway, name.clone(), tail, since, follow))
}

fn log_answer(
    gateway: &Gateway,
    name: String,
    tail: usize,
    since: Option<SystemTime>,
    follow: bool,
) -> Answer {
    let (lines, body) = Piped::new();
    let logs = Arc::clone(&gateway.logs);
    let quiet = !gateway.options.journald;
    tokio::spawn(async move {
        let mut added = logs.watch();
        let mut from = 0;
        let mut first = true;
        loop {
            added.borrow_and_update();
            let mut found = if quiet { Vec::new() } else { logs.of(&name, from, since) };
            if std::mem::take(&mut first) && tail > 0 {
                found.drain(..found.len().saturating_sub(tail));
            }
            for line in found {
                from = line.number() + 1;
                if lines.send(Ok(Bytes::from(line.json()))).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = added.changed(), if follow => if changed.is_err() { return },
                () = lines.closed() => return,
                () = std::future::ready(()), if !follow => return,
            }
        }
    });
    let mut answer = Answer::new(body.boxed_unsync());
    let kind = HeaderValue::from_static("application/x-ndjson");
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    answer
}

/// The last value of each field.
fn query(text: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://gateway/?{text}"));
    url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}
