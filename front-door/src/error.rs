use tranche_driver::DriverError;
use tranche_schema::{DocumentError, exit_code};
use tranche_serving::ServingError;
use tranche_serving::lambda::RuntimeApiError;
use tranche_transport::aws::AwsError;

/// A front door that cannot begin to serve.
#[derive(Debug, thiserror::Error)]
pub enum FrontDoorError {
    /// A deployment.json cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A deployment cannot be walked, or its shared folder is gone.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Options are wrong, or the address cannot be listened on.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// A deployment on AWS cannot be reached from here.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Lambda's Runtime API is not as it should be.
    #[error(transparent)]
    RuntimeApi(#[from] RuntimeApiError),
    /// Nothing to serve.
    #[error("there is no deployment to serve")]
    Nothing,
    /// Paths would be ambiguous.
    #[error("two deployments have the name `{name}`")]
    SameName {
        /// The name.
        name: String,
    },
    /// Its path would be hidden.
    #[error("deployment `{name}` has the name of a path of the front door's own")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// The token that callers must have cannot be had.
    #[error("the token of {whence}: {reason}")]
    Token {
        /// The file or the variable.
        whence: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Spans cannot be sent there.
    #[error("the collector `{url}`: {reason}")]
    Collector {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `--gateway` for functions that are behind none.
    #[error("deployment `{deployment}` is behind no gateway")]
    NoGateway {
        /// The deployment.
        deployment: String,
    },
    /// JSON has no numbers for a tensor of the model.
    #[error("{what} of deployment `{deployment}` has no form in JSON")]
    NoJsonForm {
        /// The deployment.
        deployment: String,
        /// The tensor: name and element type.
        what: String,
    },
}

impl FrontDoorError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Document(error) => error.hint(),
            Self::Driver(error) => error.hint(),
            Self::Serving(error) => error.hint(),
            Self::Aws(error) => error.hint(),
            Self::RuntimeApi(error) => error.hint(),
            Self::Nothing => "name a deployment.json with `--deployment`",
            Self::SameName { .. } => "serve them by two front doors, or deploy one under another name",
            Self::ReservedName { .. } => "deploy it under another name",
            Self::Token { .. } => "write one line of letters, digits and signs to it",
            Self::Collector { .. } => {
                "give a URL of plain http, as http://127.0.0.1:4318, of a collector that is nearby"
            }
            Self::NoGateway { .. } => "leave `--gateway` out: it is for functions on OpenFaaS",
            Self::NoJsonForm { .. } => {
                "convert the tensor inside the model, or call it with `tranche invoke`"
            }
        }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Document(_)
            | Self::Aws(_)
            | Self::Nothing
            | Self::SameName { .. }
            | Self::ReservedName { .. }
            | Self::Token { .. }
            | Self::Collector { .. }
            | Self::NoGateway { .. } => exit_code::USAGE,
            Self::RuntimeApi(_) => exit_code::REMOTE,
            Self::NoJsonForm { .. } => exit_code::UNSUPPORTED_MODEL,
            Self::Driver(error) => error.exit_code(),
            Self::Serving(error) => error.exit_code(),
        }
    }
}
