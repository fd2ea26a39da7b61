//! Tensors in files: .npy, .npz, .safetensors and JSON.
//!
//! Reading is led by what is expected: a tensor is read only when its name,
//! element type and shape are those asked for, so no header can make the reader
//! allocate more than the model's inputs take. Only JSON, whose numbers have no
//! type, is converted.

mod error;
mod json;
mod npy;
mod safetensors;

pub use error::TensorFileError;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tranche_schema::{ElementType, Tensor, TensorSpec, has_json_form, write_tensors_json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    SafeTensors,
    Json,
}

impl Format {
    fn of(path: &Path) -> Result<Self, TensorFileError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("npz") => Ok(Self::Npz),
            Some("safetensors") => Ok(Self::SafeTensors),
            Some("json") => Ok(Self::Json),
            _ => Err(TensorFileError::Extension { path: path.to_owned() }),
        }
    }
}

/// Reads the tensors that `spec` names: `NAME=FILE`, or `FILE` alone, where the
/// names come from the file (.npz, .safetensors, .json) or from the only
/// expected tensor (.npy, and .json that is no object).
///
/// # Errors
/// When the file cannot be read, holds a tensor that is not expected, or holds
/// one with another type or shape than expected. Tensors that are expected and
/// not in this file are no error: another file may hold them.
pub fn read_tensors(spec: &str, expected: &[TensorSpec]) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    let (name, path) = split(spec);
    let format = Format::of(&path)?;
    match format {
        Format::Npy => {
            let wanted = single(name, &path, expected)?;
            let mut file = open(&path)?;
            let tensor = npy::read(&mut file, wanted).map_err(|reason| in_file(&path, wanted, reason))?;
            Ok(vec![(wanted.name.clone(), tensor)])
        }
        Format::Npz => read_npz(name, &path, expected),
        Format::SafeTensors => {
            let bytes = std::fs::read(&path)
                .map_err(|source| TensorFileError::Read { path: path.clone(), source })?;
            safetensors::read(&path, &bytes.into(), name, expected)
        }
        Format::Json => {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| TensorFileError::Read { path: path.clone(), source })?;
            json::read(&path, &text, name, expected)
        }
    }
}

/// The tensors of a JSON value that came from `origin`, as in a .json file.
///
/// # Errors
/// As [`read_tensors`].
pub fn from_json(
    origin: &Path,
    value: &serde_json::Value,
    expected: &[TensorSpec],
) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    json::read_value(origin, value, None, expected)
}

/// Writes tensors in the format that the path's extension names (.npy takes one
/// tensor only), whole or not at all. Equal tensors give equal bytes.
///
/// # Errors
/// When the extension is unknown, the format cannot hold a tensor's type, or the
/// file cannot be written.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), TensorFileError> {
    match Format::of(path)? {
        Format::Npy => {
            let [(name, tensor)] = tensors else {
                return Err(TensorFileError::OneTensorOnly { path: path.to_owned(), count: tensors.len() });
            };
            let header = npy::header(tensor).map_err(|reason| cannot_hold(path, name, reason))?;
            replace(path, |file| npy::write(file, &header, tensor))
        }
        Format::Npz => write_npz(path, tensors),
        Format::SafeTensors => {
            let bytes = safetensors::write(path, tensors)?;
            replace(path, |file| file.write_all(&bytes))
        }
        Format::Json => {
            if let Some((name, tensor)) =
                tensors.iter().find(|(_, tensor)| !has_json_form(tensor.element_type()))
            {
                return Err(cannot_hold(path, name, no_form(tensor.element_type())));
            }
            replace(path, |file| write_tensors_json(file, tensors))
        }
    }
}

/// `NAME=FILE` where the whole is not itself a file. Names of tensors and of
/// files may hold `=` too: the first split that leaves an existing file wins.
fn split(spec: &str) -> (Option<&str>, PathBuf) {
    if Path::new(spec).exists() {
        return (None, spec.into());
    }
    let mut first = None;
    for (at, _) in spec.match_indices('=') {
        let (Some(name), Some(path)) = (spec.get(..at), spec.get(at + 1..)) else { continue };
        if Path::new(path).exists() {
            return (Some(name), path.into());
        }
        first = first.or(Some((name, path)));
    }
    first.map_or((None, spec.into()), |(name, path)| (Some(name), path.into()))
}

/// The expected tensor of that name; without a name, the only one.
fn single<'a>(
    name: Option<&str>,
    path: &Path,
    expected: &'a [TensorSpec],
) -> Result<&'a TensorSpec, TensorFileError> {
    match (name, expected) {
        (Some(name), _) => find(name, path, expected),
        (None, [only]) => Ok(only),
        (None, _) => Err(TensorFileError::NameNeeded { path: path.to_owned(), valid: names(expected) }),
    }
}

fn find<'a>(name: &str, path: &Path, expected: &'a [TensorSpec]) -> Result<&'a TensorSpec, TensorFileError> {
    expected.iter().find(|spec| spec.name == name).ok_or_else(|| TensorFileError::Unknown {
        path: path.to_owned(),
        name: name.to_owned(),
        valid: names(expected),
    })
}

fn names(expected: &[TensorSpec]) -> String {
    let names: Vec<String> = expected.iter().map(|spec| format!("`{}`", spec.name)).collect();
    names.join(", ")
}

fn open(path: &Path) -> Result<BufReader<File>, TensorFileError> {
    File::open(path)
        .map(|file| BufReader::with_capacity(1 << 16, file))
        .map_err(|source| TensorFileError::Read { path: path.to_owned(), source })
}

fn read_npz(
    name: Option<&str>,
    path: &Path,
    expected: &[TensorSpec],
) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    let damaged = |reason: String| TensorFileError::Damaged { path: path.to_owned(), reason };
    let mut archive = zip::ZipArchive::new(open(path)?).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| damaged(error.to_string()))?;
        let entry_name = entry.name().map_err(|error| damaged(error.to_string()))?.into_owned();
        let array = entry_name.strip_suffix(".npy").unwrap_or(&entry_name);
        if name.is_some_and(|name| name != array) {
            continue;
        }
        let wanted = find(array, path, expected)?;
        let tensor = npy::read(&mut entry, wanted).map_err(|reason| in_file(path, wanted, reason))?;
        tensors.push((wanted.name.clone(), tensor));
    }
    if tensors.is_empty() {
        return Err(damaged(match name {
            Some(name) => format!("it holds no array `{name}`"),
            None => "it holds no array".to_owned(),
        }));
    }
    Ok(tensors)
}

fn write_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), TensorFileError> {
    let headers = tensors
        .iter()
        .map(|(name, tensor)| npy::header(tensor).map_err(|reason| cannot_hold(path, name, reason)))
        .collect::<Result<Vec<_>, _>>()?;
    replace(path, |file| {
        let mut archive = zip::ZipWriter::new(file);
        for ((name, tensor), header) in tensors.iter().zip(&headers) {
            // A fixed time: equal tensors give equal files.
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored)
                .last_modified_time(zip::DateTime::default())
                .unix_permissions(0o644)
                .large_file(npy::length(header, tensor) >= u64::from(u32::MAX));
            archive.start_file(format!("{name}.npy"), options)?;
            npy::write(&mut archive, header, tensor)?;
        }
        archive.finish()?;
        Ok(())
    })
}

/// Writes a file beside `path`, then renames it there.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), TensorFileError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let attempt = || {
        std::fs::create_dir_all(folder)?;
        // The mode that the user's mask makes of it, as for any file the user saves.
        let mode = std::fs::Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
        let mut writer = BufWriter::with_capacity(1 << 16, file.as_file_mut());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.persist(path)?;
        Ok(())
    };
    attempt().map_err(|source| TensorFileError::Write { path: path.to_owned(), source })
}

fn in_file(path: &Path, spec: &TensorSpec, reason: String) -> TensorFileError {
    TensorFileError::Tensor { path: path.to_owned(), tensor: spec.name.clone(), reason }
}

fn cannot_hold(path: &Path, name: &str, reason: String) -> TensorFileError {
    TensorFileError::CannotHold { path: path.to_owned(), tensor: name.to_owned(), reason }
}

fn no_form(element_type: ElementType) -> String {
    format!("this format has no {element_type}")
}

fn mismatch(found_type: &str, found_shape: &[u64], expected: &TensorSpec) -> String {
    format!("it is {found_type} {found_shape:?}, expected {} {:?}", expected.element_type, expected.shape)
}

/// Refuses bytes that are neither 0 nor 1 in a bool tensor: engines trust them.
fn check_bools(tensor: Tensor) -> Result<Tensor, String> {
    if tensor.element_type() == ElementType::Bool && tensor.data().iter().any(|&byte| byte > 1) {
        return Err("its bool elements are not all 0 or 1".to_owned());
    }
    Ok(tensor)
}
