//! AWS Lambda's Runtime API, as a custom runtime speaks it: events are taken one after the
//! other from `next`, and answered by id.
//!
//! The API is that of "Using the Lambda runtime API for custom runtimes" and, for streamed
//! answers, "Response streaming in custom runtimes" of the AWS Lambda developer guide.

mod address;
mod client;
mod error;
mod failure;
mod invocation;
mod stream;
mod trace;

use std::path::{Path, PathBuf};

pub use client::{Initialization, RuntimeApi};
pub use error::RuntimeApiError;
pub use failure::RuntimeFailure;
pub use invocation::Invocation;
pub use trace::TraceHeader;

/// A path as functions are told it: below `LAMBDA_TASK_ROOT`, where Lambda unpacks zip files,
/// unless it is absolute.
#[must_use]
pub fn in_task(path: &Path) -> PathBuf {
    match std::env::var_os("LAMBDA_TASK_ROOT") {
        Some(root) => Path::new(&root).join(path),
        None => path.to_owned(),
    }
}

/// Most bytes of an event, and of an answer that is not streamed: 6 MiB and 100 bytes.
pub const PAYLOAD_LIMIT: usize = 6_291_556;
