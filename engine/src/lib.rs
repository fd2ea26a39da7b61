//! One way to load and run a model, whatever engine does it.

mod error;
mod session;

pub use error::EngineError;
pub use session::{Engine, LoadOptions, NodeTime, OutputBuffer, Session};
