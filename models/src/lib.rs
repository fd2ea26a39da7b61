//! The model zoo: seeded builders and the catalogue of trained models.

pub mod answers;
mod builder;
mod catalogue;
mod cnn;
mod error;
mod fetch;
mod gguf;
mod gnn;
mod inputs;
mod layers;
mod pickle;
mod random;
mod rnn;
mod trained;
mod transformer;
mod weights;
mod zoo;

pub use catalogue::{CatalogueModel, catalogue};
pub use error::ModelsError;
pub use fetch::{default_cache, fetch, fetch_side_file};
pub use inputs::{InputFill, InputHint, default_binding, default_fills, input_hints, integer_bounds};
pub use zoo::{Category, ZooModel, build, find, zoo};
