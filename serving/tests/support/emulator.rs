//! AWS's Runtime Interface Emulator around a program of ours.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Emulator {
    child: Child,
    address: String,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Told to stop, it ends the runtime as well.
        if let Ok(id) = i32::try_from(self.child.id())
            && let Some(process) = rustix::process::Pid::from_raw(id)
        {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let ended = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && ended.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `cargo xtask peers` puts it, beside the tests' own folder.
pub fn emulator_path() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/bin/aws-lambda-rie");
    assert!(path.is_file(), "{} is not there: run `cargo xtask peers`", path.display());
    path
}

/// An address of this machine that was free a moment ago.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Emulator {
    /// Runs `program` as a function with a timeout in seconds.
    pub async fn start(program: &Path, timeout_s: u32, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let address = free_address();
        let child = Command::new(emulator_path())
            .args(["--runtime-interface-emulator-address", &address])
            .args(["--runtime-api-address", &free_address()])
            .arg(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", timeout_s.to_string())
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let emulator = Self { child, address, log, _folder: folder };
        let began = Instant::now();
        while tokio::net::TcpStream::connect(&emulator.address).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "no emulator: {}", emulator.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        emulator
    }

    /// Invokes the function: the status and the body.
    pub async fn invoke(&self, event: impl Into<bytes::Bytes>) -> (u16, bytes::Bytes) {
        use http_body_util::{BodyExt as _, Full};
        use hyper_util::client::legacy::Client;
        use hyper_util::rt::TokioExecutor;
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
        let url = format!("http://{}/2015-03-31/functions/function/invocations", self.address);
        let request = hyper::Request::post(url).body(Full::new(event.into())).unwrap();
        let invoking = async {
            let response = client.request(request).await.unwrap();
            let status = response.status().as_u16();
            (status, response.into_body().collect().await.unwrap().to_bytes())
        };
        let invoked = tokio::time::timeout(Duration::from_secs(60), invoking).await;
        invoked.unwrap_or_else(|_| panic!("no answer: {}", self.log()))
    }

    /// What emulator and function have written.
    pub fn log(&self) -> String {
        let mut text = String::new();
        std::fs::File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}
