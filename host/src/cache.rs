//! The page cache of single files.

use crate::HostError;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::IoSliceMut;
use std::path::Path;

/// Drops a file's clean pages from the page cache, so that the next reader pays
/// for them (in time, and in its own control group's memory).
///
/// Pages that some process maps, and files of memory file systems, stay.
///
/// # Errors
/// When the file cannot be opened, or its file system takes no advice.
pub fn evict(path: &Path) -> Result<(), HostError> {
    let file = File::open(path).map_err(HostError::file("open", path))?;
    // Dirty pages are not dropped: they are written first.
    file.sync_data().map_err(HostError::file("flush", path))?;
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)
        .map_err(|errno| HostError::file("evict", path)(errno.into()))
}

/// Share of a file's sampled pages that the page cache holds, between 0 and 1.
///
/// Reads one byte of up to 256 evenly spaced pages and never from the disk.
///
/// # Errors
/// When the file cannot be read, or its file system cannot read from the cache alone.
pub fn cached_share(path: &Path) -> Result<f64, HostError> {
    const SAMPLES: u64 = 256;
    const PAGE: u64 = 4096;
    let file = File::open(path).map_err(HostError::file("open", path))?;
    let length = file.metadata().map_err(HostError::file("read", path))?.len();
    let pages = length.div_ceil(PAGE);
    let samples = pages.min(SAMPLES);
    let mut cached = 0_u64;
    for sample in 0..samples {
        let mut byte = [0_u8];
        let offset = sample * pages / samples * PAGE;
        let mut slices = [IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(&file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(_) => cached += 1,
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(HostError::file("read", path)(errno.into())),
        }
    }
    Ok(if samples == 0 { 1.0 } else { cached as f64 / samples as f64 })
}
