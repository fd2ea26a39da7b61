use std::io;
use std::path::PathBuf;

/// A model that cannot be read, is invalid, or cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}{kind}", place(.path, .subject))]
pub struct GraphError {
    /// What is wrong.
    #[source]
    pub kind: ErrorKind,
    /// The file, when one is being read or written.
    pub path: Option<PathBuf>,
    /// The node or tensor concerned, as `node \`conv1\``.
    pub subject: Option<String>,
}

fn place(path: &Option<PathBuf>, subject: &Option<String>) -> String {
    let mut text = String::new();
    if let Some(path) = path {
        text.push_str(&format!("{}: ", path.display()));
    }
    if let Some(subject) = subject {
        text.push_str(&format!("{subject}: "));
    }
    text
}

/// What is wrong with a model.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// A file could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are not an ONNX protobuf.
    #[error("not a readable ONNX protobuf: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The file is an ONNX protobuf that breaks the specification.
    #[error("{0}")]
    Invalid(String),
    /// The file asks for something that tranche does not do.
    #[error("{0}")]
    Unsupported(String),
    /// External data is missing, too short, or outside of the model's folder.
    #[error("{0}")]
    ExternalData(String),
    /// A shape asked for that an input cannot have, or none where one is needed.
    #[error("{0}")]
    Binding(String),
    /// A name that the model does not have.
    #[error("{0}")]
    UnknownName(String),
}

impl GraphError {
    /// An error about no node or file in particular.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind, path: None, subject: None }
    }

    /// A broken rule of the specification.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid(message.into()))
    }

    /// A shape asked for that an input cannot have.
    #[must_use]
    pub fn binding(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Binding(message.into()))
    }

    /// Something valid that tranche does not do.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported(message.into()))
    }

    /// The same error, about this node; what it was about already is named after it.
    #[must_use]
    pub fn at_node(self, name: &str) -> Self {
        self.about("node", name)
    }

    /// The same error, about this tensor; what it was about already is named after it.
    #[must_use]
    pub fn at_tensor(self, name: &str) -> Self {
        self.about("tensor", name)
    }

    /// The same error, about this input of the model; what it was about already is named after it.
    #[must_use]
    pub fn at_input(self, name: &str) -> Self {
        self.about("input", name)
    }

    /// The same error, about this local function; what it was about already is named after it.
    #[must_use]
    pub fn at_function(self, name: &str) -> Self {
        self.about("function", name)
    }

    fn about(mut self, what: &str, name: &str) -> Self {
        self.subject = Some(match self.subject {
            Some(inner) => format!("{what} `{name}`, {inner}"),
            None => format!("{what} `{name}`"),
        });
        self
    }

    /// The same error, in this file.
    #[must_use]
    pub fn in_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.kind {
            ErrorKind::Io(_) => "check the path and its permissions",
            ErrorKind::Decode(_) => "the file is truncated or is not ONNX; export or download it again",
            ErrorKind::Invalid(_) => "run the ONNX checker on it, or export it again",
            ErrorKind::Unsupported(_) => "see the documentation for what tranche supports",
            ErrorKind::ExternalData(_) => "keep the external data files beside the model, as it was exported",
            ErrorKind::Binding(_) | ErrorKind::UnknownName(_) => {
                "whole shapes are given as `--shape INPUT=1x3x224x224`, named extents as `--dim NAME=4`"
            }
        }
    }
}
