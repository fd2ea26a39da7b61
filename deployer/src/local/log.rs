//! Logs of bounded size.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Size at which a log is put aside as `NAME.1`, in place of the one put aside before.
const LARGEST: u64 = 8 << 20;
/// Longest line that a reader gets whole.
const LONGEST_LINE: usize = 16 << 10;

/// A log that several writers share.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Mutex<Rotating>>);

#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    file: File,
    length: u64,
    largest: u64,
}

impl Log {
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with_size(path, LARGEST)
    }

    fn open_with_size(path: &Path, largest: u64) -> io::Result<Self> {
        let (file, length) = append(path)?;
        Ok(Self(Arc::new(Mutex::new(Rotating { path: path.to_owned(), file, length, largest }))))
    }

    /// Writes a line of the supervisor's own. A full disk loses it.
    pub fn note(&self, text: &str) {
        let _ = self.write(format!("[supervisor] {text}\n").as_bytes());
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.length > 0 && log.length + bytes.len() as u64 > log.largest {
            let aside = put_aside(&log.path);
            std::fs::rename(&log.path, aside)?;
            (log.file, log.length) = append(&log.path)?;
        }
        log.file.write_all(bytes)?;
        log.length += bytes.len() as u64;
        Ok(())
    }

    /// Copies all that comes out of `source` until its end, on a thread. When
    /// the disk is full the rest is thrown away, so that the writer never stalls.
    pub fn copy_from(&self, source: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut source = source;
            let mut buffer = vec![0_u8; LONGEST_LINE];
            loop {
                match source.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => {
                        let _ = log.write(buffer.get(..count).unwrap_or_default());
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn put_aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// The last `count` lines of a log (all when `None`), with those put aside.
/// Bytes that are no UTF-8 are replaced; a log that is not there is empty.
pub(super) fn tail(path: &Path, count: Option<usize>) -> Vec<String> {
    let count = count.unwrap_or(usize::MAX);
    let mut lines = VecDeque::new();
    for file in [put_aside(path), path.to_owned()] {
        let Ok(file) = File::open(file) else { continue };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while count > 0 && reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let end = line.len() - usize::from(line.ends_with(b"\n"));
            let end = end.min(LONGEST_LINE);
            if lines.len() == count {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned());
            line.clear();
        }
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_takes_more_than_twice_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let log = Log::open_with_size(&path, 1000).unwrap();
        for number in 0..200 {
            log.note(&format!("line {number}"));
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&path) <= 1000 && size(&put_aside(&path)) <= 1000);
        let lines = tail(&path, None);
        assert_eq!(lines.last().unwrap(), "[supervisor] line 199");
        assert!(lines.len() > 40, "both files are read: {}", lines.len());
        assert_eq!(tail(&path, Some(2)), ["[supervisor] line 198", "[supervisor] line 199"]);
        assert_eq!(tail(&path, Some(0)), Vec::<String>::new());
        assert_eq!(tail(&folder.path().join("none"), None), Vec::<String>::new());
    }
}
