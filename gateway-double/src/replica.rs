//! One process of a function.

use crate::DoubleError;
use crate::launch::{Prepared, Program, Start};
use crate::logs::{Logs, Writer};
use crate::proxy::Pool;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tranche_host::{Cgroups, ControlGroup, Limits, Placement, ProcessHandle, Spawned};
use tranche_schema::{ByteCount, MilliCpu};

/// How long killed processes may take to go.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bit of SIGTERM in the masks of /proc/PID/status.
const SIGTERM_BIT: u64 = 1 << 14;

/// Starts processes from one thread that lives as long as the double: the kernel kills them
/// when it ends, however it does.
#[derive(Debug)]
pub(crate) struct Starter {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    cgroups: Cgroups,
    live: Arc<Live>,
}

/// How many processes are not cleared up yet.
#[derive(Debug, Default)]
struct Live {
    count: Mutex<usize>,
    fewer: Condvar,
}

impl Live {
    fn change(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner));
        self.fewer.notify_all();
    }
}

impl Starter {
    pub fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        // A failed start shows as a closed channel.
        let _ = std::thread::Builder::new().name("starter".to_owned()).spawn(move || {
            for job in queue {
                job();
            }
        });
        Self { jobs, cgroups: Cgroups::detect(), live: Arc::default() }
    }

    /// Waits until every process that was started has ended and was cleared up. Blocking.
    pub fn wait_for_all(&self) {
        let count = self.live.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.live.fewer.wait_timeout_while(count, KILL_TIMEOUT, |count| *count > 0);
        if waited.is_ok_and(|(_, timeout)| timeout.timed_out()) {
            tracing::error!("processes are left after {KILL_TIMEOUT:?}");
        }
    }

    fn start(&self, prepared: Prepared, group: &ControlGroup) -> Result<Started, DoubleError> {
        let Prepared { mut command, folder } = prepared;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (answer, result) = mpsc::channel();
        let group = group.clone();
        let closed = || {
            DoubleError::Host(tranche_host::HostError::Spawn {
                program: "a function".to_owned(),
                source: std::io::ErrorKind::BrokenPipe.into(),
            })
        };
        let job = move || {
            let placement = Placement { group: Some(&group), die_with_parent: true, new_session: true };
            let _ = answer.send(tranche_host::spawn(command, placement));
        };
        self.jobs.send(Box::new(job)).map_err(|_| closed())?;
        let spawned = result.recv().map_err(|_| closed())??;
        Ok(Started { spawned, folder })
    }
}

struct Started {
    spawned: Spawned,
    folder: Option<tempfile::TempDir>,
}

/// What a replica is started with.
pub(crate) struct Plan {
    pub function: String,
    pub namespace: &'static str,
    pub program: Arc<dyn Program>,
    pub start: Start,
    pub memory: Option<u64>,
    pub milli_cpu: Option<u64>,
}

/// A replica: running, or ended.
#[derive(Debug)]
pub(crate) struct Replica {
    pub instance: String,
    pub address: SocketAddr,
    /// Kubernetes: the probe answered 200 last.
    pub ready: AtomicBool,
    /// Kubernetes: probes failed in a row.
    pub failed_probes: AtomicU32,
    /// Idle connections to it.
    pub pool: Pool,
    handle: ProcessHandle,
    group: ControlGroup,
    ended: watch::Receiver<bool>,
    out_of_memory: Arc<AtomicBool>,
    cut: watch::Sender<bool>,
}

static INSTANCES: AtomicU64 = AtomicU64::new(0);

impl Replica {
    /// Starts a process. Blocking.
    pub fn start(starter: &Starter, logs: &Arc<Logs>, plan: &Plan) -> Result<Arc<Self>, DoubleError> {
        let number = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let instance = format!("{}-{}-{number}", plan.function, std::process::id());
        let mut start = plan.start.clone();
        start.address = free_address()?;
        let limits = Limits { memory: plan.memory.map(ByteCount), cpu: plan.milli_cpu.and_then(milli_cpu) };
        let name = format!("tranche-double-{}-{number}", std::process::id());
        let group = starter.cgroups.create(&name, limits)?;
        let made = Unfinished(Some(group));
        let group = made.0.clone().unwrap_or_default();
        if limits.memory.is_some() && !group.enforced().memory {
            let reason = group.notice().unwrap_or("no reason is known").to_owned();
            return Err(DoubleError::Limit { function: plan.function.clone(), reason });
        }
        let mut started = starter.start(plan.program.prepare(&start)?, &group)?;
        if let Some(notice) = started.spawned.notice.take().filter(|_| limits.memory.is_some()) {
            let _ = started.spawned.child.kill();
            let _ = started.spawned.child.wait();
            return Err(DoubleError::Limit { function: plan.function.clone(), reason: notice });
        }
        let writer =
            Writer { function: plan.function.clone(), namespace: plan.namespace, instance: instance.clone() };
        if let Some(pipe) = started.spawned.child.stdout.take() {
            logs.follow(writer.clone(), pipe);
        }
        if let Some(pipe) = started.spawned.child.stderr.take() {
            logs.follow(writer, pipe);
        }
        made.keep();
        Ok(Arc::new(Self::watch(instance, start.address, started, group, &starter.live)))
    }

    /// Waits for the end in a thread of its own, which then clears up.
    fn watch(
        instance: String,
        address: SocketAddr,
        started: Started,
        group: ControlGroup,
        live: &Arc<Live>,
    ) -> Self {
        let Started { spawned, folder } = started;
        let (end, ended) = watch::channel(false);
        let out_of_memory = Arc::new(AtomicBool::new(false));
        let (killed, in_group) = (Arc::clone(&out_of_memory), group.clone());
        let mut child = spawned.child;
        live.change(|count| *count += 1);
        let done = Arc::clone(live);
        let wait = move || {
            let _ = child.wait();
            // Like the end of process 1: nothing of the container outlives it.
            let _ = in_group.kill(KILL_TIMEOUT);
            killed.store(in_group.oom_kills() > 0, Ordering::Relaxed);
            let _ = in_group.remove(KILL_TIMEOUT);
            drop(folder);
            end.send_replace(true);
            done.change(|count| *count -= 1);
        };
        if let Err(error) = std::thread::Builder::new().name("waiter".to_owned()).spawn(wait) {
            tracing::error!("cannot watch a process: {error}");
        }
        Self {
            instance,
            address,
            ready: AtomicBool::new(false),
            failed_probes: AtomicU32::new(0),
            pool: Pool::default(),
            handle: spawned.handle,
            group,
            ended,
            out_of_memory,
            cut: watch::channel(false).0,
        }
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        !*self.ended.borrow() && self.handle.is_running()
    }

    /// Whether the kernel killed it at its memory limit; known once it has ended.
    pub fn ran_out_of_memory(&self) -> bool {
        self.out_of_memory.load(Ordering::Relaxed) || self.group.oom_kills() > 0
    }

    /// Takes its network away: calls in flight hang until their time is up.
    pub fn cut_network(&self) {
        self.cut.send_replace(true);
    }

    /// Whether the network is there.
    pub fn is_connected(&self) -> bool {
        !*self.cut.borrow()
    }

    /// Ready when the network is taken away.
    pub async fn network_cut(&self) {
        let mut cut = self.cut.subscribe();
        if cut.wait_for(|cut| *cut).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ready when the process has ended and was cleared up.
    pub async fn has_ended(&self) {
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// SIGTERM, then SIGKILL after `grace`. Whether it ended by itself.
    ///
    /// It stands for process 1 of a container, to which the kernel passes only signals that
    /// it handles: without a handler SIGTERM is not sent.
    pub async fn stop(&self, grace: Duration) -> bool {
        if !self.is_running() {
            self.has_ended().await;
            return true;
        }
        if handles_sigterm(self.handle.process_id()) {
            let _ = self.handle.terminate();
        }
        if tokio::time::timeout(grace, self.has_ended()).await.is_ok() {
            return true;
        }
        self.kill();
        let _ = tokio::time::timeout(KILL_TIMEOUT, self.has_ended()).await;
        false
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let _ = self.handle.kill();
    }
}

/// Nobody knows the process any more: it goes too, as with the end of a call that started it.
impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A group that is removed unless a process was started in it.
struct Unfinished(Option<ControlGroup>);

impl Unfinished {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            let _ = group.kill(KILL_TIMEOUT);
            let _ = group.remove(KILL_TIMEOUT);
        }
    }
}

fn milli_cpu(milli: u64) -> Option<MilliCpu> {
    u32::try_from(milli).ok().map(MilliCpu)
}

/// Ports below those that the kernel gives to outgoing connections, so that none of these
/// takes one between the look and the function's start.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port that was free just now; not the same twice in a row.
fn free_address() -> Result<SocketAddr, DoubleError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let many = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(97);
    let mut failure = None;
    for _ in 0..many {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % many;
        let port = PORTS.start + u16::try_from(offset).unwrap_or(0);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|free| free.local_addr()) {
            Ok(address) => return Ok(address),
            Err(source) => failure = Some(source),
        }
    }
    let source = failure.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(DoubleError::Listen { address: format!("127.0.0.1:{PORTS:?}"), source })
}

/// Whether SIGTERM is caught (or, for a process that blocks it to read it from a descriptor,
/// blocked): what the kernel would deliver to process 1.
fn handles_sigterm(process_id: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
    let mask = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    ["SigCgt:", "SigBlk:"].iter().any(|field| mask(field).is_some_and(|bits| bits & SIGTERM_BIT != 0))
}
