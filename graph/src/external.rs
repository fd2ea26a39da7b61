//! External data: tensors whose elements lie in files beside the model.

use crate::onnx::TensorProto;
use crate::tensor_data::{Declared, is_external};
use crate::visit::try_tensors;
use crate::{ErrorKind, GraphError, Model};
use bytes::Bytes;
use memmap2::MmapOptions;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Where in which file the elements lie, checked to be there.
pub(crate) struct Region {
    path: PathBuf,
    file: File,
    offset: u64,
    length: u64,
}

impl Model {
    /// Finds the external data of a tensor and checks that it is confined to the
    /// model's folder and as long as type and shape ask.
    pub(crate) fn external_region(
        &self,
        tensor: &TensorProto,
        declared: &Declared,
    ) -> Result<Region, GraphError> {
        let fail = |message: String| external(message).at_tensor(tensor.name());
        let location = location(tensor).ok_or_else(|| fail("external data has no location".to_owned()))?;
        let folder = self.folder.as_deref().ok_or_else(|| {
            fail(format!("external data is in `{location}`, but the model was built in memory"))
        })?;
        let Some(expected) = declared.bytes else {
            return Err(fail(format!("strings cannot be external data, in `{location}`")));
        };
        let path = confine(folder, location).map_err(fail)?;
        let number =
            |key: &str| match entry(tensor, key) {
                None => Ok(None),
                Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| {
                    fail(format!("external data in `{location}` has {key} `{text}`, not a number"))
                }),
            };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(expected);
        if length != expected {
            return Err(fail(format!(
                "{} of shape {:?} needs {expected} bytes, its external data in `{location}` has {length}",
                declared.element_type, tensor.dims
            )));
        }
        let io =
            |error: io::Error| GraphError::new(ErrorKind::Io(error)).at_tensor(tensor.name()).in_file(&path);
        let file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(fail(format!(
                "needs {length} bytes from offset {offset} of external data `{location}`, which has {size}"
            )));
        }
        Ok(Region { path, file, offset, length })
    }

    /// The elements of an external tensor, shared with a map of just that region.
    pub(crate) fn external_bytes(
        &self,
        tensor: &TensorProto,
        declared: &Declared,
    ) -> Result<Bytes, GraphError> {
        let region = self.external_region(tensor, declared)?;
        if region.length == 0 {
            return Ok(Bytes::new());
        }
        let too_large = || external("too large for this machine".to_owned()).at_tensor(tensor.name());
        let length = usize::try_from(region.length).map_err(|_| too_large())?;
        // SAFETY: the map is read-only and lives as long as the bytes. As with
        // every map, the file must not be cut short meanwhile: model files are
        // inputs that nothing here writes, and files that tranche itself makes
        // are replaced by renaming, never changed in place.
        #[expect(unsafe_code, reason = "mapping a file")]
        let map = unsafe { MmapOptions::new().offset(region.offset).len(length).map(&region.file) };
        map.map(Bytes::from_owner).map_err(|error| {
            GraphError::new(ErrorKind::Io(error)).at_tensor(tensor.name()).in_file(region.path)
        })
    }

    /// The external data files of the model, in name order.
    ///
    /// # Errors
    /// When one is missing or outside of the model's folder.
    pub fn external_files(&self) -> Result<Vec<PathBuf>, GraphError> {
        let Some(graph) = &self.proto.graph else { return Ok(Vec::new()) };
        let mut names = BTreeSet::new();
        let mut files = Vec::new();
        try_tensors(graph, &mut |tensor| {
            let Some(location) = location(tensor).filter(|_| is_external(tensor)) else { return Ok(()) };
            if names.insert(location) {
                let fail = |message: String| external(message).at_tensor(tensor.name());
                let folder = self.folder.as_deref().ok_or_else(|| {
                    fail(format!("external data is in `{location}`, but the model was built in memory"))
                })?;
                files.push((location, confine(folder, location).map_err(fail)?));
            }
            Ok::<_, GraphError>(())
        })?;
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }
}

fn external(message: String) -> GraphError {
    GraphError::new(ErrorKind::ExternalData(message))
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
}

fn location(tensor: &TensorProto) -> Option<&str> {
    entry(tensor, "location").filter(|location| !location.is_empty())
}

/// The real path of `location` below `folder`, links followed; says why not.
fn confine(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(format!("external data `{location}` is outside of the model's folder"));
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("external data file `{location}` is missing"),
        _ => format!("external data file `{location}` cannot be read: {error}"),
    };
    let folder = folder.canonicalize().map_err(missing)?;
    let path = folder.join(relative).canonicalize().map_err(missing)?;
    if !path.starts_with(&folder) {
        return Err(format!("external data `{location}` is a link that leaves the model's folder"));
    }
    if !path.is_file() {
        return Err(format!("external data `{location}` is not a file"));
    }
    Ok(path)
}
