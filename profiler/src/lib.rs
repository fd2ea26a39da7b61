//! What each layer costs, measured.
//!
//! The whole model and chosen slices are measured each in a process of its own
//! ([`measure`]), so that memory and load times are theirs alone; layers are
//! timed node by node inside the engine ([`time_layers`]). The result is a
//! [`tranche_schema::Profile`], cached by everything it depends on ([`cache`]).

pub mod cache;
mod dominance;
mod error;
mod layers;
pub mod measure;
mod run;
mod statistics;

pub use dominance::{RULE, mark_dominant};
pub use error::ProfilerError;
pub use layers::{LayerTimes, time_layers};
pub use run::{ChildProgram, KnownTensors, ProfileRequest, Progress, environment, measure_slices, profile};
pub use statistics::timing;
