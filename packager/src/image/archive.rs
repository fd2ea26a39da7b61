use super::ImageError;
use super::layer::{append_file, append_folder, keep};
use crate::PackageError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Packs an OCI image layout into one tar file (`oci-archive`), which tools such as skopeo
/// and podman read. Equal layouts give equal bytes.
///
/// # Errors
/// When the folder holds no layout, or a file cannot be read or written. The archive is
/// written to a temporary file and renamed when whole.
pub fn write_archive(layout: &Path, path: &Path) -> Result<(), PackageError> {
    if !layout.join("oci-layout").is_file() || !layout.join("index.json").is_file() {
        return Err(ImageError::NoLayout { folder: layout.to_owned() }.into());
    }
    let mut files = BTreeMap::new();
    list(layout, "", &mut files)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(PackageError::io(folder))?;
    let file = tempfile::NamedTempFile::new_in(folder).map_err(PackageError::io(folder))?;
    pack(&files, file.as_file(), path)?;
    keep(file, path)
}

fn pack(files: &BTreeMap<String, Option<PathBuf>>, file: &File, path: &Path) -> Result<(), PackageError> {
    let mut archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
    for (name, from) in files {
        match from {
            Some(from) => append_file(&mut archive, name, 0o644, from, path)?,
            None => append_folder(&mut archive, name, 0o755, path)?,
        }
    }
    let mut writer = archive.into_inner().map_err(PackageError::io(path))?;
    writer.flush().map_err(PackageError::io(path))
}

/// Folders (`None`) and files by their path in the archive.
fn list(
    folder: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Option<PathBuf>>,
) -> Result<(), PackageError> {
    let io = |error| PackageError::io(folder)(error);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(io)?.is_dir() {
            list(&entry.path(), &format!("{name}/"), files)?;
            files.insert(name, None);
        } else {
            files.insert(name, Some(entry.path()));
        }
    }
    Ok(())
}
