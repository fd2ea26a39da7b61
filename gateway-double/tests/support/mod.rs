//! What the tests of the double share: a double with a plain command, calls, waiting.
#![allow(dead_code, reason = "each test uses part of it")]

pub mod containerd;
pub mod image;
pub mod registry;
pub mod shim;
pub mod subject;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tranche_gateway_double::{CommandLauncher, FunctionStatus, GatewayDouble, Options, Provider};

/// Longest wait for something that must happen.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The image of the tests' function with [`CommandLauncher`].
pub const IMAGE: &str = "function:1";

/// The tests' function, compiled once for all of them.
pub fn function_program() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/function.c");
    let age = std::fs::metadata(&source).unwrap().modified().unwrap();
    let age = age.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("function-{age}"));
    if !program.exists() {
        let unfinished = program.with_extension(std::process::id().to_string());
        let compile = Command::new("gcc")
            .args(["-O1", "-static", "-pthread", "-o"])
            .args([&unfinished, &source])
            .status()
            .expect("gcc is missing: apt-get install gcc libc6-dev");
        assert!(compile.success());
        std::fs::rename(&unfinished, &program).unwrap();
    }
    program
}

/// A double with short times whose images are plain commands.
pub struct Bench {
    pub double: GatewayDouble,
    pub commands: Arc<CommandLauncher>,
}

impl Bench {
    pub fn new(provider: Provider) -> Self {
        Self::with(provider, |_| {})
    }

    pub fn with(provider: Provider, change: impl FnOnce(&mut Options)) -> Self {
        let commands = Arc::new(CommandLauncher::new());
        commands.add(IMAGE, [function_program()]);
        commands.add("function:2", [function_program()]);
        let mut options = quick(provider);
        options.launcher = Some(commands.clone());
        change(&mut options);
        Self { double: GatewayDouble::start(options).unwrap(), commands }
    }

    pub fn call(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Reply {
        call(method, &format!("{}{path}", self.double.url()), &[], body)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.call("GET", path, "")
    }

    pub fn post(&self, description: &Value) -> Reply {
        self.call("POST", "/system/functions", description.to_string())
    }

    pub fn put(&self, description: &Value) -> Reply {
        self.call("PUT", "/system/functions", description.to_string())
    }

    pub fn delete(&self, name: &str) -> Reply {
        self.call("DELETE", "/system/functions", json!({ "functionName": name }).to_string())
    }

    pub fn status(&self, name: &str) -> FunctionStatus {
        self.get(&format!("/system/function/{name}")).json()
    }

    /// Deploys the tests' function and waits until it answers.
    pub fn deploy(&self, name: &str, more: &Value) {
        let mut description = describe(name);
        description.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = self.post(&description);
        assert!([200, 202].contains(&reply.status), "{reply:?}");
        self.wait_for(name);
    }

    /// Waits until the function answers.
    pub fn wait_for(&self, name: &str) {
        wait_until(|| self.get(&format!("/function/{name}/_/health")).status == 200);
    }
}

/// Short times.
pub fn quick(provider: Provider) -> Options {
    Options {
        upstream_timeout: Duration::from_secs(20),
        grace_period: Duration::from_secs(5),
        probe_period: Duration::from_millis(400),
        restart_backoff: Duration::from_millis(200),
        ..Options::new(provider)
    }
}

/// The shortest description.
pub fn describe(name: &str) -> Value {
    json!({ "service": name, "image": IMAGE })
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json<T: for<'a> serde::Deserialize<'a>>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A call with an answer; a call without one is status 0.
pub fn call(method: &str, url: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build().unwrap();
        let mut request = client.request(method.parse().unwrap(), url).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match request.send().await {
            Err(error) => Reply { status: 0, headers: HeaderMap::new(), body: error.to_string().into() },
            Ok(response) => Reply {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                body: response.bytes().await.map(|body| body.to_vec()).unwrap_or_default(),
            },
        }
    })
}

/// Sends `head` and, once "100 Continue" came or `patience` is over, `body`; what came back, and
/// whether it began with 100 Continue.
pub fn expect_continue(address: std::net::SocketAddr, path: &str, body: &[u8]) -> (bool, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: double\r\nConnection: close\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    let told = first == *b"HTTP/1.1 100";
    if told {
        stream.write_all(body).unwrap();
    }
    let mut rest = first.to_vec();
    let _ = stream.read_to_end(&mut rest);
    (told, String::from_utf8_lossy(&rest).into_owned())
}

/// Waits until it is so.
pub fn wait_until(mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < DEADLINE, "it did not happen within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The memory limit of a function that runs as a plain command, bytes; needs the right to set them.
pub fn memory_limit_of(bench: &Bench, function: &str) -> Option<u64> {
    bench.wait_for(function);
    let text = bench.get(&format!("/function/{function}/read?/proc/self/cgroup")).text();
    let name = text
        .lines()
        .find_map(|line| line.rsplit('/').next().filter(|name| name.starts_with("tranche-double-")));
    let name = name.unwrap_or_else(|| panic!("no group of its own: {text}"));
    let groups = tranche_host::Cgroups::detect().find(name);
    let own = |group: &&tranche_host::ControlGroup| {
        group.folders().iter().any(|folder| folder.path.ends_with(name))
    };
    memory_limit(groups.iter().find(own).unwrap())
}

/// The limit that the kernel holds for a group; `None` for none.
fn memory_limit(group: &tranche_host::ControlGroup) -> Option<u64> {
    let folder = group.folders().iter().find(|folder| folder.memory)?;
    let file = if folder.version == 2 { "memory.max" } else { "memory.limit_in_bytes" };
    let text = std::fs::read_to_string(folder.path.join(file)).ok()?;
    // Version 1 writes the highest number of pages for no limit.
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
}
