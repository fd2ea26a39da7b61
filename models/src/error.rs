use std::io;
use std::path::PathBuf;

/// A model of the zoo or of the catalogue that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// No model has this name.
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
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
