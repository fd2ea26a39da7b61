//! ONNX in and out without loss, and the graph the planner works on.

mod bind;
pub mod coarsen;
mod display;
mod encode;
mod error;
mod external;
mod externalize;
mod extract;
pub mod fold;
mod functions;
mod graph;
pub mod liveness;
mod model;
pub mod order;
mod scope;
pub mod shapes;
mod sort;
pub mod split;
mod tensor_data;
mod verify;
mod visit;

pub use bind::Binding;
pub use error::{ErrorKind, GraphError};
pub use externalize::{ExternalPolicy, SavedExternal};
pub use extract::Extracted;
pub use graph::{Dimension, Graph, Node, NodeId, TensorId, TensorInfo, TensorKind};
pub use model::Model;

/// The ONNX schema (`proto/onnx.proto`) as prost types.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod onnx {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}
