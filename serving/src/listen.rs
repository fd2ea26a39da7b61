use rustix::net::{AddressFamily, sockopt};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::{TcpListener, UnixListener};

use crate::ServingError;

/// [`Listen::Inherited`] in words.
const INHERITED: &str = "stdin";

/// Where a function listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// The listening socket that is standard input, whoever made it: a supervisor that keeps it
    /// while no process is there, as inetd(8) does for its `wait` services and systemd for
    /// `StandardInput=socket`.
    Inherited,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == INHERITED {
            return Ok(Self::Inherited);
        }
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` needs a path".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .strip_prefix("tcp:")
                .unwrap_or(text)
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "expected ADDRESS:PORT, unix:PATH or stdin".to_owned()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Inherited => formatter.write_str(INHERITED),
        }
    }
}

/// A bound listener.
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket, whose file goes with it if it is this process's.
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    /// Binds the address. A socket file that nobody listens on is replaced.
    ///
    /// # Errors
    /// When the address is in use, is no address of this machine, or its folder cannot be written;
    /// when standard input is no listening socket.
    pub async fn bind(listen: &Listen) -> Result<Self, ServingError> {
        let bound = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Listen::Unix(path) => bind_unix(path).await,
            Listen::Inherited => inherited(io::stdin().as_fd()),
        };
        bound.map_err(|source| ServingError::Listen { address: listen.to_string(), source })
    }

    /// The address in use, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> Listen {
        match self {
            Self::Tcp(listener) => {
                Listen::Tcp(listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0))))
            }
            Self::Unix(_, file) => {
                file.as_ref().map_or(Listen::Inherited, |file| Listen::Unix(file.path.clone()))
            }
        }
    }
}

/// Binds a socket only this user can connect to. A socket that nobody answers on is left
/// from a process that was killed, and is replaced.
async fn bind_unix(path: &Path) -> io::Result<Listener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match tokio::net::UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
        },
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile { path: path.to_owned(), inode: std::fs::symlink_metadata(path)?.ino() };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(Listener::Unix(listener, Some(file)))
}

/// Listens on another descriptor of the same socket. Its file, if it has one, is not this process's.
fn inherited(descriptor: BorrowedFd<'_>) -> io::Result<Listener> {
    let no_socket = |_| io::Error::new(io::ErrorKind::InvalidInput, "standard input is no listening socket");
    if !sockopt::socket_acceptconn(descriptor).map_err(no_socket)? {
        return Err(no_socket(rustix::io::Errno::INVAL));
    }
    let family = sockopt::socket_domain(descriptor).map_err(no_socket)?;
    let own = descriptor.try_clone_to_owned()?;
    if family == AddressFamily::UNIX {
        let listener = std::os::unix::net::UnixListener::from(own);
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix(UnixListener::from_std(listener)?, None));
    }
    let listener = std::net::TcpListener::from(own);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Listener::Tcp)
}

/// Removes the socket when dropped, unless another process has put its own there.
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/tranche/slice-0", "stdin"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "localhost:80", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_listening_socket_is_taken_over_and_its_file_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let kept = std::os::unix::net::UnixListener::bind(&path).unwrap();
        // One that came before anybody accepted is not lost.
        let _early = tokio::net::UnixStream::connect(&path).await.unwrap();
        let taken = inherited(kept.as_fd()).unwrap();
        assert_eq!(taken.address(), Listen::Inherited);
        let Listener::Unix(listener, None) = &taken else { panic!("not a Unix socket of another's") };
        listener.accept().await.unwrap();
        drop(taken);
        assert!(path.exists());
        let _late = tokio::net::UnixStream::connect(&path).await.unwrap();
        kept.accept().unwrap();
    }

    #[tokio::test]
    async fn what_does_not_listen_is_refused() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        for descriptor in [socket.as_fd(), file.as_fd()] {
            let error = inherited(descriptor).err().unwrap();
            assert_eq!(error.to_string(), "standard input is no listening socket");
        }
    }
}
