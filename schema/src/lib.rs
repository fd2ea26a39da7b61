//! Everything tranche writes to disk, the units it is written in, and the
//! tensors that cross a border between processes.
//!
//! Serde types with no logic beyond reading, writing and checking themselves.
//! Each file is one [`Document`]: JSON with a `format` and a `version` that the
//! reader checks before anything else.

mod bill;
mod comparison;
mod deployment;
mod digest;
mod document;
mod element_type;
mod ensemble;
mod image;
mod itinerary;
mod json;
mod lambda;
mod lock;
mod manifest;
mod money;
mod patch;
mod plan;
mod price;
mod price_separate;
mod profile;
mod tensor;
mod units;
mod verification;

pub use bill::*;
pub use comparison::*;
pub use deployment::*;
pub use digest::Digest;
pub use document::{Document, DocumentError, Header, write_atomically};
pub use element_type::ElementType;
pub use ensemble::*;
pub use image::*;
pub use itinerary::{Destination, Itinerary, Stop, to_ascii_json};
pub use json::{ElementsSeed, TensorSeed, has_json_form, write_elements, write_tensors_json};
pub use lambda::*;
pub use lock::Lock;
pub use manifest::*;
pub use money::{AmountError, Usd};
pub use patch::*;
pub use plan::*;
pub use price::*;
pub use price_separate::*;
pub use profile::*;
pub use tensor::{AlignedBuffer, Tensor, TensorError, TensorView};
pub use units::*;
pub use verification::*;

/// Exit codes of every tranche binary.
pub mod exit_code {
    /// All went well.
    pub const OK: u8 = 0;
    /// The command line, a flag or a configuration file is wrong.
    pub const USAGE: u8 = 2;
    /// A dry run found changes to apply (`--detailed-exitcode`).
    pub const CHANGES_PENDING: u8 = 10;
    /// The model, or a file made from it, cannot be read, is invalid or cannot be run.
    pub const UNSUPPORTED_MODEL: u8 = 20;
    /// No plan satisfies the constraints.
    pub const INFEASIBLE: u8 = 30;
    /// Slices and whole model disagree.
    pub const MISMATCH: u8 = 40;
    /// What was given is not what the lock file holds (`--locked`).
    pub const NOT_LOCKED: u8 = 41;
    /// A function, a server or a child process failed or did not answer in time.
    pub const REMOTE: u8 = 50;
    /// Ctrl-C or SIGTERM; what the command had deployed for its own use is removed.
    pub const INTERRUPTED: u8 = 130;
    /// A bug in tranche.
    pub const BUG: u8 = 101;
}
