//! The local target: each function is a process of this machine in a control
//! group of its own, kept by a supervisor that outlives the command.
//!
//! ```text
//! state/NAME/deployment.json      what serves now
//! state/NAME/ID/                  one revision: everything below is its own
//!     revision.json               what the supervisor runs
//!     processes.json              who runs, for a destroy after a crash
//!     alive                       locked for as long as the supervisor lives
//!     logs/SLICE.log              what each function wrote
//!     logs/supervisor.log
//! runtime/ID/                     sockets: `control` and one per function
//! /dev/shm/tranche-ID/            files that functions map
//! tranche-ID-N                    control groups
//! ```
//!
//! A revision is removed as a whole. Everything that it makes is named after its
//! id and written into revision.json before it is made, so that a destroy finds
//! it whoever died when.

mod activation;
mod client;
mod control;
mod desired;
mod function;
mod launch;
mod log;
mod probe;
mod revision;
mod supervisor;
mod target;
mod teardown;

pub use supervisor::supervise;
pub use target::{FunctionCommand, LocalTarget};
