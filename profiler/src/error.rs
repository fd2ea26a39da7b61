use std::path::PathBuf;
use std::time::Duration;
use tranche_engine::EngineError;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProfilerError {
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model could not be written for measuring.
    #[error(transparent)]
    Graph(#[from] tranche_graph::GraphError),
    /// The profile could not be kept.
    #[error(transparent)]
    Document(#[from] tranche_schema::DocumentError),
    /// A codec fails on a tensor.
    #[error("{codec} fails on tensor `{tensor}`: {source}")]
    Codec {
        /// The tensor.
        tensor: String,
        /// The codec.
        codec: tranche_schema::Codec,
        /// Why.
        source: tranche_transport::FrameError,
    },
    /// A file of the measurement could not be read or written.
    #[error("cannot access {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The measuring process could not be started.
    #[error("cannot start the measuring process {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The pipes between the two processes broke.
    #[error("cannot pass on what was measured: {0}")]
    Pipe(std::io::Error),
    /// The measuring process did not end in time and was killed.
    #[error("measuring {} did not end within {} s", model.display(), deadline.as_secs())]
    Deadline {
        /// The model measured.
        model: PathBuf,
        /// The time it had.
        deadline: Duration,
    },
    /// The measuring process failed.
    #[error("measuring {} failed ({status}): {message}", model.display())]
    Child {
        /// The model measured.
        model: PathBuf,
        /// How it ended.
        status: String,
        /// The last lines it wrote.
        message: String,
    },
    /// Two processes of different versions, or a bug.
    #[error("the measuring process answered with something else than a measurement: {0}")]
    Protocol(#[from] serde_json::Error),
    /// The engine gave fewer shapes than the planner needs.
    #[error("tensor `{tensor}`: the engine tells neither its type nor its shape")]
    UnknownShape {
        /// The tensor.
        tensor: String,
    },
    /// A tensor read back is not what it was said to be.
    #[error("tensor `{tensor}`: {source}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        source: tranche_schema::TensorError,
    },
}

impl ProfilerError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Graph(error) => error.hint(),
            Self::Document(error) => error.hint(),
            Self::File { .. } => "check that the folder for temporary files is writable and has space",
            Self::Codec { .. } => "this is a bug in tranche; please report it",
            Self::Pipe(_) => "the process that started this one has ended",
            Self::Start { .. } => "check that the tranche program may be executed",
            Self::Deadline { .. } => "give it more time with `--deadline`, or fewer repeats with `--repeats`",
            Self::Child { status, .. } if status.contains("signal: 9") => {
                "killed from outside, usually because memory ran out"
            }
            Self::Child { .. } => {
                "check the shapes and values of the inputs, or try the other engine (`--engine`)"
            }
            Self::Protocol(_) => "this is a bug in tranche; please report it",
            Self::UnknownShape { .. } => "try the other engine (`--engine`); it may know more shapes",
            Self::Tensor { .. } => "this is a bug in tranche; please report it",
        }
    }
}
