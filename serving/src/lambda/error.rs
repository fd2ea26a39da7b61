use hyper::StatusCode;
use tranche_schema::exit_code;

/// The Runtime API cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeApiError {
    /// AWS_LAMBDA_RUNTIME_API is no address.
    #[error("AWS_LAMBDA_RUNTIME_API is `{address}`: {reason}")]
    Address {
        /// What it is.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A call was not answered.
    #[error("the Lambda Runtime API does not answer at {url}: {reason}")]
    Unreachable {
        /// The URL called.
        url: String,
        /// Why.
        reason: String,
    },
    /// A call was refused.
    #[error("the Lambda Runtime API answers {status} to {url}: {reason}")]
    Refused {
        /// The URL called.
        url: String,
        /// With what.
        status: StatusCode,
        /// The text that came with it.
        reason: String,
    },
    /// An answer is larger than Lambda takes, and was not sent.
    #[error("the answer has {bytes} bytes, Lambda takes {limit}")]
    TooLarge {
        /// Bytes of the answer.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl RuntimeApiError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address { .. } => "Lambda sets HOST:PORT; http://HOST:PORT/PREFIX is read as well",
            Self::Unreachable { .. } => {
                "this process runs as a function on Lambda or in an emulator of it only"
            }
            Self::Refused { .. } => {
                "Lambda starts the function's next process by itself; see the function's log"
            }
            Self::TooLarge { .. } => {
                "ask for a streamed answer, or give the answer an object store to put large outputs into"
            }
        }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. } => exit_code::USAGE,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::TooLarge { .. } => exit_code::REMOTE,
        }
    }
}
