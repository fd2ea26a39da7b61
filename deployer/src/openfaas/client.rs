//! HTTP to a gateway: one request, its retries and what can go wrong with it.

use super::{Credentials, GatewayError, GatewayUrl};
use reqwest::{Client, Method, redirect};
use serde::de::DeserializeOwned;
use std::error::Error as _;
use std::time::Duration;

/// How long a gateway is waited for.
#[derive(Clone, Copy, Debug)]
pub struct GatewayTimeouts {
    /// To connect.
    pub connect: Duration,
    /// For the answer to a question.
    pub ask: Duration,
    /// For the answer to a change: faasd pulls the image before it answers.
    pub change: Duration,
    /// How often a request is sent at most, when it fails in passing.
    pub attempts: u32,
    /// Between the first and the second; doubled each time.
    pub pause: Duration,
}

impl Default for GatewayTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            ask: Duration::from_secs(30),
            change: Duration::from_secs(120),
            attempts: 4,
            pause: Duration::from_millis(200),
        }
    }
}

/// The most bytes of an answer that are read.
const LARGEST_ANSWER: usize = 16 << 20;
/// The most of a refusal that is shown.
const LONGEST_EXCERPT: usize = 400;

/// A gateway, and who asks it. Cloning is cheap. Printing it shows no password.
#[derive(Clone, Debug)]
pub struct Gateway {
    client: Client,
    url: GatewayUrl,
    credentials: Option<Credentials>,
    pub(super) namespace: Option<String>,
    pub(super) timeouts: GatewayTimeouts,
}

/// One request.
pub(super) struct Call<'a> {
    pub method: Method,
    /// Parts of the path.
    pub path: &'a [&'a str],
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Vec<u8>>,
    /// What it is for, in errors.
    pub action: String,
    pub timeout: Duration,
    pub attempts: u32,
}

/// The status and the body that came back.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// What it says, on one line and not too long.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(self.body.get(..LONGEST_EXCERPT).unwrap_or(&self.body));
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    pub fn json<T: DeserializeOwned>(&self, action: &str) -> Result<T, GatewayError> {
        serde_json::from_slice(&self.body).map_err(|error| GatewayError::Answer {
            action: action.to_owned(),
            reason: error.to_string(),
            excerpt: self.excerpt(),
        })
    }
}

impl Gateway {
    /// The gateway at `url`. `plain_http` allows credentials to be sent in the
    /// clear to a host that is not on a private network.
    ///
    /// # Errors
    /// When credentials would be sent in the clear, or the client cannot be made.
    pub fn new(
        url: GatewayUrl,
        credentials: Option<Credentials>,
        timeouts: GatewayTimeouts,
        plain_http: bool,
    ) -> Result<Self, GatewayError> {
        if credentials.is_some() && url.is_exposed() && !plain_http {
            return Err(GatewayError::PlainHttp { host: url.host().to_owned() });
        }
        let mut builder = Client::builder()
            .connect_timeout(timeouts.connect)
            // A redirect would carry a change to another place, or turn it into a question.
            .redirect(redirect::Policy::none())
            // Gateways close idle connections; a reused one that is closed looks like a fault.
            .pool_idle_timeout(Duration::from_secs(2))
            .user_agent(concat!("tranche/", env!("CARGO_PKG_VERSION")));
        if url.is_loopback() {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| GatewayError::Client { reason: root_of(&error) })?;
        Ok(Self { client, url, credentials, namespace: None, timeouts })
    }

    /// The same with functions in another namespace than the provider's default.
    #[must_use]
    pub fn in_namespace(mut self, namespace: Option<String>) -> Self {
        self.namespace = namespace;
        self
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &GatewayUrl {
        &self.url
    }

    /// The namespace asked for.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Whether credentials are sent.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn call<'a>(&self, method: Method, path: &'a [&'a str], action: String) -> Call<'a> {
        let is_question = method == Method::GET;
        Call {
            query: self.namespace.iter().map(|name| ("namespace", name.clone())).collect(),
            body: None,
            timeout: if is_question { self.timeouts.ask } else { self.timeouts.change },
            attempts: self.timeouts.attempts,
            method,
            path,
            action,
        }
    }

    /// Sends `call` until its answer's status is below 500, one of `expected`,
    /// or it has failed in passing too often.
    pub(super) async fn send(&self, call: Call<'_>, expected: &[u16]) -> Result<Answer, GatewayError> {
        let mut pause = self.timeouts.pause;
        let mut left = call.attempts.max(1);
        loop {
            left -= 1;
            let result = match self.send_once(&call).await {
                Ok(answer) if expected.contains(&answer.status) => return Ok(answer),
                Ok(answer) => Err(self.refusal(&call.action, &answer)),
                Err(error) => Err(error),
            };
            match result {
                Err(error) if left > 0 && error.is_passing() => {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                other => return other,
            }
        }
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Answer, GatewayError> {
        let url = self.url.join(call.path, &call.query);
        let mut request = self.client.request(call.method.clone(), url).timeout(call.timeout);
        // Functions must not see who runs them: only the gateway's own paths get credentials.
        if call.path.first() == Some(&"system")
            && let Some(credentials) = &self.credentials
        {
            request = credentials.sign(request);
        }
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let wrap = |error: reqwest::Error| self.broken(call, &error);
        let mut response = request.send().await.map_err(wrap)?;
        let status = response.status().as_u16();
        if response.status().is_redirection() {
            let location =
                response.headers().get("location").map(|value| String::from_utf8_lossy(value.as_bytes()));
            return Err(GatewayError::Redirected {
                url: self.url.to_string(),
                location: location.map_or_else(|| "nowhere".to_owned(), |text| without_password(&text)),
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(wrap)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(GatewayError::Answer {
                    action: call.action.clone(),
                    reason: format!("it is longer than {LARGEST_ANSWER} bytes"),
                    excerpt: String::new(),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }

    fn refusal(&self, action: &str, answer: &Answer) -> GatewayError {
        let (action, message, status) = (action.to_owned(), answer.excerpt(), answer.status);
        match status {
            401 | 403 => {
                GatewayError::Unauthorized { action, url: self.url.to_string(), sent: self.has_credentials() }
            }
            404 => GatewayError::NotFound { action, message },
            500.. => GatewayError::Failed { action, status, message },
            400..500 => GatewayError::Refused { action, status, message },
            _ => GatewayError::Answer { action, reason: format!("status {status}"), excerpt: message },
        }
    }

    fn broken(&self, call: &Call<'_>, error: &reqwest::Error) -> GatewayError {
        let (action, url, reason) = (call.action.clone(), self.url.to_string(), root_of(error));
        if error.is_connect() {
            GatewayError::Unreachable { url, reason }
        } else if error.is_timeout() {
            GatewayError::TimedOut { action, url, after: call.timeout }
        } else if error.is_builder() {
            GatewayError::Client { reason }
        } else {
            GatewayError::Broken { action, url, reason }
        }
    }
}

/// A password in an address that the gateway points to is not ours to show.
fn without_password(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST_EXCERPT).collect();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

/// The innermost cause, which says most.
fn root_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.source() {
        Some(_) => cause.to_string(),
        None => error.to_string(),
    }
}
