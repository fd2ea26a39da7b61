use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The machine refused something.
    #[error(transparent)]
    Host(#[from] tranche_host::HostError),
    /// A model could not be had.
    #[error(transparent)]
    Catalogue(#[from] tranche_models::ModelsError),
    /// A model cannot be evaluated.
    #[error("{model}: {reason}")]
    Model {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// A request to a deployment failed.
    #[error(transparent)]
    Driver(#[from] tranche_driver::DriverError),
    /// A file of tranche's own could not be read.
    #[error(transparent)]
    Document(#[from] tranche_schema::DocumentError),
    /// A program ended with an error.
    #[error("`{command}` {reason}")]
    Program {
        /// What was run.
        command: String,
        /// How it ended, and what it said.
        reason: String,
    },
    /// A program did not end in time.
    #[error("`{command}` was still running after {waited:?}")]
    Late {
        /// What was run.
        command: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The Python function did not do what it should.
    #[error("the Python function of {model} {reason}")]
    Python {
        /// The model.
        model: String,
        /// What happened.
        reason: String,
    },
}

impl BenchError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "check the path and its permissions",
            Self::Content { .. } => {
                "a results file has one JSON document a line; price files are those of prices/"
            }
            Self::Host(error) => error.hint(),
            Self::Catalogue(_) | Self::Model { .. } => "`tranche models list` lists the models",
            Self::Driver(_) => "`tranche logs NAME` shows what the deployment's functions said",
            Self::Document(error) => error.hint(),
            Self::Program { .. } => "run it by hand; `--program` says which tranche is used",
            Self::Late { .. } => "a longer `--deadline` may help",
            Self::Python { .. } => {
                "run bench/baseline/handler.py by hand with the environment below `--work`"
            }
        }
    }

    /// What maps an input-output error to one that says what was being done to which file.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
