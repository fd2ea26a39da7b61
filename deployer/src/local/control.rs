//! What is said over a supervisor's control socket: one JSON object a line,
//! a request and its reply.

use crate::FunctionStatus;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest request or reply.
pub(super) const LONGEST_LINE: u64 = 1 << 20;
/// Connections served at a time; more are closed at once.
const MOST_CONNECTIONS: usize = 16;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verb")]
pub(super) enum Request {
    /// How is everything?
    Status,
    /// End the functions, then yourself.
    Stop,
    /// Start functions that scale to zero, or let them rest until they are wanted.
    Scale {
        /// One of them; all when missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        function: Option<String>,
        /// To one process, or none.
        run: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub(super) enum Reply {
    Status { functions: Vec<FunctionStatus> },
    Stopping,
    Scaling,
    Refused { reason: String },
}

/// Reads one line of at most [`LONGEST_LINE`] bytes; `None` at the end.
pub(super) fn read_line(reader: &mut BufReader<UnixStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    let count = reader.by_ref().take(LONGEST_LINE).read_line(&mut line)?;
    match (count, line.ends_with('\n')) {
        (0, _) => Ok(None),
        (_, true) => Ok(Some(line)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long or cut off")),
    }
}

pub(super) fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Serves connections on a thread for as long as the process lives. `answer` is
/// called on the connection's thread.
pub(super) fn serve<F>(listener: UnixListener, answer: F)
where
    F: Fn(Request) -> Reply + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, most likely: others may close.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            if open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (answer, open) = (Arc::clone(&answer), Arc::clone(&open));
            std::thread::spawn(move || {
                let _ = converse(stream, answer.as_ref());
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
}

fn converse(mut stream: UnixStream, answer: &dyn Fn(Request) -> Reply) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(line) = read_line(&mut reader)? {
        let reply = match serde_json::from_str(&line) {
            Ok(request) => answer(request),
            Err(error) => Reply::Refused { reason: format!("not a request: {error}") },
        };
        write_line(&mut stream, &reply)?;
    }
    Ok(())
}
