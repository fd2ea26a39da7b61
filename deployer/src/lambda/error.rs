use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// AWS could not be asked, or did not do what it was asked. No message holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Nothing says in which region.
    #[error("no AWS region is set")]
    NoRegion,
    /// Nothing says who asks.
    #[error("no AWS credentials: {reason}")]
    Credentials {
        /// What each place that was looked at said.
        reason: String,
    },
    /// Nothing answers.
    #[error("{action}: AWS cannot be reached: {reason}")]
    Unreachable {
        /// What was asked.
        action: String,
        /// Why.
        reason: String,
    },
    /// No whole answer came in time.
    #[error("{action}: no answer in time: {reason}")]
    TimedOut {
        /// What was asked.
        action: String,
        /// Which deadline.
        reason: String,
    },
    /// Whoever asks may not.
    #[error("{action}: not allowed: {message}")]
    Denied {
        /// What was asked.
        action: String,
        /// AWS's words, with the missing permission.
        message: String,
    },
    /// There is no such thing.
    #[error("{action}: not found: {message}")]
    NotFound {
        /// What was asked.
        action: String,
        /// AWS's words.
        message: String,
    },
    /// Another change of the same thing is under way.
    #[error("{action}: {code}: {message}")]
    Conflict {
        /// What was asked.
        action: String,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// Asked too often, also after waiting.
    #[error("{action}: throttled: {message}")]
    Throttled {
        /// What was asked.
        action: String,
        /// AWS's words.
        message: String,
    },
    /// Any other refusal.
    #[error("{action}: refused with status {status}: {code}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// An answer that is not what AWS answers.
    #[error("{action}: unexpected answer: {reason}")]
    Answer {
        /// What was asked.
        action: String,
        /// What is wrong.
        reason: String,
    },
}

impl AwsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRegion => "set AWS_REGION, give a region, or set one in the profile",
            Self::Credentials { .. } => {
                "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a profile with SSO, run `aws sso login` first"
            }
            Self::Unreachable { .. } => "check the network, the region and AWS_ENDPOINT_URL",
            Self::TimedOut { .. } => {
                "check the network; a large package over a slow one goes faster through S3"
            }
            Self::Denied { .. } => {
                "`tranche doctor --target lambda` prints the policy that is needed and says who asks"
            }
            Self::NotFound { .. } => "check region and account; `tranche status` lists deployments",
            Self::Conflict { .. } => "wait until the other change has ended, then try again",
            Self::Throttled { .. } => "wait a minute and try again, or deploy fewer functions at one time",
            Self::Refused { .. } => "AWS's words say what it does not take",
            Self::Answer { .. } => "check AWS_ENDPOINT_URL",
        }
    }

    /// Whether the thing asked about is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the same call may succeed when another change has ended.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// AWS's words, where it said some.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Denied { message, .. }
            | Self::NotFound { message, .. }
            | Self::Conflict { message, .. }
            | Self::Throttled { message, .. }
            | Self::Refused { message, .. } => message,
            _ => "",
        }
    }

    /// What an answer with this status and AWS error code means.
    pub(super) fn of_answer(action: String, status: u16, code: &str, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        match (status, code.as_str()) {
            (429, _)
            | (_, "Throttling" | "ThrottlingException" | "SlowDown" | "TooManyRequestsException") => {
                Self::Throttled { action, message }
            }
            (404, _)
            | (
                _,
                "ResourceNotFoundException"
                | "NoSuchEntity"
                | "NoSuchBucket"
                | "NoSuchKey"
                | "NotFound"
                | "StateMachineDoesNotExist"
                | "RepositoryNotFoundException"
                | "ProvisionedConcurrencyConfigNotFoundException",
            ) => Self::NotFound { action, message },
            (401 | 403, _)
            | (_, "AccessDeniedException" | "AccessDenied" | "UnrecognizedClientException") => {
                Self::Denied { action, message: if message.is_empty() { code } else { message } }
            }
            (409, _) | (_, "ResourceConflictException") => Self::Conflict { action, code, message },
            _ => Self::Refused { action, status, code, message },
        }
    }

    /// For `map_err` of the SDK's calls: `action` says what was asked.
    pub(super) fn of<E>(action: impl Into<String>) -> impl FnOnce(SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let action = action.into();
        move |error| match &error {
            SdkError::ServiceError(refusal) => {
                let status = refusal.raw().status().as_u16();
                let (code, message) = (refusal.err().code(), refusal.err().message());
                Self::of_answer(action, status, code.unwrap_or("unknown"), message.unwrap_or_default())
            }
            SdkError::TimeoutError(_) => Self::TimedOut { action, reason: words(&error) },
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::TimedOut { action, reason: words(&error) }
            }
            SdkError::DispatchFailure(failure) if failure.is_io() => {
                Self::Unreachable { action, reason: words(&error) }
            }
            SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
                let reason = words(&error);
                if reason.contains("credential") {
                    Self::Credentials { reason }
                } else {
                    Self::Unreachable { action, reason }
                }
            }
            _ => Self::Answer { action, reason: words(&error) },
        }
    }
}

/// An error and its causes, innermost last, without saying anything twice.
pub(super) fn words(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_status_and_code() {
        let of = |status, code: &str| AwsError::of_answer("do it".into(), status, code, "words").to_string();
        insta::assert_snapshot!(
            [
                of(404, "ResourceNotFoundException"),
                of(400, "ResourceNotFoundException"),
                of(409, "ResourceConflictException"),
                of(403, "AccessDeniedException"),
                of(400, "ThrottlingException"),
                of(429, "TooManyRequestsException"),
                of(400, "InvalidParameterValueException"),
            ]
            .join("\n"),
            @r"
        do it: not found: words
        do it: not found: words
        do it: ResourceConflictException: words
        do it: not allowed: words
        do it: throttled: words
        do it: throttled: words
        do it: refused with status 400: InvalidParameterValueException: words
        "
        );
    }
}
