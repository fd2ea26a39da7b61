//! One way to load and run a model, whatever engine does it.

mod compare;
mod error;
mod guard;
mod node_names;
mod onnxruntime;
mod output;
mod random;
mod session;
mod skeleton;
mod tract;

pub use compare::{CompareError, Difference, compare};
pub use error::EngineError;
pub use onnxruntime::OnnxRuntimeEngine;
pub use random::{RandomHints, random_tensor};
pub use session::{Engine, LoadOptions, NodeTime, OutputBuffer, Session};
pub use tract::TractEngine;
