//! Layers: tar archives whose bytes depend on nothing but what is in them.

use super::ImageError;
use crate::PackageError;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tranche_schema::{ByteCount, Digest};

/// How hard a layer is compressed. Every layer is gzip, the one compression that all
/// registries and runtimes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Programs and text, packed once and pulled often: the smallest.
    Smallest,
    /// Weights, as they are: trained floats shrink by a tenth or so, which is less than
    /// unpacking them costs on each host that has not seen them.
    Stored,
}

/// What lies at a path.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Folder { mode: u32 },
    Bytes(Vec<u8>),
    File { mode: u32, from: PathBuf },
}

/// The files of a layer or an archive, in the order of their paths. Paths have `/` between
/// their parts and none at the start.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// A layer as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Digest of the compressed bytes.
    pub(crate) digest: Digest,
    /// Digest of the archive itself, by which image configurations know it.
    pub(crate) diff_id: Digest,
    /// Size of the compressed bytes.
    pub(crate) bytes: ByteCount,
}

impl Content {
    /// Adds a folder; folders above it need no mention.
    #[must_use]
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.insert(path, Entry::Folder { mode });
        self
    }

    /// Adds a file that all may read.
    #[must_use]
    pub fn bytes(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.insert(path, Entry::Bytes(bytes.into()));
        self
    }

    /// Adds a file of this machine that all may read.
    #[must_use]
    pub fn file(mut self, path: &str, from: &Path) -> Self {
        self.insert(path, Entry::File { mode: 0o644, from: from.to_owned() });
        self
    }

    /// Adds a program of this machine.
    #[must_use]
    pub fn program(mut self, path: &str, from: &Path) -> Self {
        self.insert(path, Entry::File { mode: 0o755, from: from.to_owned() });
        self
    }

    /// Writes the files as a gzip-compressed tar archive, to a temporary file and then to
    /// `path`. Equal files give equal bytes.
    ///
    /// # Errors
    /// When a file cannot be read or has changed, or the archive cannot be written.
    pub fn write_archive(&self, path: &Path) -> Result<(), PackageError> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).map_err(PackageError::io(folder))?;
        let temporary = tempfile::NamedTempFile::new_in(folder).map_err(PackageError::io(folder))?;
        self.pack(Effort::Smallest, temporary.as_file(), path)?;
        keep(temporary, path)
    }

    /// Folders above come first, because a path sorts after its beginnings.
    fn insert(&mut self, path: &str, entry: Entry) {
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Folder { mode: 0o755 });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Sum of the files' sizes.
    ///
    /// # Errors
    /// When a file cannot be looked at.
    pub(crate) fn file_bytes(&self) -> Result<ByteCount, PackageError> {
        let mut bytes = 0_u64;
        for entry in self.entries.values() {
            bytes += match entry {
                Entry::Folder { .. } => 0,
                Entry::Bytes(bytes) => bytes.len() as u64,
                Entry::File { from, .. } => from.metadata().map_err(PackageError::io(from))?.len(),
            };
        }
        Ok(ByteCount(bytes))
    }

    /// Writes the layer into `folder` under the digits of its digest. Owner and group are
    /// 0, times are the start of 1970, and gzip's header names neither time nor system.
    ///
    /// # Errors
    /// When a file cannot be read or has changed, or the layer cannot be written.
    pub(crate) fn write(&self, effort: Effort, folder: &Path) -> Result<Blob, PackageError> {
        let temporary = tempfile::NamedTempFile::new_in(folder).map_err(PackageError::io(folder))?;
        let blob = self.pack(effort, temporary.as_file(), folder)?;
        keep(temporary, &folder.join(blob.digest.hex()))?;
        Ok(blob)
    }

    fn pack(&self, effort: Effort, file: &File, folder: &Path) -> Result<Blob, PackageError> {
        let io = |error| PackageError::io(folder)(error);
        let level = match effort {
            Effort::Smallest => Compression::best(),
            Effort::Stored => Compression::none(),
        };
        let file = Hashing::new(io::BufWriter::with_capacity(1 << 20, file));
        let encoder = GzBuilder::new().mtime(0).operating_system(255).write(file, level);
        let mut archive = tar::Builder::new(Hashing::new(encoder));
        for (path, entry) in &self.entries {
            match entry {
                Entry::Folder { mode } => append_folder(&mut archive, path, *mode, folder)?,
                Entry::File { mode, from } => append_file(&mut archive, path, *mode, from, folder)?,
                Entry::Bytes(bytes) => {
                    let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
                    archive.append_data(&mut header, path, bytes.as_slice()).map_err(io)?;
                }
            }
        }
        let tar = archive.into_inner().map_err(io)?;
        let diff_id = tar.digest();
        let mut file = tar.inner.finish().map_err(io)?;
        file.flush().map_err(io)?;
        Ok(Blob { digest: file.digest(), diff_id, bytes: ByteCount(file.bytes) })
    }
}

/// Appends a folder; errors name `output`.
pub(crate) fn append_folder(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    mode: u32,
    output: &Path,
) -> Result<(), PackageError> {
    let mut header = header(tar::EntryType::Directory, mode, 0);
    archive.append_data(&mut header, format!("{path}/"), io::empty()).map_err(PackageError::io(output))
}

/// Appends a file of this machine; errors name it, or `output`.
pub(crate) fn append_file(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    mode: u32,
    from: &Path,
    output: &Path,
) -> Result<(), PackageError> {
    let file = File::open(from).map_err(PackageError::io(from))?;
    let bytes = file.metadata().map_err(PackageError::io(from))?.len();
    let mut file = Counted { inner: file.take(bytes), bytes: 0 };
    let mut header = header(tar::EntryType::Regular, mode, bytes);
    archive.append_data(&mut header, path, &mut file).map_err(PackageError::io(output))?;
    if file.bytes == bytes {
        return Ok(());
    }
    Err(ImageError::Changed { path: from.to_owned() }.into())
}

/// Without owner or time.
fn header(kind: tar::EntryType, mode: u32, bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Gives a finished temporary file its name.
pub(crate) fn keep(file: tempfile::NamedTempFile, path: &Path) -> Result<(), PackageError> {
    // Readable by all, unlike a temporary file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let readable = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(PackageError::io(path))?;
    }
    file.as_file().sync_all().map_err(PackageError::io(path))?;
    file.persist(path).map_err(|error| PackageError::io(path)(error.error))?;
    Ok(())
}

/// A reader that knows how much it has given.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// A writer that knows the digest of what went through it.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    fn digest(&self) -> Digest {
        Digest::from_hash(&self.hasher.clone().finalize())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
