use tranche_schema::exit_code;
use tranche_serving::ServingError;
use tranche_serving::lambda::RuntimeApiError;
use tranche_transport::SharedError;

/// A process that cannot begin to serve. A slice that cannot be loaded is not among
/// these: the process then answers every request with the reason.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// Options are wrong, the address cannot be listened on, or the system refuses threads.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// The shared folder cannot be opened.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// Lambda's Runtime API cannot be used.
    #[error(transparent)]
    RuntimeApi(#[from] RuntimeApiError),
}

impl ShimError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Serving(error) => error.hint(),
            Self::Shared(error) => error.hint(),
            Self::RuntimeApi(error) => error.hint(),
        }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Serving(error) => error.exit_code(),
            Self::Shared(_) => exit_code::REMOTE,
            Self::RuntimeApi(error) => error.exit_code(),
        }
    }
}
