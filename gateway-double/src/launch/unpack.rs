//! Layers onto a root folder. Nothing is written outside it, whatever a layer says.

use super::registry::hexadecimal;
use crate::DoubleError;
use flate2::read::GzDecoder;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use sha2::{Digest as _, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// Prefix of a file that takes another away from the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// Takes away all that the layers below put into the folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Mode of folders that no layer names.
const FOLDER: Mode = Mode::from_raw_mode(0o755);

/// A layer's tar stream.
pub(super) struct Layer<'a> {
    pub digest: &'a str,
    pub media_type: &'a str,
    /// Digest of the uncompressed stream, from the image's config.
    pub diff_id: &'a str,
}

/// Unpacks one layer over those before it.
pub(super) fn unpack(blob: &Path, layer: &Layer<'_>, root: &Path) -> Result<(), DoubleError> {
    let file = BufReader::new(File::open(blob).map_err(DoubleError::file("read", blob))?);
    let stream: Box<dyn Read> = if layer.media_type.ends_with("gzip") {
        Box::new(GzDecoder::new(file))
    } else if layer.media_type.ends_with("tar") {
        Box::new(file)
    } else {
        return Err(layer.wrong("", format!("layers of type `{}` are not known here", layer.media_type)));
    };
    let mut hashing = Hashing { stream, hash: Sha256::new() };
    let folder = open_root(root).map_err(DoubleError::file("open", root))?;
    let mut archive = tar::Archive::new(&mut hashing);
    let unreadable = |error: io::Error| layer.wrong("", error.to_string());
    for entry in archive.entries().map_err(unreadable)? {
        unpack_entry(entry.map_err(unreadable)?, layer, &folder)?;
    }
    // The rest counts for the digest: padding after the last entry.
    io::copy(&mut hashing, &mut io::sink()).map_err(unreadable)?;
    let found = format!("sha256:{}", hexadecimal(&hashing.hash.finalize()));
    if found != layer.diff_id {
        let what = format!("layer {} uncompressed", layer.digest);
        return Err(DoubleError::Digest { what, expected: layer.diff_id.to_owned(), found });
    }
    Ok(())
}

impl Layer<'_> {
    fn wrong(&self, path: &str, reason: String) -> DoubleError {
        DoubleError::Layer { digest: self.digest.to_owned(), path: path.to_owned(), reason }
    }
}

struct Hashing<R> {
    stream: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

fn unpack_entry<R: Read>(
    mut entry: tar::Entry<'_, R>,
    layer: &Layer<'_>,
    root: &OwnedFd,
) -> Result<(), DoubleError> {
    let raw = entry.path_bytes().into_owned();
    let shown = String::from_utf8_lossy(&raw).into_owned();
    let wrong = |reason: String| layer.wrong(&shown, reason);
    let failed = |errno: rustix::io::Errno| wrong(io::Error::from(errno).to_string());
    let path = inside(&raw).ok_or_else(|| wrong("it leaves the root folder".to_owned()))?;
    let Some(name) = path.file_name().map(OsStr::to_owned) else {
        // The root folder itself: only its mode counts.
        let mode = Mode::from_raw_mode(entry.header().mode().unwrap_or(0o755));
        return rustix::fs::fchmod(root, mode).map_err(failed);
    };
    let parent = open_folder(root, path.parent().unwrap_or(Path::new(""))).map_err(failed)?;
    if name.as_bytes() == OPAQUE {
        return remove_children(&parent).map_err(failed);
    }
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        return remove(&parent, OsStr::from_bytes(hidden)).map_err(failed);
    }
    let kind = entry.header().entry_type();
    if kind != EntryType::Directory {
        remove(&parent, &name).map_err(failed)?;
    }
    let mode = Mode::from_raw_mode(entry.header().mode().map_err(|error| wrong(error.to_string()))? & 0o7777);
    let owner = entry.header().uid().ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    let group = entry.header().gid().ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    let (owner, group) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)));
    match kind {
        EntryType::Regular | EntryType::Continuous => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&parent, &*name, flags, Mode::RUSR).map_err(failed)?;
            let mut file = File::from(file);
            io::copy(&mut entry, &mut file).map_err(|error| wrong(error.to_string()))?;
            // Owner first: changing it takes set-user-ID bits away.
            rustix::fs::fchown(&file, owner, group).map_err(failed)?;
            rustix::fs::fchmod(&file, mode).map_err(failed)
        }
        EntryType::Directory => {
            make_folder(&parent, &name).map_err(failed)?;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(&parent, &*name, flags, Mode::empty()).map_err(failed)?;
            rustix::fs::fchown(&folder, owner, group).map_err(failed)?;
            rustix::fs::fchmod(&folder, mode).map_err(failed)
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().ok_or_else(|| wrong("a link to nothing".to_owned()))?;
            rustix::fs::symlinkat(&*target, &parent, &*name).map_err(failed)?;
            rustix::fs::chownat(&parent, &*name, owner, group, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().ok_or_else(|| wrong("a link to nothing".to_owned()))?;
            let target =
                inside(&target).ok_or_else(|| wrong("its target leaves the root folder".to_owned()))?;
            let from = open_folder(root, target.parent().unwrap_or(Path::new(""))).map_err(failed)?;
            let target = target.file_name().unwrap_or_default();
            rustix::fs::linkat(&from, target, &parent, &*name, AtFlags::empty()).map_err(failed)
        }
        EntryType::XGlobalHeader => Ok(()),
        other => Err(wrong(format!("entries of type {other:?} are not unpacked"))),
    }
}

/// The entry's path below the root, or `None` when it is absolute or has `..`.
fn inside(raw: &[u8]) -> Option<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(raw.to_vec()));
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| matches!(part, Component::Normal(_)).then_some(part))
        .collect()
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(root, flags, Mode::empty())?)
}

/// Opens a folder below the root, made where it is missing. Links in it lead to where they
/// would with the root as `/`: the kernel keeps them inside.
fn open_folder(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match rustix::fs::openat2(root, here, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT) => {
            let parent = open_folder(root, path.parent().ok_or(rustix::io::Errno::NOENT)?)?;
            // A link to nothing is there and stays: opening it fails again.
            match rustix::fs::mkdirat(&parent, path.file_name().ok_or(rustix::io::Errno::NOENT)?, FOLDER) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            rustix::fs::openat2(root, here, flags, Mode::empty(), resolve)
        }
        opened => opened,
    }
}

/// Makes the folder; what is there and is no folder is replaced.
fn make_folder(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(parent, name, FOLDER) {
        Err(rustix::io::Errno::EXIST) => {
            let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir() {
                return Ok(());
            }
            remove(parent, name)?;
            rustix::fs::mkdirat(parent, name, FOLDER)
        }
        made => made,
    }
}

/// Removes a file, link or folder with what is in it; one that is not there is no error.
fn remove(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            remove_children(&folder)?;
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        }
        Err(errno) => Err(errno),
    }
}

fn remove_children(folder: &OwnedFd) -> rustix::io::Result<()> {
    let entries: Vec<OsString> = rustix::fs::Dir::read_from(folder.as_fd())?
        .filter_map(Result::ok)
        .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
        .filter(|name| name != "." && name != "..")
        .collect();
    entries.iter().try_for_each(|name| remove(folder, name))
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
