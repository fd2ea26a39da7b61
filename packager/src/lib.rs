//! A plan and a model in, a bundle of slices out, and images of them for a registry.
//!
//! A bundle is one directory that a deployment needs nothing beside:
//!
//! ```text
//! bundle/
//!   manifest.json               what is here, with the digest of every file
//!   plan.json                   the plan it was made from
//!   model/
//!     slice-0.onnx              one ONNX model a slice, large weights left out
//!     weights/<sha256>.bin      each distinct weight once, from offset 0
//! ```
//!
//! Slices and weights share the folder `model/` because ONNX confines external
//! data to the folder of the model. Each weight has a file of its own and so
//! starts on a page: engines map it. Equal inputs give byte-identical bundles.

mod bundle;
mod check;
pub mod elf;
mod ensemble;
mod error;
mod finding;
pub mod image;
pub mod lambda;
pub mod openfaas;
mod replace;

pub use bundle::{package, package_expected};
pub use check::check_bundle;
pub use error::PackageError;
