//! What each layer costs, measured.
//!
//! The whole model and chosen slices are measured each in a process of its own
//! ([`measure`]), so that memory and load times are theirs alone; layers are
//! timed node by node inside the engine ([`time_layers`]). The result is a
//! [`tranche_schema::Profile`], cached by everything it depends on ([`cache`]).

pub mod cache;
mod child;
mod codings;
mod dominance;
mod error;
mod groups;
mod layers;
pub mod measure;
mod memory;
mod run;
mod scaling;
mod slices;
mod statistics;
mod subject;

pub use child::ChildProgram;
pub use dominance::{RULE, mark_dominant};
pub use error::ProfilerError;
pub use layers::{LayerTimes, time_layers};
pub(crate) use run::temporary_folder;
pub use run::{ProfileRequest, Progress, environment, profile};
pub use scaling::fit_scaling;
pub use slices::{KnownTensors, measure_slices};
pub use statistics::timing;
