//! ONNX in and out without loss, and the graph the planner works on.

pub mod coarsen;
mod error;
mod graph;
pub mod liveness;
mod model;
pub mod order;

pub use error::{ErrorKind, GraphError};
pub use graph::{Dimension, Graph, Node, NodeId, TensorId, TensorInfo, TensorKind};
pub use model::Model;

/// The ONNX schema (`proto/onnx.proto`) as prost types.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod onnx {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}
