use std::time::Duration;

/// A request to AWS that was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// A variable, an endpoint, a region, a name or a certificate is missing or wrong.
    #[error("{what}: {reason}")]
    Configuration {
        /// What it is about.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// AWS refused.
    #[error("{operation}: HTTP {status} {code}: {message}")]
    Refused {
        /// As AWS calls it, with function or object.
        operation: String,
        /// The HTTP status.
        status: u16,
        /// AWS's error code; empty when the answer has none.
        code: String,
        /// AWS's words.
        message: String,
        /// What AWS asks to wait before the next try.
        retry_after: Option<Duration>,
    },
    /// There was no answer in time.
    #[error("{operation}: no answer within {:.1} s{}", after.as_secs_f64(), last.as_deref().map(|last| format!("; last: {last}")).unwrap_or_default())]
    Deadline {
        /// As AWS calls it, with function or object.
        operation: String,
        /// The time there was.
        after: Duration,
        /// What the last try met, if there was one.
        last: Option<String>,
    },
    /// The connection could not be made, or broke.
    #[error("{operation}: {reason}")]
    Connection {
        /// As AWS calls it, with function or object.
        operation: String,
        /// The system's words.
        reason: String,
        /// Whether the request cannot have arrived.
        before_sending: bool,
    },
    /// The server's certificate is not trusted.
    #[error("{operation}: the certificate of {host}: {reason}")]
    Certificate {
        /// As AWS calls it, with function or object.
        operation: String,
        /// The server.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The answer is not as AWS documents it, or larger than asked for.
    #[error("{operation}: the answer {reason}")]
    Answer {
        /// As AWS calls it, with function or object.
        operation: String,
        /// What is wrong.
        reason: String,
    },
}

impl AwsError {
    /// The HTTP status, where AWS refused.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// AWS's error code, where it refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }

    /// What AWS asked to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether too much was asked at once.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        let Self::Refused { status, code, .. } = self else { return false };
        *status == 429
            || matches!(
                code.as_str(),
                "TooManyRequestsException"
                    | "ThrottlingException"
                    | "Throttling"
                    | "RequestLimitExceeded"
                    | "SlowDown"
                    | "EC2ThrottledException"
            )
    }

    /// Whether another try may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // `InvokeWithResponseStream` and `Invoke` also pass a function's pending states on as 502;
            // 409 is a conditional write that met another one.
            Self::Refused { status, code, .. } => {
                self.is_throttling()
                    || *status >= 500
                    || matches!(
                        code.as_str(),
                        "ConditionalRequestConflict"
                            | "RequestTimeout"
                            | "ResourceConflictException"
                            | "ResourceNotReadyException"
                    )
            }
            Self::Deadline { .. } | Self::Connection { .. } => true,
            Self::Configuration { .. } | Self::Certificate { .. } | Self::Answer { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => {
                "set AWS_REGION and the credentials' variables, and endpoints only for emulators"
            }
            Self::Refused { .. } if self.is_throttling() => {
                "more runs at once than the account or the function's reserved concurrency allows; raise it, or ask for less at once"
            }
            Self::Refused { code, .. } => match code.as_str() {
                "RequestTimeTooSkewed" | "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                    "check the secret key, the region and this machine's clock"
                }
                "ExpiredToken" | "ExpiredTokenException" => "the credentials have expired; log in again",
                "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" => {
                    "AWS does not know these credentials; check AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN"
                }
                "NoSuchBucket" => "create the bucket in the functions' region, or deploy with another one",
                "PreconditionFailed" => "somebody replaced the object since it was written; ask again",
                "ResourceNotFoundException" => {
                    "there is no such function or alias in this region and account; deploy again"
                }
                "KMSAccessDeniedException" | "AccessDeniedException" | "AccessDenied" => {
                    "the identity lacks the permission; `tranche doctor --target lambda` prints the policies"
                }
                "RequestTooLargeException" | "RequestEntityTooLargeException" => {
                    "deploy with a bucket (`--store`), so that large tensors go through it"
                }
                _ => "AWS's words above say what is wrong",
            },
            Self::Deadline { .. } => "give more time with `--timeout`",
            Self::Connection { .. } => "check the network, the region and the endpoint",
            Self::Certificate { .. } => "name your own authority's certificates in AWS_CA_BUNDLE",
            Self::Answer { .. } => "check that the endpoint is AWS or speaks its API",
        }
    }
}
