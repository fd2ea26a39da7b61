//! What is checked of each model.

pub mod cut;
pub mod files;
