//! Putting a finished folder in the place of a former one.

use crate::PackageError;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Makes a folder with `write` and moves it to `output` when it is whole.
///
/// What is at `output` is replaced when it is nothing, an empty folder, or a folder that
/// `is_ours`; it is removed last, and left as it was when anything fails.
pub(crate) fn replace_folder<T>(
    output: &Path,
    is_ours: impl FnOnce(&Path) -> bool,
    write: impl FnOnce(&Path) -> Result<T, PackageError>,
) -> Result<T, PackageError> {
    check_output(output, is_ours)?;
    let parent = parent_of(output);
    std::fs::create_dir_all(&parent).map_err(PackageError::io(&parent))?;
    let folder = temporary_folder(&parent)?;
    let result = write(folder.path())?;
    put_in_place(folder, &parent, output)?;
    Ok(result)
}

/// Writes a file of a folder that is moved as a whole.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    std::fs::File::create(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(PackageError::io(path))
}

fn parent_of(output: &Path) -> PathBuf {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn temporary_folder(parent: &Path) -> Result<tempfile::TempDir, PackageError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tranche-bundle-");
    // Readable by whom the user's mask allows, unlike a temporary folder.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent).map_err(PackageError::io(parent))
}

fn check_output(output: &Path, is_ours: impl FnOnce(&Path) -> bool) -> Result<(), PackageError> {
    let exists = || PackageError::OutputExists(output.to_owned());
    match std::fs::symlink_metadata(output) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(PackageError::io(output)(error)),
        Ok(found) if !found.is_dir() => return Err(exists()),
        Ok(_) => {}
    }
    let is_empty = std::fs::read_dir(output).map_err(PackageError::io(output))?.next().is_none();
    if is_empty || is_ours(output) { Ok(()) } else { Err(exists()) }
}

/// Moves the finished folder to `output`; what was there is removed last.
fn put_in_place(folder: tempfile::TempDir, parent: &Path, output: &Path) -> Result<(), PackageError> {
    let former = temporary_folder(parent)?;
    let kept = former.path().join("former");
    let had_former = match std::fs::rename(output, &kept) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(PackageError::io(output)(error)),
    };
    if let Err(error) = std::fs::rename(folder.path(), output) {
        if had_former {
            std::fs::rename(&kept, output).map_err(PackageError::io(output))?;
        }
        return Err(PackageError::io(output)(error));
    }
    // It lies at `output` now: there is nothing to remove.
    let _ = folder.keep();
    former.close().map_err(PackageError::io(&kept))
}
