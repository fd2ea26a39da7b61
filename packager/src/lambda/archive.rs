//! Zip files whose bytes depend on nothing but what is in them.

use super::LambdaError;
use super::runtime::BUNDLE;
use crate::PackageError;
use crate::image::ImageError;
use crate::image::layer::{Content, Counted, Entry, keep};
use flate2::Compression;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;
use tranche_schema::{ByteCount, Digest};
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime, System};

/// Files of at least this size are tried before they are compressed.
const TRIED_BYTES: u64 = 256 * 1024;
/// How much of them.
const SAMPLE_BYTES: u64 = 1024 * 1024;
/// They are compressed where the sample shrinks to this share of its size or less: trained
/// floats shrink to about 0.92, which no limit is worth (docs/formats/lambda-packages.md).
const WORTHWHILE: f64 = 0.85;
/// Level of deflate for weights: higher ones take six times as long for a tenth.
const WEIGHTS_LEVEL: u32 = 1;
/// Level of deflate for programs and text: 9 takes twice as long for half a percent.
const LEVEL: u32 = 6;

/// A zip file as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: ByteCount,
    pub(super) unzipped: ByteCount,
    pub(super) digest: Digest,
}

/// Writes the files of `content` to `path`, through a temporary file beside it.
///
/// Entries are in the order of their paths, dated 1980-01-01 (where zip's dates begin), with
/// the modes of the content and no folders: those of paths are made by who unpacks. Files go
/// through in pieces, whatever their size. There is no zip64 in it: nothing larger than
/// [`UNZIPPED_BYTES`](super::limits::UNZIPPED_BYTES) is packed here, far below zip's 4 GiB,
/// and slices have hundreds of files, not 65,536.
pub(super) fn write_archive(content: &Content, path: &Path) -> Result<Written, PackageError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::NamedTempFile::new_in(folder).map_err(PackageError::io(folder))?;
    pack(content, temporary.as_file(), path)?;
    let unzipped = content.file_bytes()?;
    keep(temporary, path)?;
    let digest = Digest::of_file(path).map_err(PackageError::io(path))?;
    let bytes = ByteCount(path.metadata().map_err(PackageError::io(path))?.len());
    Ok(Written { bytes, unzipped, digest })
}

fn pack(content: &Content, file: &File, path: &Path) -> Result<(), PackageError> {
    let zip = |error: zip::result::ZipError| {
        PackageError::from(LambdaError::Zip { path: path.to_owned(), reason: error.to_string() })
    };
    let mut archive = ZipWriter::new(BufWriter::with_capacity(1 << 20, file));
    for (name, entry) in &content.entries {
        match entry {
            Entry::Folder { .. } => {}
            Entry::Bytes(bytes) => {
                archive.start_file(name.as_str(), options(0o644, Some(LEVEL))).map_err(zip)?;
                archive.write_all(bytes).map_err(PackageError::io(path))?;
            }
            Entry::File { mode, from } => {
                archive.start_file(name.as_str(), options(*mode, level(name, from)?)).map_err(zip)?;
                copy(from, &mut archive, path)?;
            }
        }
    }
    let mut writer = archive.finish().map_err(zip)?;
    writer.flush().map_err(PackageError::io(path))
}

/// Copies a file as long as it was at the start; errors name it, or `output`.
fn copy(from: &Path, archive: &mut ZipWriter<impl Write + Seek>, output: &Path) -> Result<(), PackageError> {
    let file = File::open(from).map_err(PackageError::io(from))?;
    let bytes = file.metadata().map_err(PackageError::io(from))?.len();
    let mut file = Counted { inner: file.take(bytes), bytes: 0 };
    io::copy(&mut file, archive).map_err(PackageError::io(output))?;
    if file.bytes == bytes {
        return Ok(());
    }
    Err(ImageError::Changed { path: from.to_owned() }.into())
}

/// Stored where there is no level.
fn options(mode: u32, level: Option<u32>) -> SimpleFileOptions {
    let options = SimpleFileOptions::default()
        .system(System::Unix)
        .last_modified_time(DateTime::default())
        .unix_permissions(mode);
    match level {
        Some(level) => {
            options.compression_method(CompressionMethod::Deflated).compression_level(Some(i64::from(level)))
        }
        None => options.compression_method(CompressionMethod::Stored),
    }
}

fn level(name: &str, from: &Path) -> Result<Option<u32>, PackageError> {
    let level = if name.starts_with(BUNDLE) { WEIGHTS_LEVEL } else { LEVEL };
    Ok(is_worthwhile(from)?.then_some(level))
}

/// Whether compressing a file is worth its time, by its first bytes.
fn is_worthwhile(path: &Path) -> Result<bool, PackageError> {
    let file = File::open(path).map_err(PackageError::io(path))?;
    if file.metadata().map_err(PackageError::io(path))?.len() < TRIED_BYTES {
        return Ok(true);
    }
    let mut counter = Counter(0);
    let mut encoder = flate2::write::DeflateEncoder::new(&mut counter, Compression::fast());
    let read = io::copy(&mut file.take(SAMPLE_BYTES), &mut encoder).map_err(PackageError::io(path))?;
    encoder.finish().map_err(PackageError::io(path))?;
    Ok(counter.0 as f64 <= read as f64 * WORTHWHILE)
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
