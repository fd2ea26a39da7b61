//! Writing a model whose weights lie in content-addressed files beside it.

use crate::model::{Hasher, write_file};
use crate::onnx::{StringStringEntryProto, TensorProto, tensor_proto::DataLocation};
use crate::tensor_data::{Declared, is_external};
use crate::visit::try_tensors_mut;
use crate::{GraphError, Model};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use tranche_schema::{ByteCount, Digest, FileEntry};

/// Tensors up to this many bytes stay in the protobuf whatever the policy says:
/// among them are shapes, axes and scales, which engines read to infer shapes and
/// refuse to take from a file.
const SMALL: u64 = 1024;

/// Which weights go into files of their own, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalPolicy {
    /// Initialisers of up to this many bytes stay in the protobuf; those of up to
    /// 1 KiB always do.
    pub inline_limit: u64,
    /// Folder of the weight files, below the model's own; with `/` between parts.
    pub weights_folder: String,
}

impl Default for ExternalPolicy {
    fn default() -> Self {
        Self { inline_limit: 4096, weights_folder: "weights".to_owned() }
    }
}

/// What [`Model::save_external`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedExternal {
    /// The model file, by its name.
    pub model: FileEntry,
    /// The weight files it refers to, each once, by path below the model's folder.
    pub weights: Vec<FileEntry>,
}

impl Model {
    /// Writes the model to `model_path` with large initialisers in files of their
    /// own, one for each distinct content, named by its SHA-256.
    ///
    /// Each weight starts at offset 0 of its file, so that engines can map it.
    /// Files that are there already are kept: slices saved into one folder share
    /// them. Weights are written straight from the map of their source. The same
    /// model gives the same bytes.
    ///
    /// # Errors
    /// When a tensor is invalid, or a file cannot be read or written.
    pub fn save_external(
        &self,
        model_path: &Path,
        policy: &ExternalPolicy,
    ) -> Result<SavedExternal, GraphError> {
        let folder = model_path.parent().unwrap_or(Path::new(""));
        let mut weights = BTreeMap::new();
        let mut proto = self.proto.clone();
        if let Some(graph) = &mut proto.graph {
            try_tensors_mut(graph, &mut |tensor, is_initializer| {
                if !is_initializer || stays_inline(tensor, policy) {
                    return self.take_in(tensor);
                }
                let data = self.tensor_bytes(tensor)?;
                let entry = store(folder, policy, &data)
                    .map_err(|error| GraphError::new(error.into()).at_tensor(tensor.name()))?;
                point_to(tensor, &entry);
                weights.insert(entry.path.clone(), entry);
                Ok::<_, GraphError>(())
            })?;
        }
        let model = write_model(&Self { proto, folder: Some(folder.to_owned()) }, model_path)
            .map_err(|error| GraphError::new(error.into()).in_file(model_path))?;
        Ok(SavedExternal { model, weights: weights.into_values().collect() })
    }

    /// Makes an external tensor a raw one; leaves others as they are.
    fn take_in(&self, tensor: &mut TensorProto) -> Result<(), GraphError> {
        if is_external(tensor) {
            tensor.raw_data = Some(self.tensor_bytes(tensor)?);
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok(())
    }
}

fn stays_inline(tensor: &TensorProto, policy: &ExternalPolicy) -> bool {
    // A tensor without a known size is a string, or invalid and said to be so later.
    Declared::of(tensor)
        .ok()
        .and_then(|declared| declared.bytes)
        .is_none_or(|size| size <= policy.inline_limit.max(SMALL))
}

fn store(folder: &Path, policy: &ExternalPolicy, data: &Bytes) -> io::Result<FileEntry> {
    let digest = Digest::from_hash(&Sha256::digest(data));
    let name = format!("{}.bin", digest.hex());
    let relative = match policy.weights_folder.trim_end_matches('/') {
        "" => name,
        below => format!("{below}/{name}"),
    };
    let path = folder.join(&relative);
    let length = data.len() as u64;
    let is_there = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == length);
    if !is_there {
        write_file(&path, |file| file.write_all(data))?;
    }
    Ok(FileEntry { path: relative, bytes: ByteCount(length), digest })
}

fn point_to(tensor: &mut TensorProto, entry: &FileEntry) {
    let pair =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    tensor.raw_data = None;
    tensor.float_data.clear();
    tensor.int32_data.clear();
    tensor.int64_data.clear();
    tensor.double_data.clear();
    tensor.uint64_data.clear();
    tensor.external_data = vec![
        pair("location", entry.path.clone()),
        pair("offset", "0".to_owned()),
        pair("length", entry.bytes.0.to_string()),
    ];
    tensor.data_location = Some(DataLocation::External as i32);
}

fn write_model(model: &Model, path: &Path) -> io::Result<FileEntry> {
    let (bytes, digest) = write_file(path, |file| {
        let mut both = Both { file, hash: Hasher(Sha256::new()), bytes: 0 };
        model.write_to(&mut both)?;
        Ok((both.bytes, Digest::from_hash(&both.hash.0.finalize())))
    })?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(FileEntry { path: name, bytes: ByteCount(bytes), digest })
}

/// Writes to a file and hashes what it writes.
struct Both<'a> {
    file: &'a mut std::fs::File,
    hash: Hasher,
    bytes: u64,
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
