//! The side that starts a measuring process, and asks it ([`crate::measure`]).

use crate::ProfilerError;
use crate::measure::{LOADED, MeasureRequest, Measurement};
use serde::de::Error as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tranche_host::{ControlGroup, HostError, Placement};
use tranche_schema::Millis;

/// What a measuring process is started as.
#[derive(Clone, Debug)]
pub struct ChildProgram {
    /// The program.
    pub program: PathBuf,
    /// Arguments that make it run [`crate::measure::answer`].
    pub arguments: Vec<String>,
}

/// A measuring process with its model loaded. Ends when it is dropped.
pub(crate) struct MeasuringProcess {
    child: Child,
    input: Option<ChildStdin>,
    /// Lines that it wrote, with the times at which they came.
    lines: Receiver<(Instant, String)>,
    messages: Option<JoinHandle<String>>,
    model: PathBuf,
    deadline: Duration,
    ends: Instant,
}

/// What a process told that was started to measure.
pub(crate) struct Started {
    /// For further runs.
    pub process: MeasuringProcess,
    /// From its start until it could take requests.
    pub start_up: Millis,
    /// The rest.
    pub measurement: Measurement,
}

impl MeasuringProcess {
    /// Starts a process in `group`, and waits for what it measures.
    ///
    /// It has `deadline` for that and for everything it is asked later.
    ///
    /// # Errors
    /// When it cannot be started, fails, or outlives the deadline.
    pub fn start(
        program: &ChildProgram,
        request: &MeasureRequest,
        group: Option<&ControlGroup>,
        deadline: Duration,
    ) -> Result<Started, ProfilerError> {
        let text = serde_json::to_string(request)?;
        let mut command = Command::new(&program.program);
        command.args(&program.arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Nobody would wait for it: it must not outlive this process, however that ends.
        let placement = Placement { group, die_with_parent: true, ..Placement::default() };
        let started = Instant::now();
        let mut child = tranche_host::spawn(command, placement)
            .map_err(|error| match error {
                HostError::Spawn { source, .. } => source,
                other => std::io::Error::other(other.to_string()),
            })
            .map_err(|source| ProfilerError::Start { program: program.program.clone(), source })?
            .child;
        let mut process = Self {
            input: child.stdin.take(),
            lines: lines(child.stdout.take()),
            messages: Some(drain(child.stderr.take())),
            model: request.model.clone(),
            deadline,
            ends: started + deadline,
            child,
        };
        process.ask(&text);
        let (loaded, line) = process.line()?;
        if line != LOADED {
            return Err(ProfilerError::Protocol(serde_json::Error::custom(format!("`{line}`"))));
        }
        let measurement = serde_json::from_str(&process.line()?.1)?;
        Ok(Started { process, start_up: Millis::from(loaded - started), measurement })
    }

    /// Times of further runs, in milliseconds.
    ///
    /// # Errors
    /// When the process fails or outlives its deadline.
    pub fn again(&mut self, runs: u32) -> Result<Vec<f64>, ProfilerError> {
        self.ask(&runs.to_string());
        Ok(serde_json::from_str(&self.line()?.1)?)
    }

    fn ask(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            // A process that died shows when its answer is waited for.
            let _ = writeln!(input, "{line}");
        }
    }

    fn line(&mut self) -> Result<(Instant, String), ProfilerError> {
        let left = self.ends.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                Err(ProfilerError::Deadline { model: self.model.clone(), deadline: self.deadline })
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.failure()),
        }
    }

    /// Why it wrote no more. It has closed its output, so it has ended or is about to.
    fn failure(&mut self) -> ProfilerError {
        let left = self.ends.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let status = match tranche_host::wait_with_deadline(&mut self.child, left) {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "it closed its output and did not end".to_owned(),
            Err(error) => error.to_string(),
        };
        self.stop();
        let messages = self.messages.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let lines: Vec<&str> = messages.trim().lines().collect();
        ProfilerError::Child {
            model: self.model.clone(),
            status,
            message: lines[lines.len().saturating_sub(5)..].join("\n"),
        }
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for MeasuringProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lines(stream: Option<impl std::io::Read + Send + 'static>) -> Receiver<(Instant, String)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let Some(stream) = stream else { return };
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    receiver
}

fn drain(stream: Option<impl std::io::Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
