//! What every process that answers HTTP as a function does, whatever it answers: listen,
//! bound what it holds, refuse with a reason, drain when told to stop, and be process 1 of a
//! container. The slice's process and the front door are built on it.
//!
//! docs/formats/function-http.md is the contract. [`lambda`] is what they do on AWS Lambda instead.

pub mod lambda;

mod accept;
mod answer;
mod body;
mod error;
mod init;
mod listen;
mod options;
mod patient;
mod watchdog;

pub use accept::{Phase, accept, becomes};
pub use answer::{Answer, Chunks, Refusal, echo, json_response, respond};
pub use body::{discard, read_body, read_body_aligned_at, refuse, too_large};
pub use error::ServingError;
pub use init::run;
pub use listen::{Listen, Listener};
pub use options::{ServerOptions, milliseconds};
pub use watchdog::{EnvironmentError, watchdog_defaults};
