use crate::encode::encode_to;
use crate::onnx::ModelProto;
use crate::tensor_data::is_external;
use crate::visit::try_tensors;
use crate::{ErrorKind, GraphError};
use bytes::Bytes;
use memmap2::Mmap;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tranche_schema::Digest;

/// The largest message that protobuf readers take.
const PROTOBUF_LIMIT: usize = i32::MAX as usize;

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
    /// A model built in memory, which can have no external data.
    #[must_use]
    pub fn from_proto(proto: ModelProto) -> Self {
        Self { proto, folder: None }
    }

    /// Loads a model over a memory map, which lasts as long as any of its tensors.
    ///
    /// The file must not be changed in place meanwhile (replacing it by renaming
    /// is fine).
    ///
    /// # Errors
    /// When the file cannot be read or is not an ONNX protobuf.
    pub fn load(path: &Path) -> Result<Self, GraphError> {
        let bytes = map_file(path).map_err(|error| GraphError::new(error.into()).in_file(path))?;
        let mut model = Self::decode(bytes).map_err(|error| error.in_file(path))?;
        model.folder = path.parent().map(Path::to_owned);
        Ok(model)
    }

    /// Decodes a model whose raw tensor data shares `bytes`.
    ///
    /// # Errors
    /// When the bytes are not an ONNX protobuf.
    pub fn decode(bytes: Bytes) -> Result<Self, GraphError> {
        Ok(Self::from_proto(ModelProto::decode(bytes).map_err(|error| GraphError::new(error.into()))?))
    }

    /// Writes the model as an ONNX protobuf, piece by piece: no second copy of
    /// the weights is made. Fields that this version of the schema does not know
    /// are not in it; otherwise the bytes are those that were loaded.
    ///
    /// # Errors
    /// When `writer` fails.
    pub fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        encode_to(&self.proto, writer)
    }

    /// Writes the model to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written, would be larger than protobuf allows
    /// (2 GiB), or would lie in another folder than the external data it refers to.
    pub fn save(&self, path: &Path) -> Result<(), GraphError> {
        if self.proto.encoded_len() > PROTOBUF_LIMIT {
            return Err(GraphError::unsupported(
                "is larger than the 2 GiB that protobuf allows; save it with external data",
            )
            .in_file(path));
        }
        if self.has_external_data() && !self.is_beside(path) {
            return Err(GraphError::new(ErrorKind::ExternalData(
                "its external data lies in another folder; save it with external data of its own".to_owned(),
            ))
            .in_file(path));
        }
        write_file(path, |writer| self.write_to(writer))
            .map_err(|error| GraphError::new(error.into()).in_file(path))
    }

    /// SHA-256 over the model as [`Model::write_to`] writes it, then over the
    /// contents of its external data files in name order: the digest of the file
    /// itself for a model without external data.
    ///
    /// # Errors
    /// When external data cannot be read.
    pub fn digest(&self) -> Result<Digest, GraphError> {
        let mut hash = Hasher(Sha256::new());
        self.write_to(&mut hash).map_err(|error| GraphError::new(error.into()))?;
        for path in self.external_files()? {
            File::open(&path)
                .and_then(|mut file| io::copy(&mut file, &mut hash))
                .map_err(|error| GraphError::new(error.into()).in_file(path))?;
        }
        Ok(Digest::from_hash(&hash.0.finalize()))
    }

    /// Whether any tensor's elements lie outside of the protobuf.
    #[must_use]
    pub fn has_external_data(&self) -> bool {
        self.proto.graph.as_ref().is_some_and(|graph| {
            try_tensors(graph, &mut |tensor| if is_external(tensor) { Err(()) } else { Ok(()) }).is_err()
        })
    }

    fn is_beside(&self, path: &Path) -> bool {
        let real = |folder: &Path| {
            if folder.as_os_str().is_empty() { Path::new(".").canonicalize() } else { folder.canonicalize() }
        };
        match (self.folder.as_deref().map(real), path.parent().map(real)) {
            (Some(Ok(own)), Some(Ok(other))) => own == other,
            _ => false,
        }
    }
}

/// A hash as a writer.
pub(crate) struct Hasher(pub(crate) Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to a temporary file beside `path`, then renames it there.
pub(crate) fn write_file<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // Readable by whom the user's mask allows, unlike a temporary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    let outcome = write(file.as_file_mut())?;
    file.persist(path)?;
    Ok(outcome)
}

fn map_file(path: &Path) -> io::Result<Bytes> {
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is read-only and lives as long as the bytes. The file must
    // not be cut short meanwhile, which the caller's contract says: model files
    // are inputs that nothing here writes, and files that tranche itself makes
    // are replaced by renaming, never changed in place.
    #[expect(unsafe_code, reason = "mapping a file")]
    let map = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}
