//! The process in each function: loads one slice, answers frames with frames.
//!
//! It listens before it loads, so that health answers at once; requests that come early
//! are held. Requests run one at a time, in order, on one thread that owns the session.
//! docs/formats/function-http.md is the contract; on AWS Lambda, where nothing listens and events
//! are taken one by one, docs/formats/lambda.md.

mod answer;
mod error;
mod function;
mod lambda;
mod metrics;
mod onward;
mod options;
mod process;
mod server;
mod slice;
mod start_up;
mod worker;

pub use error::ShimError;
pub use lambda::{AwsOpener, LambdaOptions, serve as serve_lambda};
pub use options::ShimOptions;
pub use process::{refuse_to_begin, run};
pub use server::serve;
pub use tranche_serving::{Listen, ServerOptions};

use std::path::Path;
use std::sync::Arc;
use tranche_engine::{Engine, EngineError};

/// Opens the engines built into this program: what [`run`] is given outside of tests.
#[must_use]
pub fn built_in() -> EngineOpener {
    Box::new(|name, library| tranche_engine::open_engine(Some(name), library))
}

/// Opens an engine by name, with the ONNX Runtime library to use where that is it.
/// Called once, on the thread that loads the slice.
pub type EngineOpener = Box<dyn FnOnce(&str, Option<&Path>) -> Result<Arc<dyn Engine>, EngineError> + Send>;
