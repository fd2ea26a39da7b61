//! A replica's own root folder.

use crate::DoubleError;
use rustix::fs::{AtFlags, CWD, FileType, Mode};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

const SECRETS: &str = "var/openfaas/secrets";
/// Character devices that programs expect, with the kernel's numbers for them.
const DEVICES: [(&str, u32, u32); 5] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

/// Makes `target` a copy of `image` whose folders are its own and whose files are the image's
/// (hard links), as quick as it is small. A function that writes into a file of its image in
/// place would change it for others: only root may, and only where the modes let it.
pub(super) fn copy(image: &Path, target: &Path) -> Result<(), DoubleError> {
    let metadata = fs::symlink_metadata(image).map_err(DoubleError::file("read", image))?;
    make(target, &metadata).map_err(DoubleError::file("make", target))?;
    for entry in fs::read_dir(image).map_err(DoubleError::file("read", image))? {
        let source = entry.map_err(DoubleError::file("read", image))?.path();
        let copy_to = target.join(source.file_name().unwrap_or_default());
        let kind = fs::symlink_metadata(&source).map_err(DoubleError::file("read", &source))?;
        if kind.is_dir() {
            copy(&source, &copy_to)?;
        } else if kind.is_symlink() {
            let made = fs::read_link(&source).and_then(|link| symlink(link, &copy_to));
            made.map_err(DoubleError::file("make", &copy_to))?;
        } else {
            fs::hard_link(&source, &copy_to).map_err(DoubleError::file("link", &copy_to))?;
        }
    }
    Ok(())
}

fn make(folder: &Path, like: &fs::Metadata) -> io::Result<()> {
    fs::create_dir(folder)?;
    std::os::unix::fs::chown(folder, Some(like.uid()), Some(like.gid()))?;
    rustix::fs::chmod(folder, Mode::from_raw_mode(like.mode() & 0o7777))?;
    Ok(())
}

/// Adds what container engines add: /proc to mount on, devices, and secrets.
pub(super) fn furnish(root: &Path, secrets: &BTreeMap<String, Vec<u8>>) -> Result<(), DoubleError> {
    for name in ["proc", "dev"] {
        let folder = root.join(name);
        fs::create_dir_all(&folder).map_err(DoubleError::file("make", &folder))?;
    }
    for (name, major, minor) in DEVICES {
        let path = root.join("dev").join(name);
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, device) {
            Ok(()) => rustix::fs::chmodat(CWD, &path, mode, AtFlags::empty())
                .map_err(|errno| DoubleError::file("make", &path)(errno.into()))?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(DoubleError::file("make", &path)(errno.into())),
        }
    }
    if secrets.is_empty() {
        return Ok(());
    }
    let folder = root.join(SECRETS);
    fs::create_dir_all(&folder).map_err(DoubleError::file("make", &folder))?;
    for (name, value) in secrets {
        let path = folder.join(name);
        fs::write(&path, value).map_err(DoubleError::file("write", &path))?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o644))
            .map_err(|errno| DoubleError::file("write", &path)(errno.into()))?;
    }
    Ok(())
}
