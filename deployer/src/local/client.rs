//! The other end of the control socket.

use super::control::{Reply, Request, read_line, write_line};
use crate::{DeployError, FunctionStatus};
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a supervisor may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How every function is.
pub(super) fn status(socket: &Path) -> Result<Vec<FunctionStatus>, DeployError> {
    match ask(socket, Request::Status)? {
        Reply::Status { functions } => Ok(functions),
        other => Err(nonsense(socket, &other)),
    }
}

/// Asks the supervisor to stop; it goes on draining after the answer.
pub(super) fn stop(socket: &Path) -> Result<(), DeployError> {
    match ask(socket, Request::Stop)? {
        Reply::Stopping => Ok(()),
        other => Err(nonsense(socket, &other)),
    }
}

/// Asks the supervisor to start functions that scale to zero, or to let them rest; it goes on doing so
/// after the answer.
pub(super) fn scale(socket: &Path, function: Option<&str>, run: bool) -> Result<(), DeployError> {
    match ask(socket, Request::Scale { function: function.map(str::to_owned), run })? {
        Reply::Scaling => Ok(()),
        other => Err(nonsense(socket, &other)),
    }
}

fn ask(socket: &Path, request: Request) -> Result<Reply, DeployError> {
    exchange(socket, request)
        .map_err(|error| DeployError::Control { socket: socket.to_owned(), reason: error.to_string() })
}

fn exchange(socket: &Path, request: Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write_line(&mut stream, &request)?;
    let line = read_line(&mut BufReader::new(stream))?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_str(&line)?)
}

fn nonsense(socket: &Path, reply: &Reply) -> DeployError {
    DeployError::Control { socket: socket.to_owned(), reason: format!("unexpected answer {reply:?}") }
}
