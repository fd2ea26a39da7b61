//! The process that keeps a revision running.
//!
//! One thread, the main one, owns all state and starts all processes; others
//! only wait (for ends, for readiness, for requests, for signals) and tell it.

use super::control::{self, Reply, Request};
use super::function::{Function, FunctionEvent};
use super::log::Log;
use super::revision::{self, ProcessIdentity, Processes, Revision, log_file, log_folder};
use crate::DeployError;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tranche_schema::Document;

/// How long the main thread may take to answer a request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);
/// After being killed a function must be gone in this time.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// Functions know their time to drain; they end by themselves this much later at
/// the latest.
const GRACE: Duration = Duration::from_millis(500);
/// The main thread looks around at least so often.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

enum Event {
    Function(FunctionEvent),
    Request(Request, Sender<Reply>),
    Terminate,
}

/// Keeps the revision in `folder` running until it is told to stop, over its
/// control socket or by SIGTERM; then removes its processes, control groups,
/// sockets and mapped files. The hidden verb `__supervise` calls this, on the
/// main thread.
///
/// # Errors
/// When the revision cannot be read, its sockets or groups cannot be made, or
/// something of it cannot be removed at the end.
pub fn supervise(folder: &Path) -> Result<(), DeployError> {
    let revision = Revision::read_from(folder)?;
    let log_path = log_folder(folder).join("supervisor.log");
    let log = Log::open(&log_path).map_err(DeployError::file("open", &log_path))?;
    let (events, received) = mpsc::channel();
    let socket = revision.control_socket();
    let listener = UnixListener::bind(&socket).map_err(DeployError::file("listen at", &socket))?;
    let mut supervisor = Supervisor::new(folder, revision, log)?;
    // Written before the first function starts: a destroy after a crash finds all.
    supervisor.record()?;
    listen_for_signals(events.clone());
    listen_for_requests(listener, events.clone());
    supervisor.run(&function_events(events), &received);
    supervisor.clean_up()
}

struct Supervisor {
    folder: PathBuf,
    revision: Revision,
    log: Log,
    functions: Vec<Function>,
    /// Set once it is to stop: when functions that still run are killed.
    stopping: Option<Instant>,
    killed: bool,
}

impl Supervisor {
    fn new(folder: &Path, revision: Revision, log: Log) -> Result<Self, DeployError> {
        let mut functions = Vec::new();
        for (index, spec) in revision.functions.iter().enumerate() {
            let path = log_file(folder, &spec.name);
            let log = Log::open(&path).map_err(DeployError::file("open", &path))?;
            let prefix = revision.group_prefix();
            functions.push(Function::new(index, spec.clone(), &revision.control_groups, &prefix, log)?);
        }
        Ok(Self { folder: folder.to_owned(), revision, log, functions, stopping: None, killed: false })
    }

    fn run(&mut self, function_events: &Sender<FunctionEvent>, received: &Receiver<Event>) {
        self.log.note(&format!("supervising {} functions", self.functions.len()));
        for function in &mut self.functions {
            function.begin(function_events);
        }
        self.record_or_note();
        while !self.is_done() {
            match received.recv_timeout(self.wait()) {
                Ok(event) => self.on_event(event, function_events),
                Err(RecvTimeoutError::Timeout) => {}
                // Senders live in this very function: it cannot happen, and ending is right.
                Err(RecvTimeoutError::Disconnected) => self.begin_stop("its threads ended"),
            }
            self.on_time(function_events);
        }
    }

    fn on_event(&mut self, event: Event, function_events: &Sender<FunctionEvent>) {
        match event {
            Event::Function(FunctionEvent::Ready { index, start }) => {
                if let Some(function) = self.functions.get_mut(index) {
                    function.on_ready(start);
                }
            }
            Event::Function(FunctionEvent::Exited { index, start, status }) => {
                if let Some(function) = self.functions.get_mut(index) {
                    function.on_exit(start, status, function_events);
                    self.log.note(&format!("function {} ended", function.name()));
                }
                self.record_or_note();
            }
            Event::Function(FunctionEvent::Wanted { index, start }) => {
                let function = self.functions.get_mut(index).filter(|_| self.stopping.is_none());
                if function.is_some_and(|function| function.on_wanted(start, function_events)) {
                    self.record_or_note();
                }
            }
            Event::Request(Request::Scale { function: name, run }, reply) => {
                let named =
                    |function: &&mut Function| name.as_deref().is_none_or(|name| function.name() == name);
                for function in self.functions.iter_mut().filter(named) {
                    if run { function.wake(function_events) } else { function.rest() }
                }
                self.record_or_note();
                let _ = reply.send(Reply::Scaling);
            }
            Event::Request(Request::Status, reply) => {
                let functions = self.functions.iter().map(Function::status).collect();
                let _ = reply.send(Reply::Status { functions });
            }
            Event::Request(Request::Stop, reply) => {
                let _ = reply.send(Reply::Stopping);
                self.begin_stop("asked to");
            }
            Event::Terminate => self.begin_stop("terminated"),
        }
    }

    fn on_time(&mut self, function_events: &Sender<FunctionEvent>) {
        match self.stopping {
            None => {
                let mut restarted = false;
                for function in &mut self.functions {
                    restarted |= function.restart_if_due(function_events);
                }
                if restarted {
                    self.record_or_note();
                }
            }
            Some(deadline) if !self.killed && deadline <= Instant::now() => {
                self.killed = true;
                self.log.note("killing what has not drained in time");
                for function in self.functions.iter_mut().filter(|function| !function.is_stopped()) {
                    function.kill();
                }
            }
            Some(_) => {}
        }
    }

    fn begin_stop(&mut self, why: &str) {
        if self.stopping.is_none() {
            self.log.note(&format!("stopping: {why}"));
            self.stopping = Some(Instant::now() + self.revision.drain() + GRACE);
            for function in &mut self.functions {
                function.stop();
            }
        }
    }

    fn is_done(&self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        // What survives even SIGKILL is reported by the clean-up.
        self.functions.iter().all(Function::is_stopped) || Instant::now() >= deadline + KILL_DEADLINE
    }

    /// Until the next restart or deadline is due.
    fn wait(&self) -> Duration {
        let restarts = self.functions.iter().filter_map(Function::due);
        let next = match self.stopping {
            Some(deadline) if !self.killed => Some(deadline),
            Some(_) => None,
            None => restarts.min(),
        };
        next.map_or(LONGEST_WAIT, |next| next.saturating_duration_since(Instant::now()).min(LONGEST_WAIT))
    }

    fn record(&self) -> Result<(), DeployError> {
        let process_id = std::process::id();
        let processes = Processes {
            header: Processes::header(),
            supervisor: ProcessIdentity { process_id, start_ticks: tranche_host::start_ticks(process_id)? },
            functions: self.functions.iter().filter_map(Function::identity).collect(),
        };
        Ok(processes.write(&Processes::path(&self.folder))?)
    }

    fn record_or_note(&self) {
        if let Err(error) = self.record() {
            self.log.note(&error.to_string());
        }
    }

    fn clean_up(self) -> Result<(), DeployError> {
        for function in &self.functions {
            function.remove_group()?;
        }
        revision::remove_folders(&self.revision)?;
        self.record()?;
        self.log.note("stopped");
        Ok(())
    }
}

fn function_events(events: Sender<Event>) -> Sender<FunctionEvent> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for event in receiver {
            if events.send(Event::Function(event)).is_err() {
                return;
            }
        }
    });
    sender
}

fn listen_for_requests(listener: UnixListener, events: Sender<Event>) {
    control::serve(listener, move |request| {
        let (reply, answered) = mpsc::channel();
        let sent = events.send(Event::Request(request, reply)).is_ok();
        let answer = if sent { answered.recv_timeout(ANSWER_DEADLINE).ok() } else { None };
        answer.unwrap_or_else(|| Reply::Refused { reason: "the supervisor is busy or ending".to_owned() })
    });
}

/// SIGTERM and SIGINT stop in order, as `stop` does. SIGHUP is not caught: there
/// is no terminal to hang up.
fn listen_for_signals(events: Sender<Event>) {
    use tokio::signal::unix::{SignalKind, signal};
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = events.send(Event::Terminate);
        });
    });
}
