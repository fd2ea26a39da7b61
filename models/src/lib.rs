//! The model zoo: seeded builders and the catalogue of trained models.

mod builder;
mod cnn;
mod error;
mod gnn;
mod layers;
mod random;
mod rnn;
mod transformer;
mod weights;
mod zoo;

pub use error::ModelsError;
pub use zoo::{Category, InputFill, InputHint, ZooModel, build, find, zoo};
