//! One function in the supervisor: its process, its group, its log.

use super::log::Log;
use super::probe;
use super::revision::{FunctionSpec, ProcessIdentity};
use crate::{DeployError, FunctionState, FunctionStatus, LastExit};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tranche_host::{Cgroups, ControlGroup, HostError, Limits, Placement, ProcessHandle, Spawned};
use tranche_schema::LimitsEnforced;

/// Pause before the first restart; doubled with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A function that has answered for this long has not failed in a row.
const STEADY: Duration = Duration::from_secs(10);
/// After so many ends in a row without ever answering it is left alone.
const GIVE_UP_AFTER: u32 = 8;
/// How long what is left in a group may take to die.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// Pauses between looks at whether it answers.
const PROBE_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// What threads of a function tell the supervisor.
#[derive(Debug)]
pub(super) enum FunctionEvent {
    /// It answers.
    Ready { index: usize, start: u64 },
    /// Its process has ended.
    Exited { index: usize, start: u64, status: Option<ExitStatus> },
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Starting,
    Ready { since: Instant },
    Waiting { until: Instant },
    Failed,
    Stopping,
    Stopped,
}

pub(super) struct Function {
    index: usize,
    spec: FunctionSpec,
    group: ControlGroup,
    log: Log,
    phase: Phase,
    /// Counts starts, so that news of an earlier process are told from this one's.
    /// Shared with the thread that probes, which ends when it moves on.
    start: Arc<AtomicU64>,
    process: Option<ProcessHandle>,
    restarts: u32,
    failures: u32,
    ever_ready: bool,
    out_of_memory_kills: u64,
    last_exit: Option<LastExit>,
    /// Why the process is not in its group.
    outside: Option<String>,
}

impl Function {
    pub fn new(
        index: usize,
        spec: FunctionSpec,
        groups: &Cgroups,
        prefix: &str,
        log: Log,
    ) -> Result<Self, HostError> {
        let limits = spec.size.map_or(Limits::default(), |size| Limits {
            memory: Some(size.memory_bytes),
            cpu: Some(size.cpu_milli),
        });
        let group = groups.create(&format!("{prefix}{index}"), limits)?;
        Ok(Self {
            index,
            spec,
            group,
            log,
            phase: Phase::Stopped,
            start: Arc::default(),
            process: None,
            restarts: 0,
            failures: 0,
            ever_ready: false,
            out_of_memory_kills: 0,
            last_exit: None,
            outside: None,
        })
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Its process, while there is one.
    pub fn identity(&self) -> Option<ProcessIdentity> {
        let process = self.process.as_ref()?;
        Some(ProcessIdentity { process_id: process.process_id(), start_ticks: process.start_ticks() })
    }

    /// Starts the process and the threads that watch it. Must be called on the
    /// supervisor's main thread: the process dies with the thread that started it.
    pub fn start(&mut self, events: &Sender<FunctionEvent>) {
        let start = self.start.fetch_add(1, Ordering::Relaxed) + 1;
        self.phase = Phase::Starting;
        match self.spawn() {
            Ok(Spawned { mut child, handle, notice }) => {
                self.log.note(&format!("started process {}", handle.process_id()));
                self.process = Some(handle);
                self.outside = notice;
                let (index, events_of_exit) = (self.index, events.clone());
                std::thread::spawn(move || {
                    let status = child.wait().ok();
                    let _ = events_of_exit.send(FunctionEvent::Exited { index, start, status });
                });
                self.probe(start, events.clone());
            }
            Err(error) => {
                self.log.note(&error.to_string());
                let _ = events.send(FunctionEvent::Exited { index: self.index, start, status: None });
            }
        }
    }

    fn spawn(&self) -> Result<Spawned, DeployError> {
        // A socket left by the process before would make the new one fail.
        let socket = &self.spec.socket;
        if let Err(error) = std::fs::remove_file(socket)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(DeployError::file("remove", socket)(error));
        }
        let pipe = || -> std::io::Result<_> {
            let (reader, writer) = std::io::pipe()?;
            Ok((reader, writer.try_clone()?, writer))
        };
        let (reader, stdout, stderr) =
            pipe().map_err(|source| HostError::Spawn { program: "a log pipe".to_owned(), source })?;
        let mut command = Command::new(&self.spec.program);
        command.args(&self.spec.arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let placement = Placement { group: Some(&self.group), die_with_parent: true, new_session: true };
        let spawned = tranche_host::spawn(command, placement)?;
        self.log.copy_from(reader);
        Ok(spawned)
    }

    fn probe(&self, start: u64, events: Sender<FunctionEvent>) {
        let (index, socket, current) = (self.index, self.spec.socket.clone(), Arc::clone(&self.start));
        std::thread::spawn(move || {
            let mut pause = PROBE_PAUSES.0;
            while current.load(Ordering::Relaxed) == start {
                if probe::is_ready(&socket) {
                    let _ = events.send(FunctionEvent::Ready { index, start });
                    return;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(PROBE_PAUSES.1);
            }
        });
    }

    pub fn on_ready(&mut self, start: u64) {
        if start == self.start.load(Ordering::Relaxed) && matches!(self.phase, Phase::Starting) {
            self.phase = Phase::Ready { since: Instant::now() };
            self.ever_ready = true;
            self.log.note("ready");
        }
    }

    /// Takes note of an end and decides what is next.
    pub fn on_exit(&mut self, start: u64, status: Option<ExitStatus>) {
        if start != self.start.load(Ordering::Relaxed) || self.is_stopped() {
            return;
        }
        self.start.fetch_add(1, Ordering::Relaxed);
        self.process = None;
        // What it forked goes with it.
        if let Err(error) = self.group.kill(KILL_DEADLINE) {
            self.log.note(&error.to_string());
        }
        let exit = self.describe(status);
        self.last_exit = Some(exit);
        self.log.note(&exit.to_string());
        let steady = match self.phase {
            Phase::Stopping => {
                self.phase = Phase::Stopped;
                return;
            }
            Phase::Ready { since } => since.elapsed() >= STEADY,
            _ => false,
        };
        self.failures = if steady { 1 } else { self.failures.saturating_add(1) };
        self.phase = if self.failures >= GIVE_UP_AFTER && !self.ever_ready {
            self.log.note("left alone: it has never answered");
            Phase::Failed
        } else {
            let pause = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_PAUSE);
            Phase::Waiting { until: Instant::now() + pause }
        };
    }

    fn describe(&mut self, status: Option<ExitStatus>) -> LastExit {
        let kills = self.group.oom_kills();
        let out_of_memory = kills > self.out_of_memory_kills;
        self.out_of_memory_kills = kills;
        LastExit {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            out_of_memory,
        }
    }

    /// When it is to be started again.
    pub fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        }
    }

    pub fn restart_if_due(&mut self, events: &Sender<FunctionEvent>) -> bool {
        let due = self.due().is_some_and(|until| until <= Instant::now());
        if due {
            self.restarts = self.restarts.saturating_add(1);
            self.start(events);
        }
        due
    }

    /// Asks it to finish its requests and end.
    pub fn stop(&mut self) {
        match &self.process {
            Some(process) => {
                if let Err(error) = process.terminate() {
                    self.log.note(&error.to_string());
                }
                self.phase = Phase::Stopping;
            }
            None => self.phase = Phase::Stopped,
        }
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        let direct = self.process.as_ref().map_or(Ok(()), ProcessHandle::kill);
        for error in [direct, self.group.kill(KILL_DEADLINE)].into_iter().filter_map(Result::err) {
            self.log.note(&error.to_string());
        }
    }

    /// Removes its group; it must have stopped.
    pub fn remove_group(&self) -> Result<(), HostError> {
        self.group.kill(KILL_DEADLINE)?;
        self.group.remove(KILL_DEADLINE)
    }

    pub fn status(&self) -> FunctionStatus {
        let process_id = self.process.as_ref().map(ProcessHandle::process_id);
        let of_process = |figure: fn(u32) -> Result<_, HostError>| figure(process_id?).ok();
        FunctionStatus {
            name: self.spec.name.clone(),
            state: match self.phase {
                Phase::Starting => FunctionState::Starting,
                Phase::Ready { .. } => FunctionState::Ready,
                Phase::Waiting { .. } => FunctionState::Restarting,
                Phase::Failed => FunctionState::Failed,
                Phase::Stopping | Phase::Stopped => FunctionState::Stopped,
            },
            process_id,
            restarts: self.restarts,
            last_exit: self.last_exit,
            memory_bytes: self.group.memory_current().or_else(|| of_process(tranche_host::resident)),
            memory_peak_bytes: self.group.memory_peak().or_else(|| of_process(tranche_host::peak_resident)),
            limits: self.limits(),
            notice: self.outside.as_deref().or(self.group.notice()).map(str::to_owned),
            replicas: None,
            image: None,
        }
    }

    /// Limits hold only for a process that is in its group.
    fn limits(&self) -> LimitsEnforced {
        if self.outside.is_some() { LimitsEnforced::default() } else { self.group.enforced() }
    }
}
