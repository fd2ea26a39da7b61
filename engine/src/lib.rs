//! One way to load and run a model, whatever engine does it.

mod add;
mod compare;
mod discover;
mod error;
mod guard;
mod node_names;
mod onnxruntime;
mod output;
mod random;
mod session;
mod skeleton;
mod tract;

pub use add::{AddError, AddOptions, AddStep, add_onnxruntime};
pub use compare::{CompareError, Difference, compare};
pub use discover::{
    DEFAULT_ENGINE, EngineStatus, LIBRARY_VARIABLE, ONNXRUNTIME_VERSION, cached_library, library_in,
    open_engine, open_onnxruntime, survey,
};
pub use error::EngineError;
pub use onnxruntime::OnnxRuntimeEngine;
pub use random::{RandomHints, random_tensor};
pub use session::{Engine, LoadOptions, NodeTime, OutputBuffer, Session};
pub use tract::TractEngine;
