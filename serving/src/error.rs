use std::io;
use tranche_schema::exit_code;

/// A process that cannot begin to serve.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// An option that must be at least one is zero.
    #[error("{flag} is 0")]
    Zero {
        /// The flag.
        flag: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The system refuses threads, timers or signal handlers.
    #[error("cannot start: {source}")]
    System {
        /// Why.
        source: io::Error,
    },
}

impl ServingError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Zero { .. } => "give it a number of at least 1",
            Self::Listen { .. } => {
                "another process may hold the address, or the folder of the socket is missing; socket paths have at most 107 bytes"
            }
            Self::System { .. } => "check the limits on processes and open files",
        }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Zero { .. } => exit_code::USAGE,
            Self::Listen { .. } | Self::System { .. } => exit_code::REMOTE,
        }
    }
}
