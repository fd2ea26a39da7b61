//! Processes that start inside their control group and end with their parent.

use crate::cgroup::ControlGroup;
use crate::{HostError, statistics};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often [`wait_with_deadline`] and [`ProcessHandle::wait_gone`] look.
const POLL: Duration = Duration::from_millis(5);

/// Where and how a process is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placement<'a> {
    /// The group it is in before its program starts, so that not a page of it
    /// escapes the limit.
    pub group: Option<&'a ControlGroup>,
    /// Whether the kernel kills it when the **thread** that started it ends:
    /// start it from a thread that lives as long as the parent should.
    pub die_with_parent: bool,
    /// Whether it leads a session of its own: no terminal, no job control.
    pub new_session: bool,
}

/// A started process.
#[derive(Debug)]
pub struct Spawned {
    /// For waiting and pipes.
    pub child: Child,
    /// For signals, from any thread.
    pub handle: ProcessHandle,
    /// Why it is not in every folder of its group; `None` when it is.
    pub notice: Option<String>,
}

/// Starts `command` as `placement` says.
///
/// A group that cannot be entered does not stop the process: [`Spawned::notice`]
/// tells.
///
/// # Errors
/// When the program cannot be started, or the parent died meanwhile.
pub fn spawn(mut command: Command, placement: Placement<'_>) -> Result<Spawned, HostError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| HostError::Spawn { program: program.clone(), source };
    let mut notices = Vec::new();
    let mut names = Vec::new();
    let mut entrances: Vec<File> = Vec::new();
    for (path, file) in placement.group.map(ControlGroup::entrances).unwrap_or_default() {
        match file {
            Ok(file) => {
                names.push(path);
                entrances.push(file);
            }
            Err(error) => notices.push(format!("cannot enter {}: {error}", path.display())),
        }
    }
    // Closed by a successful start of the program, so reading it ends then. Holds
    // one byte for each entrance that refused.
    let (mut reader, mut writer) = io::pipe().map_err(failed)?;
    let parent = rustix::process::getpid();
    let Placement { die_with_parent, new_session, .. } = placement;
    let between_fork_and_exec = move || {
        for (index, entrance) in entrances.iter_mut().enumerate() {
            if entrance.write_all(b"0").is_err() {
                writer.write_all(&[index as u8])?;
            }
        }
        if new_session {
            rustix::process::setsid()?;
        }
        if die_with_parent {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the request was in place.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::Error::from(rustix::io::Errno::SRCH));
            }
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "entering the group must happen between fork and exec")]
    // SAFETY: the closure runs in the forked child, where other threads are gone
    // and locks they held stay locked, so it may only make async-signal-safe
    // calls. It makes the system calls write, setsid, prctl and getppid on
    // values that were made before the fork; it allocates nothing (errors are
    // built from error numbers), locks nothing, and touches no state shared with
    // the parent.
    unsafe {
        command.pre_exec(between_fork_and_exec);
    }
    let child = command.spawn().map_err(failed)?;
    // Drops the closure and with it the parent's ends of pipe and entrances.
    drop(command);
    let mut refused = Vec::new();
    reader.read_to_end(&mut refused).map_err(failed)?;
    for index in refused {
        if let Some(path) = names.get(usize::from(index)) {
            notices.push(format!("the kernel refused the process entry to {}", path.display()));
        }
    }
    let handle = ProcessHandle::of_child(&child);
    Ok(Spawned { child, handle, notice: (!notices.is_empty()).then(|| notices.join("; ")) })
}

/// A process that can be signalled without hitting another that got its id.
#[derive(Debug)]
pub struct ProcessHandle {
    process_id: u32,
    start_ticks: u64,
    /// `None` on kernels before 5.3, where ids have to do.
    descriptor: Option<OwnedFd>,
}

impl ProcessHandle {
    /// The process with this id and start time, if it still runs.
    #[must_use]
    pub fn find(process_id: u32, start_ticks: u64) -> Option<Self> {
        let descriptor = descriptor(process_id);
        // Read after opening: equal ticks mean that the descriptor is this process's.
        let handle = Self { process_id, start_ticks, descriptor };
        handle.is_running().then_some(handle)
    }

    /// A child that has not been waited for, so that its id is still its own.
    fn of_child(child: &Child) -> Self {
        let process_id = child.id();
        Self {
            process_id,
            start_ticks: statistics::start_ticks(process_id).unwrap_or(0),
            descriptor: descriptor(process_id),
        }
    }

    /// Its id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// When it started, in clock ticks since boot.
    #[must_use]
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Whether it has not ended (a zombie has).
    #[must_use]
    pub fn is_running(&self) -> bool {
        let same = statistics::start_ticks(self.process_id).is_ok_and(|ticks| ticks == self.start_ticks);
        same && statistics::is_zombie(self.process_id).is_ok_and(|zombie| !zombie)
    }

    /// Asks it to end (SIGTERM). One that has ended is no error.
    ///
    /// # Errors
    /// When it belongs to another user.
    pub fn terminate(&self) -> Result<(), HostError> {
        self.signal(Signal::TERM)
    }

    /// Ends it (SIGKILL). One that has ended is no error.
    ///
    /// # Errors
    /// When it belongs to another user.
    pub fn kill(&self) -> Result<(), HostError> {
        self.signal(Signal::KILL)
    }

    /// Waits until it has ended; whether it has.
    #[must_use]
    pub fn wait_gone(&self, deadline: Duration) -> bool {
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    fn signal(&self, signal: Signal) -> Result<(), HostError> {
        let result = match (&self.descriptor, pid(self.process_id)) {
            (Some(descriptor), _) => rustix::process::pidfd_send_signal(descriptor, signal),
            (None, Some(id)) if self.is_running() => rustix::process::kill_process(id, signal),
            _ => Ok(()),
        };
        match result {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(HostError::Process {
                action: "signal",
                process_id: self.process_id,
                source: errno.into(),
            }),
        }
    }
}

fn pid(process_id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process_id).ok()?)
}

fn descriptor(process_id: u32) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid(process_id)?, PidfdFlags::empty()).ok()
}

/// Waits for a child until the deadline; `None` when it still runs.
///
/// # Errors
/// When it cannot be waited for.
pub fn wait_with_deadline(child: &mut Child, deadline: Duration) -> Result<Option<ExitStatus>, HostError> {
    let start = Instant::now();
    let process_id = child.id();
    loop {
        let status = child.try_wait().map_err(|source| HostError::Process {
            action: "wait for",
            process_id,
            source,
        })?;
        if status.is_some() || start.elapsed() >= deadline {
            return Ok(status);
        }
        std::thread::sleep(POLL);
    }
}
