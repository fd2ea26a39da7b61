//! The listening socket of a function that starts with its first request.
//!
//! The supervisor makes it and keeps it; each process of the function is given it as its standard
//! input and accepts from it. While none is there, connections wait in the socket's queue, and the
//! first of them wakes the supervisor. So no request is lost, however a process ended.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Pause before a function is started without having been watched for, when the system refuses to
/// watch: better started in vain than never.
const BLIND_PAUSE: Duration = Duration::from_millis(500);
/// How long whoever is refused may take to send what nobody reads.
const DISCARD: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Activation(UnixListener);

impl Activation {
    /// Listens at the path, for this user only.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        // Of the socket, and so of every process that gets it; nobody may block in accepting.
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The socket, to be handed to a process.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone().map(Into::into)
    }

    /// Calls `wanted` on a thread of its own once a connection waits to be accepted.
    pub fn watch(&self, wanted: impl FnOnce() + Send + 'static) {
        let listener = self.descriptor();
        std::thread::spawn(move || {
            if listener.and_then(wait_until_readable).is_err() {
                std::thread::sleep(BLIND_PAUSE);
            }
            wanted();
        });
    }

    /// Answers all connections that wait with this failure, on a thread of its own.
    pub fn refuse(&self, message: &str, hint: &str) {
        let body = serde_json::json!({ "code": "load-failed", "message": message, "hint": hint }).to_string();
        let Ok(listener) = self.0.try_clone() else { return };
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let _ = answer(stream, &body);
            }
        });
    }
}

fn wait_until_readable(listener: OwnedFd) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        #[expect(unsafe_code, reason = "tokio watches any descriptor, if it stays the same")]
        // SAFETY: an `OwnedFd` is open and gives the same descriptor for as long as it lives, and
        // `watched` owns it.
        let watched = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?;
        watched.readable().await.map(drop)
    })
}

/// 500, before the request is read; what comes of it is read and dropped, so that its sender sees the
/// answer and no broken connection.
fn answer(mut stream: UnixStream, body: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(DISCARD))?;
    stream.set_read_timeout(Some(DISCARD))?;
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let (mut buffer, start) = ([0_u8; 16 << 10], Instant::now());
    while start.elapsed() < DISCARD {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_connection_wakes_and_is_kept_for_whoever_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("function-0");
        let activation = Activation::bind(&path).unwrap();
        let (woken, wakes) = mpsc::channel();
        activation.watch(move || woken.send(()).unwrap());
        assert!(wakes.recv_timeout(Duration::from_millis(50)).is_err());
        let _caller = UnixStream::connect(&path).unwrap();
        wakes.recv_timeout(Duration::from_secs(5)).unwrap();
        UnixListener::from(activation.descriptor().unwrap()).accept().unwrap();
    }

    #[test]
    fn all_who_wait_are_told_why_and_later_ones_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("function-0");
        let activation = Activation::bind(&path).unwrap();
        let mut callers: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        callers[0].write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").unwrap();
        activation.refuse("it did not start", "see its log");
        for mut caller in callers {
            let mut text = String::new();
            caller.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 500 ") && text.contains("it did not start"), "{text}");
        }
    }
}
