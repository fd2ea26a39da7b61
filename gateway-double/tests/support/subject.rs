//! What an image must do in a container, whichever image it is.

use super::containerd::{Containerd, Task};
use super::registry::{Registry, free_port};
use super::{DEADLINE, call, expect_continue, wait_until};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// An image and what to expect of it.
pub struct Subject {
    /// An OCI image layout.
    pub layout: PathBuf,
    /// `org.opencontainers.image.ref.name` of the image in it.
    pub name: String,
    /// Path that answers 200 while the process is healthy.
    pub health: &'static str,
    /// Path that answers 200 once the function takes requests.
    pub ready: &'static str,
    /// Path and body of a request that is answered 200.
    pub path: &'static str,
    pub body: Vec<u8>,
    /// Whether this body is the right answer to that request.
    pub is_answer: fn(&[u8]) -> bool,
    /// Memory limit in which it works, bytes.
    pub memory: u64,
    /// Environment that bounds it to one request in flight.
    pub one_in_flight: &'static str,
    /// How it is brought to its memory limit.
    pub out_of_memory: OutOfMemory,
}

/// How a function is brought to its memory limit.
#[derive(Clone, Copy)]
pub enum OutOfMemory {
    /// A request to this path takes more than the limit, bytes.
    Request(&'static str, u64),
    /// It cannot even start within this limit, bytes.
    Start(u64),
}

/// The image in a registry and in containerd.
pub struct Place {
    subject: Subject,
    image: String,
    address: SocketAddr,
    containerd: Containerd,
    /// How long containerd took to pull and unpack it.
    pull: Duration,
    _registry: Registry,
}

impl Place {
    pub fn new(subject: Subject) -> Self {
        let registry = Registry::start();
        let image = registry.push(&subject.layout, &subject.name, "tests/subject:1");
        let containerd = Containerd::start();
        let start = Instant::now();
        containerd.pull(&image);
        let pull = start.elapsed();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        Self { subject, image, address, containerd, pull, _registry: registry }
    }

    fn run(&self, memory: u64, more: &[&str]) -> Task<'_> {
        let mut environment = vec![format!("TRANCHE_LISTEN={}", self.address)];
        environment.extend(more.iter().map(|&one| one.to_owned()));
        self.containerd.run(&self.image, "function", Some(memory), &environment)
    }

    fn get(&self, path: &str) -> u16 {
        call("GET", &format!("http://{}{path}", self.address), &[], "").status
    }

    /// Runs it and waits until it is ready.
    fn ready(&self, more: &[&str]) -> Task<'_> {
        let task = self.run(self.subject.memory, more);
        wait_until(|| self.get(self.subject.ready) == 200);
        task
    }

    /// A request that is counted as in flight: it was told to go on, and its body is not ended.
    fn hold(&self) -> Held {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut held = self.begin("Expect: 100-continue\r\n");
        let mut told = [0; CONTINUE.len()];
        held.stream.read_exact(&mut told).unwrap();
        assert_eq!(told.escape_ascii().to_string(), CONTINUE.escape_ascii().to_string());
        held.send_half();
        held
    }

    /// The head of a request with a body of unknown length.
    fn begin(&self, more: &str) -> Held {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let path = self.subject.path;
        write!(stream, "POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n{more}\r\n")
            .unwrap();
        Held { stream, rest: self.subject.body.clone() }
    }
}

struct Held {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Held {
    fn send_half(&mut self) {
        let rest = self.rest.split_off(self.rest.len() / 2);
        chunk(&mut self.stream, &self.rest);
        self.rest = rest;
    }

    /// Ends the body; the answer's status line.
    fn finish(mut self) -> String {
        chunk(&mut self.stream, &self.rest);
        chunk(&mut self.stream, b"");
        let mut line = [0; 12];
        self.stream.read_exact(&mut line).unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    }
}

fn chunk(stream: &mut TcpStream, bytes: &[u8]) {
    write!(stream, "{:x}\r\n", bytes.len()).unwrap();
    stream.write_all(bytes).unwrap();
    stream.write_all(b"\r\n").unwrap();
}

/// Also tells, to whom reads the test's output, how long a cold start took.
#[expect(clippy::print_stderr, reason = "measured, not asserted")]
pub fn is_healthy_and_answers(subject: Subject) {
    let place = Place::new(subject);
    let start = Instant::now();
    let task = place.run(place.subject.memory, &[]);
    wait_until(|| place.get(place.subject.health) == 200);
    let healthy = start.elapsed();
    wait_until(|| place.get(place.subject.ready) == 200);
    let ready = start.elapsed();
    eprintln!("pulled in {:?}; healthy {healthy:?} and ready {ready:?} after ctr was called", place.pull);
    let url = format!("http://{}{}", place.address, place.subject.path);
    let answer = call("POST", &url, &[], place.subject.body.clone());
    assert_eq!(answer.status, 200, "{}: {}", answer.text(), task.log());
    assert!((place.subject.is_answer)(&answer.body), "{} bytes: {}", answer.body.len(), task.log());
    assert_eq!(task.oom_kills(), 0);
}

pub fn takes_chunked_bodies_without_their_length(subject: Subject) {
    let place = Place::new(subject);
    let _task = place.ready(&[]);
    let mut held = place.begin("");
    held.send_half();
    assert_eq!(held.finish(), "HTTP/1.1 200");
}

/// It never sends the body otherwise, so an answer shows that it was told to.
pub fn answers_expect_continue(subject: Subject) {
    let place = Place::new(subject);
    let _task = place.ready(&[]);
    let (told, answer) = expect_continue(place.address, place.subject.path, &place.subject.body);
    assert!(told && answer.contains("HTTP/1.1 200"), "{answer}");
}

pub fn ends_what_is_in_flight_at_sigterm_and_exits_0(subject: Subject) {
    let place = Place::new(subject);
    let task = place.ready(&[]);
    let held = place.hold();
    task.signal("SIGTERM");
    wait_until(|| TcpStream::connect(place.address).is_err());
    assert_eq!(held.finish(), "HTTP/1.1 200");
    assert_eq!(task.exit_code(), 0, "{}", task.log());
}

pub fn answers_429_beyond_its_bound(subject: Subject) {
    let place = Place::new(subject);
    let bound = place.subject.one_in_flight;
    let _task = place.ready(&[bound]);
    let held = place.hold();
    let url = format!("http://{}{}", place.address, place.subject.path);
    assert_eq!(call("POST", &url, &[], place.subject.body.clone()).status, 429);
    assert_eq!(held.finish(), "HTTP/1.1 200");
}

pub fn is_killed_at_its_memory_limit(subject: Subject) {
    let place = Place::new(subject);
    let task = match place.subject.out_of_memory {
        OutOfMemory::Start(memory) => place.run(memory, &[]),
        OutOfMemory::Request(path, memory) => {
            let task = place.run(memory, &[]);
            wait_until(|| place.get(place.subject.ready) == 200);
            assert_eq!(place.get(path), 0);
            task
        }
    };
    wait_until(|| task.oom_kills() > 0);
    assert_eq!(task.exit_code(), 137);
}
