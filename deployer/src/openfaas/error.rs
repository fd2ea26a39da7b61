use std::time::Duration;

/// A gateway that could not be asked, or did not do what it was asked.
///
/// No message holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// An address that is not a gateway's.
    #[error("`{url}` is no gateway address: {reason}")]
    Url {
        /// The address, without a password that may have been in it.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Credentials would travel in the clear over a public network.
    #[error("credentials are not sent to {host} over plain HTTP")]
    PlainHttp {
        /// The gateway's host.
        host: String,
    },
    /// Credentials that are said to be there cannot be read.
    #[error("cannot read the gateway's credentials from {origin}: {reason}")]
    Credentials {
        /// The file or variable.
        origin: String,
        /// Why.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("cannot make an HTTP client: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
    /// Nothing answers there.
    #[error("the gateway at {url} cannot be reached: {reason}")]
    Unreachable {
        /// The gateway.
        url: String,
        /// Why.
        reason: String,
    },
    /// No whole answer came in time.
    #[error("{action}: no answer from {url} within {after:?}")]
    TimedOut {
        /// What was asked.
        action: String,
        /// The gateway.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended before the answer did.
    #[error("{action}: the connection to {url} broke: {reason}")]
    Broken {
        /// What was asked.
        action: String,
        /// The gateway.
        url: String,
        /// Why.
        reason: String,
    },
    /// 401 or 403.
    #[error("{action}: the gateway at {url} {}", if *sent { "refuses these credentials" } else { "wants credentials" })]
    Unauthorized {
        /// What was asked.
        action: String,
        /// The gateway.
        url: String,
        /// Whether credentials were sent.
        sent: bool,
    },
    /// 404.
    #[error("{action}: not found{}", answered(message))]
    NotFound {
        /// What was asked.
        action: String,
        /// What the gateway said.
        message: String,
    },
    /// Another status that says that the request was wrong.
    #[error("{action}: refused with status {status}{}", answered(message))]
    Refused {
        /// What was asked.
        action: String,
        /// HTTP status.
        status: u16,
        /// What the gateway said.
        message: String,
    },
    /// A status from 500 on.
    #[error("{action}: failed with status {status}{}", answered(message))]
    Failed {
        /// What was asked.
        action: String,
        /// HTTP status.
        status: u16,
        /// What the gateway said.
        message: String,
    },
    /// The gateway is elsewhere.
    #[error("{url} redirects to {location}")]
    Redirected {
        /// Where was asked.
        url: String,
        /// Where it points.
        location: String,
    },
    /// An answer that is not what a gateway answers.
    #[error("{action}: unexpected answer: {reason}{}", answered(excerpt))]
    Answer {
        /// What was asked.
        action: String,
        /// What is wrong.
        reason: String,
        /// Its beginning.
        excerpt: String,
    },
}

fn answered(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl GatewayError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Url { .. } => {
                "give its base address, as http://127.0.0.1:8080; credentials go into the environment or a file"
            }
            Self::PlainHttp { .. } => {
                "use https, an address of a private network, or allow plain HTTP by its flag"
            }
            Self::Credentials { .. } => "check the file, or set OPENFAAS_USERNAME and OPENFAAS_PASSWORD",
            Self::Client { .. } => "check the system's certificates and proxy settings",
            Self::Unreachable { .. } => {
                "check the address, and that the gateway runs (`tranche doctor --target openfaas`)"
            }
            Self::TimedOut { .. } => {
                "look at the gateway's log; pulling a large image can take longer than its minute"
            }
            Self::Broken { .. } => {
                "look at the gateway's log; without Prometheus some gateways end the connection when they list functions"
            }
            Self::Unauthorized { .. } => {
                "set OPENFAAS_USERNAME and OPENFAAS_PASSWORD, give a password file, or log in with faas-cli"
            }
            Self::NotFound { .. } => {
                "check the gateway's address and the namespace; `tranche status` lists deployments"
            }
            Self::Refused { .. } => "the gateway's words say what it does not take",
            Self::Failed { .. } => "look at the logs of the gateway and its provider",
            Self::Redirected { .. } => "give the address that it points to, if it is yours",
            Self::Answer { .. } => "check that this is the address of an OpenFaaS gateway",
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Failed { status, .. } => matches!(status, 500 | 502..=504),
            Self::Refused { status, .. } => *status == 429,
            _ => false,
        }
    }

    /// Whether the gateway may have done what it was asked, or be doing it.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::Failed { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }
}
