//! A double of an OpenFaaS gateway and its provider, for tests.
//!
//! It is made from OpenFaaS's public contracts and from measurements of the real thing, and is
//! not OpenFaaS: no product code depends on it. What it does and which fact each behaviour comes
//! from is in the crate's README.
//!
//! Functions are real processes: images are pulled from a registry on loopback and run in root
//! folders and control groups of their own ([`ImageLauncher`]), or plain commands stand in for
//! images ([`CommandLauncher`]).

mod answer;
mod asynchronous;
mod body;
mod control;
mod description;
mod double;
mod error;
mod faasd;
mod faults;
mod function;
mod gateway;
mod kubernetes;
mod launch;
mod logs;
mod options;
mod provider;
mod proxy;
mod quantity;
mod replica;
mod server;
mod system;

pub use description::{FunctionDescription, FunctionStatus, Resources};
pub use double::GatewayDouble;
pub use error::DoubleError;
pub use faults::{CallRecord, Fault, FaultAction};
pub use launch::{CommandLauncher, ImageLauncher, Launcher, Pending, Prepared, Program, Start};
pub use options::{BasicAuth, Options};
pub use provider::{MOST_ASYNC_BYTES, MOST_FUNCTIONS, MOST_REPLICAS, Provider};
