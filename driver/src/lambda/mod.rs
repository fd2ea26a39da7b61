//! Functions on AWS Lambda: the way of each tensor, and what it costs (docs/formats/lambda.md).

mod channel;
mod client;
mod report;
mod store;
pub(crate) mod stored;

pub(crate) use client::LambdaClient;
pub(crate) use store::{Cloud, LambdaRequest};
