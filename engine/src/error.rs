use std::path::PathBuf;

/// An engine that is not there, or a model that it cannot load or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine's library is missing, too old, or cannot be loaded.
    #[error("{engine} is not available: {reason}")]
    Unavailable {
        /// The engine.
        engine: &'static str,
        /// Why.
        reason: String,
    },
    /// The engine refuses the model.
    #[error("{engine} cannot load {}: {reason}", model.display())]
    Load {
        /// The engine.
        engine: &'static str,
        /// The model file.
        model: PathBuf,
        /// The engine's words, with the node where it gives one.
        reason: String,
    },
    /// The inputs are not what the session was loaded for.
    #[error("input `{name}`: {reason}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The run failed.
    #[error("{engine} failed while running: {reason}")]
    Run {
        /// The engine.
        engine: &'static str,
        /// The engine's words, with the node where it gives one.
        reason: String,
    },
    /// The engine was left out when this program was built.
    #[error("this program was built without {engine}")]
    NotBuiltIn {
        /// The engine.
        engine: &'static str,
    },
    /// A name that is no engine.
    #[error("there is no engine `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
}

impl EngineError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => {
                "install it with `tranche engine add onnxruntime`, or pass `--onnxruntime PATH`; `tranche doctor` says more"
            }
            Self::Load { .. } => {
                "try the other engine (`--engine onnxruntime`); see docs/engines.md for what each runs"
            }
            Self::Input { .. } => {
                "`tranche inspect` lists the model's inputs; bind symbolic dimensions with `--shape` or `--dim`"
            }
            Self::Run { .. } => "try the other engine (`--engine`), and check the input shapes",
            Self::NotBuiltIn { .. } => {
                "package the model for an engine of this program (`--engine`), or use a program built with this one"
            }
            Self::Unknown { .. } => "engines are `tract` and `onnxruntime`",
        }
    }
}
