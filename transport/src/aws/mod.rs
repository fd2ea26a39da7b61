//! AWS Lambda and S3, as far as tensors need them: signed requests and nothing of an SDK.

mod client;
mod config;
mod encoding;
mod error;
mod event_stream;
mod functions;
mod http;
mod objects;
mod sign;

pub use client::AwsClient;
pub use config::{AwsConfig, Credentials, endpoint_url};
pub use error::AwsError;
pub use functions::{InvocationKind, Invoked};
pub use objects::{ListedObject, PutCondition, PutOutcome};
