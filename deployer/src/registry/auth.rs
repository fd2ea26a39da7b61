//! Logging in: Basic (RFC 7617) and the registries' token flow (distribution
//! project, "Token Authentication Specification").

use super::http::{Answer, Call, Failure, Http};
use super::{Credentials, RegistryError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

/// How long a token holds whose server does not say.
const DEFAULT_LIFE: u64 = 60;
/// Tokens this close to their end are not used any more.
const MARGIN: Duration = Duration::from_secs(5);

/// What a request may do: `repository:NAME:pull,push`, ...
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scopes(BTreeSet<String>);

impl Scopes {
    pub(super) fn pull(repository: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{repository}:pull")]))
    }

    pub(super) fn push(repository: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{repository}:pull,push")]))
    }

    pub(super) fn mount(repository: &str, from: &str) -> Self {
        let mut scopes = Self::push(repository);
        scopes.0.insert(format!("repository:{from}:pull"));
        scopes
    }
}

/// `Authorization` values by scopes. No `Debug`: they are secret.
#[derive(Default)]
pub(super) struct Logins {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tokens: HashMap<Scopes, Login>,
    /// A password is good for everything.
    basic: Option<Login>,
}

impl Known {
    fn value(&self, scopes: &Scopes) -> Option<&HeaderValue> {
        let login = self.tokens.get(scopes).or(self.basic.as_ref())?;
        login.until.is_none_or(|until| Instant::now() < until).then_some(&login.value)
    }
}

#[derive(Clone)]
struct Login {
    value: HeaderValue,
    until: Option<Instant>,
}

enum Challenge {
    Bearer { realm: Url, service: Option<String>, scopes: BTreeSet<String> },
    Basic,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
    expires_in: Option<u64>,
}

impl Logins {
    /// What to send with a request, if the registry ever asked for something.
    pub(super) async fn value(&self, scopes: &Scopes) -> Option<HeaderValue> {
        self.known.lock().await.value(scopes).cloned()
    }

    /// Logs in as the challenge asks. `refused` is what was sent and not taken:
    /// if another request has logged in since, nothing is done.
    pub(super) async fn renew(
        &self,
        http: &Http,
        credentials: &Credentials,
        scopes: &Scopes,
        refused: Option<&HeaderValue>,
        (call, answer): (&Call, &Answer),
        deadline: Instant,
    ) -> Result<HeaderValue, Failure> {
        // Held while the token is fetched: others wait for it and do not fetch theirs.
        let mut known = self.known.lock().await;
        if let Some(value) = known.value(scopes).filter(|value| Some(*value) != refused) {
            return Ok(value.clone());
        }
        match challenge(call, answer)? {
            Challenge::Basic => match (credentials.account(), refused) {
                (Some(account), None) => {
                    let value = basic(account)?;
                    known.basic = Some(Login { value: value.clone(), until: None });
                    Ok(value)
                }
                (Some(_), Some(_)) => Err(unauthorized(call, answer, "it does not take the password").into()),
                (None, _) => Err(unauthorized(call, answer, "it wants a name and a password").into()),
            },
            Challenge::Bearer { realm, service, scopes: asked } => {
                let all: BTreeSet<&str> = scopes.0.iter().chain(&asked).map(String::as_str).collect();
                let login = fetch(http, credentials, &realm, service.as_deref(), &all, deadline).await?;
                known.tokens.insert(scopes.clone(), login.clone());
                Ok(login.value)
            }
        }
    }
}

/// Bearer comes before Basic where both are offered.
fn challenge(call: &Call, answer: &Answer) -> Result<Challenge, RegistryError> {
    let mut basic = false;
    for value in answer.headers.get_all(WWW_AUTHENTICATE) {
        let text = value.to_str().map_err(|_| call.answer_error("its login challenge is no text"))?;
        let challenges = http_auth::parse_challenges(text)
            .map_err(|_| call.answer_error("its login challenge cannot be understood"))?;
        for challenge in challenges {
            let parameter = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
                let realm =
                    realm.ok_or_else(|| call.answer_error("its login challenge names no token server"))?;
                let scopes = parameter("scope").unwrap_or_default();
                let scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
                return Ok(Challenge::Bearer { realm, service: parameter("service"), scopes });
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
        }
    }
    if basic {
        return Ok(Challenge::Basic);
    }
    Err(unauthorized(call, answer, "it does not say how to log in"))
}

async fn fetch(
    http: &Http,
    credentials: &Credentials,
    realm: &Url,
    service: Option<&str>,
    scopes: &BTreeSet<&str>,
    deadline: Instant,
) -> Result<Login, Failure> {
    let (call, authorization) = token_call(credentials, realm, service, scopes)?;
    let answer = http.exchange(&call, authorization.as_ref(), &realm.origin(), deadline).await?;
    match answer.status.as_u16() {
        200 => {}
        429 | 500.. => {
            let status = answer.status.as_u16();
            return Err(Failure::Passing {
                reason: format!("the token server {} answered {status}", call.named().1),
            });
        }
        401 | 403 => {
            let reason = match credentials.is_anonymous() {
                true => "it gives no one a token without a login",
                false => "it does not take the login",
            };
            return Err(unauthorized(&call, &answer, reason).into());
        }
        _ => return Err(super::client::refused(&call, &answer).into()),
    }
    // The parser's message may quote the token.
    let parsed: TokenAnswer =
        serde_json::from_slice(&answer.body).map_err(|_| call.answer_error("its answer holds no token"))?;
    let token =
        parsed.token.or(parsed.access_token).ok_or_else(|| call.answer_error("its answer holds no token"))?;
    let value = secret_value(&format!("Bearer {}", token.expose_secret()));
    let life = Duration::from_secs(parsed.expires_in.unwrap_or(DEFAULT_LIFE).min(1 << 31));
    Ok(Login {
        value: value.ok_or_else(|| call.answer_error("its token cannot be sent"))?,
        until: Some(Instant::now() + life.saturating_sub(MARGIN).max(Duration::from_secs(1))),
    })
}

/// An account asks with GET; an identity token is exchanged with POST, as OAuth2 has it.
fn token_call(
    credentials: &Credentials,
    realm: &Url,
    service: Option<&str>,
    scopes: &BTreeSet<&str>,
) -> Result<(Call, Option<HeaderValue>), RegistryError> {
    if let Some(token) = credentials.refresh_token() {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "tranche");
        form.append_pair("refresh_token", token).extend_pairs(service.map(|service| ("service", service)));
        form.append_pair("scope", &scopes.iter().copied().collect::<Vec<_>>().join(" "));
        let mut call = Call::new(Method::POST, realm.clone());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        call.headers.insert(CONTENT_TYPE, kind);
        call.payload = super::http::Payload::Bytes(Bytes::from(form.finish()));
        return Ok((call, None));
    }
    let mut url = realm.clone();
    url.query_pairs_mut().extend_pairs(service.map(|service| ("service", service)));
    url.query_pairs_mut().extend_pairs(scopes.iter().map(|scope| ("scope", *scope)));
    if let Some((username, _)) = credentials.account() {
        url.query_pairs_mut().append_pair("account", username);
    }
    Ok((Call::new(Method::GET, url), credentials.account().map(basic).transpose()?))
}

fn basic((username, password): (&str, &str)) -> Result<HeaderValue, RegistryError> {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    secret_value(&format!("Basic {encoded}")).ok_or_else(|| RegistryError::Credentials {
        host: "this registry".to_owned(),
        reason: "name and password cannot be sent".to_owned(),
    })
}

fn secret_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What the registry itself says goes along.
pub(super) fn unauthorized(call: &Call, answer: &Answer, reason: &str) -> RegistryError {
    let (method, url) = call.named();
    let said = super::client::message(&answer.body);
    let said =
        if said.is_empty() || answer.status == StatusCode::OK { String::new() } else { format!(" ({said})") };
    RegistryError::Unauthorized { method, url, reason: format!("{reason}{said}") }
}
