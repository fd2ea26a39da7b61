//! Whether a function answers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long one probe may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may take to send the rest of its answer.
const REST_TIMEOUT: Duration = Duration::from_millis(100);
/// How much of it is read.
const LONGEST_REST: u64 = 64 << 10;

/// Whether `GET /_/ready` over the socket answers 200.
pub(super) fn is_ready(socket: &Path) -> bool {
    status(socket).is_ok_and(|status| status == 200)
}

fn status(socket: &Path) -> io::Result<u16> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /_/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    // `HTTP/1.1 200`: nothing after it matters, but it is read, so that the
    // server does not write into a closed connection.
    let mut start = [0_u8; 12];
    stream.read_exact(&mut start)?;
    stream.set_read_timeout(Some(REST_TIMEOUT))?;
    let _ = stream.take(LONGEST_REST).read_to_end(&mut Vec::new());
    let digits = start.strip_prefix(b"HTTP/1.1 ").or_else(|| start.strip_prefix(b"HTTP/1.0 "));
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}
