//! One way to load and run a model, whatever engine does it.
//!
//! Each engine is a cargo feature, both on by default; a program packed into functions
//! is built with the one it runs.

#[cfg(not(any(feature = "tract", feature = "onnxruntime")))]
compile_error!("choose an engine: feature `tract` or `onnxruntime`");

mod accuracy;
#[cfg(feature = "onnxruntime")]
mod add;
mod compare;
mod discover;
mod ensemble;
mod error;
mod guard;
mod heap;
mod node_names;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
mod output;
mod random;
mod session;
#[cfg(feature = "onnxruntime")]
mod skeleton;
#[cfg(feature = "tract")]
mod tract;

pub use accuracy::accuracy;
#[cfg(feature = "onnxruntime")]
pub use add::{AddError, AddOptions, AddStep, add_onnxruntime};
pub use compare::{CompareError, Difference, compare};
#[cfg(feature = "onnxruntime")]
pub use discover::open_onnxruntime;
pub use discover::{
    BUILT_IN, DEFAULT_ENGINE, EngineStatus, LIBRARY_VARIABLE, ONNXRUNTIME_VERSION, cached_library,
    library_in, library_of, open_engine, survey,
};
pub use error::EngineError;
pub use heap::return_large_blocks;
#[cfg(feature = "onnxruntime")]
pub use onnxruntime::OnnxRuntimeEngine;
pub use random::{RandomHints, random_tensor};
pub use session::{Engine, LoadOptions, NodeTime, OutputBuffer, Session};
#[cfg(feature = "tract")]
pub use tract::TractEngine;
