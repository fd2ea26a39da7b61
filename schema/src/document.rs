use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The two fields that open every file, checked before the rest is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What the file is, as `tranche-plan`.
    pub format: String,
    /// The version of that format.
    pub version: u32,
}

/// A file that tranche reads and writes.
///
/// The JSON is pretty-printed with fields in declaration order and maps in key
/// order, so equal values give equal bytes.
pub trait Document: Serialize + DeserializeOwned {
    /// Value of the `format` field.
    const FORMAT: &'static str;
    /// Value of the `version` field; readers refuse any other.
    const VERSION: u32;

    /// A header for a new document.
    #[must_use]
    fn header() -> Header {
        Header { format: Self::FORMAT.to_owned(), version: Self::VERSION }
    }

    /// The document as JSON text with a final newline.
    ///
    /// # Errors
    /// When a value has no JSON form (a map key that is not a string).
    fn to_json(&self) -> Result<String, DocumentError> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| DocumentError::Encode { format: Self::FORMAT, source })?;
        text.push('\n');
        Ok(text)
    }

    /// Reads the document from JSON text; `origin` names it in errors.
    ///
    /// # Errors
    /// When the text is not JSON, is another format or version, or lacks a field.
    fn from_json(text: &str, origin: &Path) -> Result<Self, DocumentError> {
        let wrap = |source| DocumentError::Parse { path: origin.to_owned(), format: Self::FORMAT, source };
        let outer: HeaderOnly = serde_json::from_str(text).map_err(wrap)?;
        let found = outer.header;
        if found.format != Self::FORMAT {
            return Err(DocumentError::Format {
                path: origin.to_owned(),
                expected: Self::FORMAT,
                found: found.format,
            });
        }
        if found.version != Self::VERSION {
            return Err(DocumentError::Version {
                path: origin.to_owned(),
                format: Self::FORMAT,
                expected: Self::VERSION,
                found: found.version,
            });
        }
        serde_json::from_str(text).map_err(wrap)
    }

    /// Reads the document from a file.
    ///
    /// # Errors
    /// As [`Document::from_json`], and when the file cannot be read.
    fn read(path: &Path) -> Result<Self, DocumentError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| DocumentError::Read { path: path.to_owned(), source })?;
        Self::from_json(&text, path)
    }

    /// Writes the document to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn write(&self, path: &Path) -> Result<(), DocumentError> {
        let text = self.to_json()?;
        write_atomically(path, text.as_bytes())
            .map_err(|source| DocumentError::Write { path: path.to_owned(), source })
    }
}

#[derive(Deserialize)]
struct HeaderOnly {
    header: Header,
}

/// Writes `bytes` to a temporary file beside `path`, then renames it there.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is not what the format asks for.
    #[error("{} is not a valid {format} file: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The format expected.
        format: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file is of another kind.
    #[error("{} is a `{found}` file, expected `{expected}`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format expected.
        expected: &'static str,
        /// The format found.
        found: String,
    },
    /// The file is of another version.
    #[error("{} is {format} version {found}, this tranche reads version {expected}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// The version this program reads.
        expected: u32,
        /// The version found.
        found: u32,
    },
    /// The value has no JSON form.
    #[error("cannot write {format} as JSON: {source}")]
    Encode {
        /// The format.
        format: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl DocumentError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path and its permissions",
            Self::Write { .. } => "check that the folder exists, is writable and has space",
            Self::Parse { .. } => {
                "the file is damaged or was edited; make it again with the verb that writes it"
            }
            Self::Format { .. } => {
                "pass the file that this verb reads; see `tranche --help` for the order of verbs"
            }
            Self::Version { .. } => "make the file again with this version of tranche",
            Self::Encode { .. } => "this is a bug in tranche; please report it",
        }
    }
}
