//! The OpenFaaS target: each function is a function behind a gateway, on faasd
//! or on Kubernetes.
//!
//! ```text
//! state/NAME/deployment.json      what serves now
//! state/NAME/functions.json       how it was described to the gateway
//! ```
//!
//! What tells one deployment's functions from all others are their labels at the
//! gateway, so that a destroy finds them also without these files. A function's
//! name holds its generation, a digest of what it is: a deploy makes the
//! functions that are not there, waits until each answers, writes
//! deployment.json, waits until nobody uses the old ones and deletes them.
//! Deploying again after any interruption goes on from what is there.

mod client;
mod credentials;
mod desired;
mod diff;
mod doctor;
mod error;
mod gateway;
mod rollout;
mod snapshot;
mod state;
mod target;
mod url;
mod wait;
mod wire;

pub use client::{Gateway, GatewayTimeouts};
pub use credentials::Credentials;
pub use doctor::{Check, check_gateway};
pub use error::GatewayError;
pub use gateway::{Applied, LogRange};
pub use target::{FrontDoor, FrontDoorImage, OpenFaasSettings, OpenFaasTarget};
pub use url::GatewayUrl;
pub use wire::{GatewayInfo, Load, LogLine, Readiness, RunningFunction};
