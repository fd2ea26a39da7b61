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

pub use client::{Initialization, RuntimeApi};
pub use error::RuntimeApiError;
pub use failure::RuntimeFailure;
pub use invocation::Invocation;
pub use trace::TraceHeader;

/// Most bytes of an event, and of an answer that is not streamed: 6 MiB and 100 bytes.
pub const PAYLOAD_LIMIT: usize = 6_291_556;
