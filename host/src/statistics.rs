//! Figures of single processes, from /proc.

use crate::HostError;
use std::io;
use std::path::{Path, PathBuf};
use tranche_schema::ByteCount;

fn proc_file(process_id: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{process_id}/{name}"))
}

fn read(process_id: u32, path: &Path) -> Result<String, HostError> {
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => HostError::NoProcess { process_id },
        _ if source.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            HostError::NoProcess { process_id }
        }
        _ => HostError::file("read", path)(source),
    })
}

/// A `Name:  123 kB` line of /proc/PID/status. A zombie has no memory lines.
fn status_bytes(process_id: u32, field: &'static str) -> Result<ByteCount, HostError> {
    let path = proc_file(process_id, "status");
    let text = read(process_id, &path)?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kibibytes| ByteCount(kibibytes * 1024))
        .ok_or(HostError::Field { path, field })
}

/// The most memory the process has had resident since it started, or since
/// [`reset_peak`] (VmHWM): anonymous and mapped file pages.
///
/// # Errors
/// When the process is gone or is a zombie.
pub fn peak_resident(process_id: u32) -> Result<ByteCount, HostError> {
    status_bytes(process_id, "VmHWM")
}

/// The memory the process has resident now (VmRSS).
///
/// # Errors
/// When the process is gone or is a zombie.
pub fn resident(process_id: u32) -> Result<ByteCount, HostError> {
    status_bytes(process_id, "VmRSS")
}

/// The anonymous part of [`resident`] (RssAnon): what the kernel cannot take
/// back by dropping file pages.
///
/// # Errors
/// When the process is gone or is a zombie.
pub fn anonymous_resident(process_id: u32) -> Result<ByteCount, HostError> {
    status_bytes(process_id, "RssAnon")
}

/// Sets the process's peak to what it has resident now.
///
/// # Errors
/// When the process is gone or belongs to another user.
pub fn reset_peak(process_id: u32) -> Result<(), HostError> {
    let path = proc_file(process_id, "clear_refs");
    std::fs::write(&path, "5").map_err(HostError::file("write", &path))
}

/// When the process started, in clock ticks since boot: with the id it names a
/// process for as long as the machine is up.
///
/// # Errors
/// When the process is gone.
pub fn start_ticks(process_id: u32) -> Result<u64, HostError> {
    Ok(stat(process_id)?.1)
}

/// Whether the process has ended and only waits for its parent to collect it.
pub(crate) fn is_zombie(process_id: u32) -> Result<bool, HostError> {
    Ok(matches!(stat(process_id)?.0, 'Z' | 'X'))
}

/// State and start ticks: fields 3 and 22 of /proc/PID/stat. The name in field
/// 2 may hold spaces and brackets, so fields are counted from the last bracket.
fn stat(process_id: u32) -> Result<(char, u64), HostError> {
    let path = proc_file(process_id, "stat");
    let text = read(process_id, &path)?;
    let fields: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let state = fields.first().and_then(|field| field.chars().next());
    let ticks = fields.get(19).and_then(|field| field.parse().ok());
    state.zip(ticks).ok_or(HostError::Field { path, field: "starttime" })
}
