//! One function in the supervisor: its process, its group, its log.
//!
//! ```text
//! always on:      Starting → Ready → (ended) Waiting → Starting … Failed
//! scaled to zero: Idle → (a connection) Starting → Ready → (idle: it ends itself) Idle
//!                 a start or a process that failed: Waiting → Idle
//! ```

use super::activation::Activation;
use super::log::Log;
use super::probe;
use super::revision::{FunctionSpec, ProcessIdentity};
use crate::{DeployError, FunctionState, FunctionStatus, LastExit};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
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
/// After so many failed starts in a row those who wait for a function that scales to zero are told;
/// the next one after them starts it again.
const REFUSE_AFTER: u32 = 3;
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
    /// Somebody has connected to it while it was idle.
    Wanted { index: usize, start: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Its socket is watched; a connection starts it.
    Idle,
    Starting {
        since: Instant,
    },
    Ready {
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
    Failed,
    Stopping,
    Stopped,
}

pub(super) struct Function {
    index: usize,
    spec: FunctionSpec,
    group: ControlGroup,
    log: Log,
    /// Its socket, when it scales to zero.
    activation: Option<Activation>,
    phase: Phase,
    /// Counts starts, so that news of an earlier process are told from this one's.
    /// Shared with the thread that probes, which ends when it moves on.
    start: Arc<AtomicU64>,
    process: Option<ProcessHandle>,
    restarts: u32,
    failures: u32,
    /// Failed starts since it was last ready.
    failed_starts: u32,
    /// It was asked to end, to start again with the next connection.
    resting: bool,
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
    ) -> Result<Self, DeployError> {
        let activation = match spec.activated {
            false => None,
            true => {
                Some(Activation::bind(&spec.socket).map_err(DeployError::file("listen at", &spec.socket))?)
            }
        };
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
            activation,
            phase: Phase::Stopped,
            start: Arc::default(),
            process: None,
            restarts: 0,
            failures: 0,
            failed_starts: 0,
            resting: false,
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

    /// Starts it, or waits for whoever wants it.
    pub fn begin(&mut self, events: &Sender<FunctionEvent>) {
        let Some(activation) = &self.activation else { return self.start(events) };
        self.phase = Phase::Idle;
        let (index, start, events) = (self.index, self.start.load(Ordering::Relaxed), events.clone());
        activation.watch(move || {
            let _ = events.send(FunctionEvent::Wanted { index, start });
        });
    }

    /// Starts it for whoever has connected; whether it does.
    pub fn on_wanted(&mut self, start: u64, events: &Sender<FunctionEvent>) -> bool {
        let wanted = start == self.start.load(Ordering::Relaxed) && matches!(self.phase, Phase::Idle);
        if wanted {
            self.restarts = self.restarts.saturating_add(u32::from(self.failures > 0));
            self.start(events);
        }
        wanted
    }

    /// Starts the process and the threads that watch it. Must be called on the
    /// supervisor's main thread: the process dies with the thread that started it.
    pub fn start(&mut self, events: &Sender<FunctionEvent>) {
        let start = self.start.fetch_add(1, Ordering::Relaxed) + 1;
        self.phase = Phase::Starting { since: Instant::now() };
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
        let socket = &self.spec.socket;
        let input = match &self.activation {
            Some(activation) => {
                activation.descriptor().map_err(DeployError::file("hand over", socket))?.into()
            }
            None => {
                remove_left(socket)?;
                Stdio::null()
            }
        };
        let pipe = || -> std::io::Result<_> {
            let (reader, writer) = std::io::pipe()?;
            Ok((reader, writer.try_clone()?, writer))
        };
        let (reader, stdout, stderr) =
            pipe().map_err(|source| HostError::Spawn { program: "a log pipe".to_owned(), source })?;
        let mut command = Command::new(&self.spec.program);
        command.args(&self.spec.arguments).stdin(input).stdout(stdout).stderr(stderr);
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
        if start == self.start.load(Ordering::Relaxed)
            && let Phase::Starting { since } = self.phase
        {
            self.phase = Phase::Ready { since: Instant::now() };
            (self.ever_ready, self.failed_starts) = (true, 0);
            self.log.note(&format!("ready after {} ms", since.elapsed().as_millis()));
        }
    }

    /// Takes note of an end and decides what is next.
    pub fn on_exit(&mut self, start: u64, status: Option<ExitStatus>, events: &Sender<FunctionEvent>) {
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
        let asked = std::mem::take(&mut self.resting);
        let steady = match self.phase {
            Phase::Stopping => {
                self.phase = Phase::Stopped;
                return;
            }
            // It was idle, or was told to rest: it has not failed.
            Phase::Ready { .. } if self.activation.is_some() && (asked || exit.code == Some(0)) => {
                self.failures = 0;
                return self.begin(events);
            }
            Phase::Starting { .. } if asked => return self.begin(events),
            Phase::Ready { since } => since.elapsed() >= STEADY,
            _ => {
                self.failed_starts = self.failed_starts.saturating_add(1);
                false
            }
        };
        self.failures = if steady { 1 } else { self.failures.saturating_add(1) };
        if let Some(activation) = &self.activation
            && self.failed_starts >= REFUSE_AFTER
        {
            let message = format!("function `{}` did not start: {exit}", self.spec.name);
            self.log.note("those who wait for it are told");
            activation
                .refuse(&message, "see `tranche logs`; a function killed at its memory limit needs more");
        }
        self.phase = if self.activation.is_none() && self.failures >= GIVE_UP_AFTER && !self.ever_ready {
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

    /// When it is to be started again, or its start has taken too long.
    pub fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Starting { since } if self.activation.is_some() => {
                since.checked_add(self.spec.start_deadline())
            }
            _ => None,
        }
    }

    /// Ends a start that has taken too long: those who wait would wait for ever.
    fn give_up_start(&mut self) {
        self.log.note("not ready in time");
        self.kill();
        // Once is enough; the end of the process is an event.
        if let Phase::Starting { since } = &mut self.phase {
            *since = Instant::now();
        }
    }

    pub fn restart_if_due(&mut self, events: &Sender<FunctionEvent>) -> bool {
        let due = self.due().is_some_and(|until| until <= Instant::now());
        match self.phase {
            _ if !due => return false,
            Phase::Starting { .. } => self.give_up_start(),
            _ if self.activation.is_some() => self.begin(events),
            _ => {
                self.restarts = self.restarts.saturating_add(1);
                self.start(events);
            }
        }
        true
    }

    /// Ends its process until it is wanted again; it must scale to zero.
    pub fn rest(&mut self) {
        if let (Phase::Ready { .. } | Phase::Starting { .. }, Some(process)) = (self.phase, &self.process) {
            self.resting = true;
            if let Err(error) = process.terminate() {
                self.log.note(&error.to_string());
            }
        }
    }

    /// Starts it without being wanted.
    pub fn wake(&mut self, events: &Sender<FunctionEvent>) {
        if matches!(self.phase, Phase::Idle) {
            self.start(events);
        }
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
                Phase::Idle | Phase::Waiting { .. } if self.failed_starts >= REFUSE_AFTER => {
                    FunctionState::Failed
                }
                Phase::Idle => FunctionState::Idle,
                Phase::Starting { .. } => FunctionState::Starting,
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

/// A socket left by the process before would make the new one fail.
fn remove_left(socket: &Path) -> Result<(), DeployError> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DeployError::file("remove", socket)(error))
        }
        _ => Ok(()),
    }
}
