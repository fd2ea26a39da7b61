//! The Python function on ONNX Runtime that slices are measured against.

mod environment;
mod function;
mod size;
mod wire;

pub use environment::Environment;
pub use function::{Place, PythonFunction, Started};
pub use size::{Sizing, find_size};
pub use wire::{RawTensor, encode};
