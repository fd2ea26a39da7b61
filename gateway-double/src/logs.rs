//! What functions wrote, for /system/logs.

use serde::Serialize;
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// Lines kept, of all functions together.
const MOST_LINES: usize = 10_000;

/// One line of /system/logs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LogLine {
    name: String,
    namespace: &'static str,
    instance: String,
    timestamp: String,
    text: String,
    #[serde(skip)]
    time: Option<SystemTime>,
    #[serde(skip)]
    number: u64,
}

impl LogLine {
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The line and its end.
    pub fn json(&self) -> String {
        serde_json::to_string(self).map(|text| text + "\n").unwrap_or_default()
    }
}

/// Who wrote.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub function: String,
    pub namespace: &'static str,
    pub instance: String,
}

#[derive(Debug)]
pub(crate) struct Logs {
    lines: Mutex<VecDeque<Arc<LogLine>>>,
    /// Number of the line that comes next.
    next: watch::Sender<u64>,
}

impl Default for Logs {
    fn default() -> Self {
        Self { lines: Mutex::default(), next: watch::channel(0).0 }
    }
}

impl Logs {
    /// Reads a function's pipe to its end, in a thread of its own.
    pub fn follow(self: &Arc<Self>, writer: Writer, pipe: impl Read + Send + 'static) {
        let logs = Arc::clone(self);
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                logs.add(&writer, String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned());
                line.clear();
            }
        });
    }

    fn add(&self, writer: &Writer, text: String) {
        let now = SystemTime::now();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *self.next.borrow();
        lines.push_back(Arc::new(LogLine {
            name: writer.function.clone(),
            namespace: writer.namespace,
            instance: writer.instance.clone(),
            timestamp: humantime::format_rfc3339_nanos(now).to_string(),
            text,
            time: Some(now),
            number,
        }));
        if lines.len() > MOST_LINES {
            lines.pop_front();
        }
        drop(lines);
        self.next.send_replace(number + 1);
    }

    /// Lines of a function from number `from` on, written at or after `since`.
    pub fn of(&self, function: &str, from: u64, since: Option<SystemTime>) -> Vec<Arc<LogLine>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |line: &&Arc<LogLine>| {
            line.name == function
                && line.number >= from
                && since.is_none_or(|since| line.time.is_some_and(|time| time >= since))
        };
        lines.iter().filter(fits).cloned().collect()
    }

    /// Tells when lines are added.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }
}
