//! Measures how tensors change hands between two processes, as JSON lines.
//!
//! `handoff FOLDER` plays the producer, with a consumer of its own in a second process. The
//! consumer waits in `read` on a socket pair: the way `signal` is that waking alone, which every
//! other way contains. Times run from the hand-off's start in the producer to the consumer having
//! read the first and the last cache line; `all` to it having read every line. Both read the
//! same clock of the system.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use bytes::Bytes;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tranche_transport::{LeaseReference, SharedFolder};

type Failure = Box<dyn std::error::Error>;

const LINE: usize = 64;
const MESSAGE_BYTES: usize = 128;
const WARM_UP: usize = 20;
/// Longer than any round: a consumer that died must not be waited for.
const DEADLINE: Duration = Duration::from_secs(10);
const SIZES: [(usize, usize); 4] = [(4 << 10, 3000), (64 << 10, 3000), (1 << 20, 1000), (16 << 20, 200)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Signal,
    SlotInPlace,
    SlotCopied,
    File,
    Socket,
    Memcpy,
    Checksum,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::Signal,
        Self::SlotInPlace,
        Self::SlotCopied,
        Self::File,
        Self::Socket,
        Self::Memcpy,
        Self::Checksum,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal alone",
            Self::SlotInPlace => "slot, written in place",
            Self::SlotCopied => "slot, copied into",
            Self::File => "new file",
            Self::Socket => "Unix socket",
            Self::Memcpy => "memcpy alone",
            Self::Checksum => "XXH3 alone",
        }
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [folder] => produce(folder),
        [folder, role] if role == "consume" => consume(folder),
        _ => Err("give a folder, in memory or elsewhere, that does not exist yet".into()),
    }
}

fn now() -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

/// What is sent: when the hand-off began, how many bytes follow, and the lease, if there is one.
struct Message {
    began: u64,
    following: u64,
    lease: Option<LeaseReference>,
}

impl Message {
    fn bytes(&self) -> [u8; MESSAGE_BYTES] {
        let mut bytes = [0; MESSAGE_BYTES];
        let (name, length) = self.lease.as_ref().map_or(("", 0), |lease| (&lease.name, lease.length));
        bytes[..8].copy_from_slice(&self.began.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.following.to_le_bytes());
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        bytes[24] = name.len() as u8;
        bytes[25..25 + name.len()].copy_from_slice(name.as_bytes());
        bytes
    }

    fn parse(bytes: &[u8; MESSAGE_BYTES]) -> Result<Self, Failure> {
        let number =
            |at: usize| -> Result<u64, Failure> { Ok(u64::from_le_bytes(bytes[at..at + 8].try_into()?)) };
        let name = std::str::from_utf8(&bytes[25..25 + usize::from(bytes[24])])?.to_owned();
        let length = number(16)?;
        let lease = (!name.is_empty()).then_some(LeaseReference { name, offset: 0, length });
        Ok(Self { began: number(0)?, following: number(8)?, lease })
    }
}

fn consume(folder: &str) -> Result<(), Failure> {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let folder = SharedFolder::open(Path::new(folder))?;
    let mut buffer = vec![0; SIZES[SIZES.len() - 1].0];
    let mut message = [0; MESSAGE_BYTES];
    while socket.read_exact(&mut message).is_ok() {
        let message = Message::parse(&message)?;
        let mapped: Bytes;
        let bytes = if let Some(lease) = &message.lease {
            mapped = folder.map(lease)?;
            &mapped[..]
        } else {
            let bytes = &mut buffer[..usize::try_from(message.following)?];
            socket.read_exact(bytes)?;
            bytes
        };
        let ends = bytes.first().into_iter().chain(bytes.last());
        std::hint::black_box(ends.map(|&byte| u64::from(byte)).sum::<u64>());
        let first_and_last = now()? - message.began;
        std::hint::black_box(bytes.iter().step_by(LINE).map(|&byte| u64::from(byte)).sum::<u64>());
        let all = now()? - message.began;
        let mut answer = [0; 16];
        answer[..8].copy_from_slice(&first_and_last.to_le_bytes());
        answer[8..].copy_from_slice(&all.to_le_bytes());
        socket.write_all(&answer)?;
    }
    Ok(())
}

struct Producer {
    folder: SharedFolder,
    socket: UnixStream,
    source: Vec<u8>,
    target: Vec<u8>,
}

/// Nanoseconds of one hand-off.
#[derive(Clone, Copy, Default)]
struct Taken {
    first_and_last: u64,
    all: u64,
    /// Until the bytes were where the consumer finds them; for what one process does alone, all of it.
    producer: u64,
}

fn produce(path: &str) -> Result<(), Failure> {
    let folder = SharedFolder::create(Path::new(path))?;
    let (socket, other) = UnixStream::pair()?;
    let mut consumer = start_consumer(path, other)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    let mut producer = Producer { folder, socket, source: Vec::new(), target: Vec::new() };
    let measured = measure(&mut producer, path);
    drop(producer);
    consumer.wait()?;
    std::fs::remove_dir_all(path)?;
    measured
}

fn start_consumer(path: &str, socket: UnixStream) -> Result<Child, Failure> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program).args([path, "consume"]).stdin(Stdio::from(OwnedFd::from(socket))).spawn()?)
}

fn measure(producer: &mut Producer, path: &str) -> Result<(), Failure> {
    for (size, rounds) in SIZES {
        producer.source = (0..size).map(|index| (index % 251) as u8).collect();
        producer.target = vec![1; size];
        let mut taken = Way::ALL.map(|_| Vec::with_capacity(rounds));
        // The ways take turns, so that what else the machine does meets all of them.
        for round in 0..WARM_UP + rounds {
            for (way, taken) in Way::ALL.into_iter().zip(&mut taken) {
                let once = producer.hand_over(way, round as u8)?;
                if round >= WARM_UP {
                    taken.push(once);
                }
            }
        }
        for (way, taken) in Way::ALL.into_iter().zip(taken) {
            println!("{}", line(way, size, taken, path)?);
        }
    }
    Ok(())
}

impl Producer {
    fn hand_over(&mut self, way: Way, round: u8) -> Result<Taken, Failure> {
        let size = self.source.len();
        let (began, started, lease) = match way {
            Way::Signal | Way::Socket => (now()?, Instant::now(), None),
            Way::SlotInPlace => {
                let mut writer = self.folder.reserve(size)?;
                writer.fill(round); // As an engine writes its output.
                let (began, started) = (now()?, Instant::now());
                (began, started, Some(writer.publish()))
            }
            Way::SlotCopied => {
                let (began, started) = (now()?, Instant::now());
                let mut writer = self.folder.reserve(size)?;
                writer.copy_from_slice(&self.source);
                (began, started, Some(writer.publish()))
            }
            Way::File => {
                let (began, started) = (now()?, Instant::now());
                (began, started, Some(self.folder.write(&self.source)?))
            }
            Way::Memcpy => {
                return Ok(alone(|| {
                    std::hint::black_box(&mut self.target)
                        .copy_from_slice(std::hint::black_box(&self.source));
                }));
            }
            Way::Checksum => {
                // What each side of a frame does with a tensor's bytes besides.
                return Ok(alone(|| {
                    std::hint::black_box(xxhash_rust::xxh3::xxh3_64(std::hint::black_box(&self.source)));
                }));
            }
        };
        let following = if way == Way::Socket { size as u64 } else { 0 };
        let placed = started.elapsed();
        self.socket.write_all(&Message { began, following, lease: lease.clone() }.bytes())?;
        if way == Way::Socket {
            self.socket.write_all(&self.source)?;
        }
        let producer = if way == Way::Socket { started.elapsed() } else { placed };
        let mut answer = [0; 16];
        self.socket.read_exact(&mut answer)?;
        if let Some(lease) = lease {
            self.folder.release(&lease.name)?;
        }
        let [first_and_last, all] = [&answer[..8], &answer[8..]]
            .map(|half| half.iter().rev().fold(0_u64, |number, &byte| (number << 8) | u64::from(byte)));
        Ok(Taken { first_and_last, all, producer: producer.as_nanos() as u64 })
    }
}

/// What takes one process alone.
fn alone(work: impl FnOnce()) -> Taken {
    let started = Instant::now();
    work();
    let producer = started.elapsed().as_nanos() as u64;
    Taken { first_and_last: producer, all: producer, producer }
}

fn line(way: Way, size: usize, taken: Vec<Taken>, path: &str) -> Result<serde_json::Value, Failure> {
    let quantile = |of: fn(&Taken) -> u64, share: f64| {
        let mut sorted: Vec<u64> = taken.iter().map(of).collect();
        sorted.sort_unstable();
        let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or(0) as f64 / 1000.0
    };
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(serde_json::json!({
        "bytes": size,
        "way": way.name(),
        "rounds": taken.len(),
        "p50_us": quantile(|taken| taken.first_and_last, 0.5),
        "p99_us": quantile(|taken| taken.first_and_last, 0.99),
        "all_p50_us": quantile(|taken| taken.all, 0.5),
        "all_p99_us": quantile(|taken| taken.all, 0.99),
        "producer_p50_us": quantile(|taken| taken.producer, 0.5),
        "in_memory": path.starts_with("/dev/shm/"),
        "cpus": std::thread::available_parallelism()?.get(),
        "load_average": load.split(' ').next().and_then(|number| number.parse::<f64>().ok()),
    }))
}
