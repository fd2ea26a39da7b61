//! The Python function as a process with limits.

use super::Environment;
use super::wire::{RawTensor, decode};
use crate::BenchError;
use bytes::Bytes;
use serde::Deserialize;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tranche_host::{Cgroups, ControlGroup, Limits, Placement, Spawned};
use tranche_schema::LimitsEnforced;

/// How long what is left in its group may take to die.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// Where and how it runs.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// What it runs in.
    pub environment: &'a Environment,
    /// Its program.
    pub handler: &'a Path,
    /// The model it loads.
    pub model: &'a Path,
    /// Threads of ONNX Runtime; 0 leaves its default.
    pub threads: u32,
    /// What it is held to.
    pub limits: Limits,
    /// Name of its control group, without the prefix.
    pub name: &'a str,
    /// How long it may take to load the model.
    pub start_deadline: Duration,
}

/// Whether it came up.
pub enum Started {
    /// It answers.
    Up(Box<PythonFunction>),
    /// It was killed, ended, or did not get ready in time: it has too little memory, or
    /// something is wrong. What it said last.
    Down(String),
}

/// A running Python function. It ends when it is dropped.
pub struct PythonFunction {
    process: Spawned,
    group: ControlGroup,
    model: PathBuf,
    url: String,
    client: reqwest::Client,
}

/// What a request to it gave.
pub struct Answer {
    /// What a platform would bill: from the last byte of the request to the first of the answer.
    pub billed_ms: f64,
    /// As its caller sees it.
    pub latency_ms: f64,
    /// The model's outputs.
    pub outputs: Vec<RawTensor>,
}

#[derive(Deserialize)]
struct Ready {
    port: u16,
}

impl PythonFunction {
    /// Starts it and waits until it has loaded its model. Must be called on a thread that
    /// outlives it: it dies with that thread.
    ///
    /// # Errors
    /// When its group or its process cannot be made.
    pub fn start(place: &Place<'_>) -> Result<Started, BenchError> {
        let group = Cgroups::detect().create(&format!("tranche-bench-{}", place.name), place.limits)?;
        let mut command = Command::new(place.environment.interpreter());
        command.arg(place.handler).arg(place.model).args(["--threads", &place.threads.to_string()]);
        // Neither the user's packages nor files compiled for another run.
        command.env("PYTHONNOUSERSITE", "1").env_remove("PYTHONPATH");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let placement = Placement { group: Some(&group), die_with_parent: true, new_session: true };
        let process = match tranche_host::spawn(command, placement) {
            Ok(process) => process,
            Err(error) => {
                let _ = group.remove(KILL_DEADLINE);
                return Err(error.into());
            }
        };
        let mut function = Self {
            process,
            group,
            model: place.model.to_owned(),
            url: String::new(),
            client: reqwest::Client::new(),
        };
        match function.port(place.start_deadline) {
            Ok(port) => {
                function.url = format!("http://127.0.0.1:{port}/");
                Ok(Started::Up(Box::new(function)))
            }
            Err(reason) => Ok(Started::Down(function.with_end(reason))),
        }
    }

    /// The port it says it listens on.
    fn port(&mut self, deadline: Duration) -> Result<u16, String> {
        let output = self.process.child.stdout.take().ok_or("has no output")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(output).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line =
            receiver.recv_timeout(deadline).map_err(|_| format!("did not get ready in {deadline:?}"))?;
        let ready: Ready = serde_json::from_str(&line).map_err(|_| "ended before it was ready".to_owned())?;
        Ok(ready.port)
    }

    /// Its control group.
    #[must_use]
    pub fn group(&self) -> &ControlGroup {
        &self.group
    }

    /// Which limits hold.
    #[must_use]
    pub fn limits(&self) -> LimitsEnforced {
        let inside = self.process.notice.is_none();
        let set = self.group.enforced();
        LimitsEnforced { memory: inside && set.memory, cpu: inside && set.cpu }
    }

    /// Sends it a request.
    ///
    /// # Errors
    /// When it does not answer in time, or with what is no answer.
    pub async fn invoke(&mut self, body: &Bytes, deadline: Duration) -> Result<Answer, BenchError> {
        let result = self.exchange(body, deadline).await;
        result.map_err(|reason| BenchError::Python {
            model: self.model.display().to_string(),
            reason: self.with_end(reason),
        })
    }

    async fn exchange(&self, body: &Bytes, deadline: Duration) -> Result<Answer, String> {
        let text = |error: reqwest::Error| {
            if error.is_timeout() {
                format!("did not answer in {deadline:?}")
            } else {
                format!("failed: {error}")
            }
        };
        let start = Instant::now();
        let answer =
            self.client.post(&self.url).body(body.clone()).timeout(deadline).send().await.map_err(text)?;
        let answer = answer.error_for_status().map_err(text)?;
        let billed = answer.headers().get("x-billed-ms").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = answer.bytes().await.map_err(text)?;
        let latency_ms = start.elapsed().as_secs_f64() * 1000.0;
        let billed_ms = billed.ok_or("answered without its billed time")?;
        let outputs = decode(&body).map_err(|reason| format!("gave no tensors: {reason}"))?;
        Ok(Answer { billed_ms, latency_ms, outputs })
    }

    /// `reason`, and how the process ended if it has.
    fn with_end(&mut self, reason: String) -> String {
        let ended = tranche_host::wait_with_deadline(&mut self.process.child, Duration::from_millis(200));
        match ended {
            Ok(Some(_)) if self.group.oom_kills() > 0 => format!("{reason}: killed at its memory limit"),
            Ok(Some(status)) => format!("{reason}: {status}"),
            _ => reason,
        }
    }
}

impl Drop for PythonFunction {
    fn drop(&mut self) {
        let _ = self.process.handle.kill();
        // Collected, so that its group becomes empty.
        let _ = tranche_host::wait_with_deadline(&mut self.process.child, KILL_DEADLINE);
        let _ = self.group.kill(KILL_DEADLINE);
        let _ = self.group.remove(KILL_DEADLINE);
    }
}
