//! The binary itself, with tract and a real model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use support::{client, frame_bytes, json, metrics, values};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tranche_graph::onnx;
use tranche_schema::{Channel, Codec, Document as _, FunctionMetrics, Manifest};

/// A bundle whose slice computes `y = x + x`.
fn bundle() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = support::manifest(&[4], Codec::Raw, Channel::Inline);
    manifest.write(&folder.path().join(Manifest::FILE)).unwrap();
    std::fs::write(folder.path().join("slice-0.onnx"), model()).unwrap();
    folder
}

fn model() -> Vec<u8> {
    onnx::ModelProto {
        ir_version: Some(8),
        opset_import: vec![onnx::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(onnx::GraphProto {
            name: Some("doubler".to_owned()),
            input: vec![value_info("x")],
            output: vec![value_info("y")],
            node: vec![onnx::NodeProto {
                name: Some("add".to_owned()),
                op_type: Some("Add".to_owned()),
                input: vec!["x".to_owned(), "x".to_owned()],
                output: vec!["y".to_owned()],
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn value_info(name: &str) -> onnx::ValueInfoProto {
    use onnx::tensor_shape_proto::{Dimension, dimension::Value};
    let extent = Dimension { value: Some(Value::DimValue(4)), ..Default::default() };
    let tensor = onnx::type_proto::Tensor {
        elem_type: Some(1),
        shape: Some(onnx::TensorShapeProto { dim: vec![extent] }),
    };
    onnx::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(onnx::TypeProto {
            value: Some(onnx::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A running shim; killed when dropped.
struct Shim {
    child: Child,
    socket: PathBuf,
    out: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Shim {
    /// Told everything through the environment, as platforms do.
    fn start(bundle: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-shim"));
        command.env("TRANCHE_LISTEN", format!("unix:{}", bundle.join("function.sock").display()));
        change(&mut command);
        Self::spawn(bundle, command)
    }

    /// Starts what becomes the shim.
    fn spawn(bundle: &Path, mut command: Command) -> Self {
        let socket = bundle.join("function.sock");
        command
            .env("TRANCHE_MANIFEST", bundle.join(Manifest::FILE))
            .env("TRANCHE_SLICE", "slice-0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, socket, out, log }
    }

    /// The first line of the log that holds this.
    async fn logged(&mut self, text: &str) -> String {
        let found = async {
            loop {
                let line = self.log.next_line().await.unwrap().expect("the log ended");
                if line.contains(text) {
                    return line;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("nothing was logged")
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn ends(mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.expect("it runs on").unwrap()
    }
}

#[tokio::test]
async fn it_serves_a_real_slice_and_ends_when_told() {
    let bundle = bundle();
    let mut shim = Shim::start(bundle.path(), |_| {});
    shim.logged("listening").await;
    let client = client(&shim.socket);
    let mut lines = vec![];
    for value in [1.5, -2.0] {
        // The first one comes before the slice is loaded, or just after.
        let response = client.post("http://function/").body(frame_bytes(&[value; 4])).send().await.unwrap();
        let measured = metrics(&response);
        assert_eq!(values(response).await, [2.0 * value; 4]);
        lines.push(measured);
    }
    assert!(lines[0].cold && !lines[1].cold);
    for expected in lines {
        let line = shim.out.next_line().await.unwrap().unwrap();
        assert_eq!(serde_json::from_str::<FunctionMetrics>(&line).unwrap(), expected);
    }
    let state = json(client.get("http://function/_/ready").send().await.unwrap()).await;
    assert_eq!((&state["state"], &state["engine"]), (&"ready".into(), &"tract".into()));
    let socket = shim.socket.clone();
    shim.signal(Signal::TERM);
    assert_eq!(shim.ends().await.code(), Some(0));
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_that_another_keeps_is_served_and_left() {
    let bundle = bundle();
    let path = bundle.path().join("function.sock");
    let kept = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // Nobody accepts yet: the request waits.
    let client = client(&path);
    let early = tokio::spawn(client.post("http://function/").body(frame_bytes(&[1.5; 4])).send());
    for _ in 0..2 {
        let shim = Shim::start(bundle.path(), |command| {
            command.args(["--listen", "stdin", "--idle-exit-ms", "300"]);
            command.stdin(OwnedFd::from(kept.try_clone().unwrap()));
        });
        assert_eq!(shim.ends().await.code(), Some(0));
    }
    let response = early.await.unwrap().unwrap();
    let measured = metrics(&response);
    assert!(measured.cold && measured.start_up_ms.unwrap().0 > 0.0, "{measured:?}");
    assert_eq!(values(response).await, [3.0; 4]);
    assert!(path.exists());
}

#[tokio::test]
async fn standard_input_that_does_not_listen_ends_it() {
    let bundle = bundle();
    let mut shim = Shim::start(bundle.path(), |command| {
        command.args(["--listen", "stdin"]).stdin(Stdio::null());
    });
    shim.logged("standard input is no listening socket").await;
    assert_eq!(shim.ends().await.code(), Some(50));
}

#[tokio::test]
async fn it_listens_on_tcp_and_ends_on_interrupt() {
    let bundle = bundle();
    let mut shim = Shim::start(bundle.path(), |command| {
        command.args(["--listen", "127.0.0.1:0"]);
    });
    let line = shim.logged("listening").await;
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let response =
        reqwest::Client::new().post(format!("http://{address}/")).body(frame_bytes(&[1.0; 4])).send().await;
    assert_eq!(values(response.unwrap()).await, [2.0; 4]);
    shim.signal(Signal::INT);
    assert_eq!(shim.ends().await.code(), Some(0));
}

#[tokio::test]
async fn a_slice_it_cannot_load_leaves_a_process_that_says_so() {
    let bundle = bundle();
    std::fs::write(bundle.path().join("slice-0.onnx"), b"no model").unwrap();
    let mut shim = Shim::start(bundle.path(), |_| {});
    shim.logged("listening").await;
    let response =
        client(&shim.socket).post("http://function/").body(frame_bytes(&[1.0; 4])).send().await.unwrap();
    assert_eq!(response.status(), 500);
    let body = json(response).await;
    assert_eq!(body["code"], "load-failed");
    assert!(body["message"].as_str().unwrap().contains("slice-0.onnx"), "{body}");
    shim.signal(Signal::TERM);
    assert_eq!(shim.ends().await.code(), Some(20));
}

#[tokio::test]
async fn a_missing_onnx_runtime_is_said_with_a_hint() {
    let bundle = bundle();
    let mut shim = Shim::start(bundle.path(), |command| {
        command.args(["--engine", "onnxruntime", "--onnxruntime", "/nonexistent/libonnxruntime.so"]);
    });
    shim.logged("listening").await;
    let response =
        client(&shim.socket).post("http://function/").body(frame_bytes(&[1.0; 4])).send().await.unwrap();
    assert_eq!(response.status(), 500);
    let body = json(response).await;
    assert!(body["message"].as_str().unwrap().contains("onnxruntime"), "{body}");
    assert!(body["hint"].as_str().unwrap().contains("engine add"), "{body}");
}

#[tokio::test]
async fn what_it_cannot_begin_with_ends_it_at_once() {
    let bundle = bundle();
    let cases: [(&[&str], i32); 4] = [
        (&["--listen", "nowhere"], 2),
        (&["--max-in-flight", "0"], 2),
        (&["--listen", "unix:/nonexistent/function.sock"], 50),
        (&["--shared-folder", "/nonexistent"], 50),
    ];
    for (arguments, code) in cases {
        let started = Instant::now();
        let shim = Shim::start(bundle.path(), |command| {
            command.args(arguments);
        });
        assert_eq!(shim.ends().await.code(), Some(code), "{arguments:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

/// A connection to a shim on TCP, for what no client would send.
async fn raw(address: &str, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = vec![];
    let reading = stream.read_to_end(&mut text);
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("it was not cut off").unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until the text has come.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = vec![];
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..count]);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("it did not come");
    String::from_utf8_lossy(&seen).into_owned()
}

/// A shim that is told what of-watchdog's environment tells, on a port that the system chose.
async fn under_openfaas(bundle: &Path, variables: &[(&str, &str)]) -> (Shim, String) {
    let mut shim = Shim::start(bundle, |command| {
        command.env_remove("TRANCHE_LISTEN").env("port", "0").envs(variables.iter().copied());
    });
    let line = shim.logged("listening").await;
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let address = address.replace("0.0.0.0", "127.0.0.1");
    (shim, address)
}

const HEAD: &str = "POST / HTTP/1.1\r\nhost: f\r\nx-call-id: call-7\r\n";

#[tokio::test]
async fn chunked_bodies_and_call_ids_are_taken_as_gateways_send_them() {
    let bundle = bundle();
    let (mut shim, address) = under_openfaas(bundle.path(), &[]).await;
    let frame = frame_bytes(&[1.5; 4]);
    let mut stream =
        raw(&address, &format!("{HEAD}connection: close\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    for chunk in frame.chunks(50) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
        stream.write_all(chunk).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\nx-call-id: call-7\r\n"), "{answer}");
    let line: FunctionMetrics = serde_json::from_str(&shim.out.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(line.call_id.as_deref(), Some("call-7"));
}

#[tokio::test]
async fn who_asks_whether_to_go_on_is_told_at_once() {
    let bundle = bundle();
    let (_shim, address) = under_openfaas(bundle.path(), &[]).await;
    let frame = frame_bytes(&[1.5; 4]);
    let asking =
        format!("{HEAD}connection: close\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n", frame.len());
    let mut stream = raw(&address, &asking).await;
    // Nothing of the body is sent before the word has come.
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(&frame).await.unwrap();
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn max_inflight_of_the_platform_is_kept() {
    let bundle = bundle();
    let (_shim, address) = under_openfaas(bundle.path(), &[("max_inflight", "1")]).await;
    let mut first =
        raw(&address, &format!("{HEAD}content-length: 100\r\nexpect: 100-continue\r\n\r\n")).await;
    read_until(&mut first, "100 Continue").await;
    let mut second = raw(&address, &format!("{HEAD}content-length: 0\r\nconnection: close\r\n\r\n")).await;
    let refused = read_to_end(&mut second).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 1"), "{refused}");
}

#[tokio::test]
async fn read_timeout_of_the_platform_is_kept() {
    let bundle = bundle();
    let (_shim, address) = under_openfaas(bundle.path(), &[("read_timeout", "200ms")]).await;
    let mut slow = raw(&address, &format!("{HEAD}content-length: 100\r\n\r\n")).await;
    assert!(read_to_end(&mut slow).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn told_to_stop_it_waits_for_requests_within_write_timeout() {
    let bundle = bundle();
    let frame = frame_bytes(&[1.5; 4]);
    let begun = format!("{HEAD}content-length: {}\r\nexpect: 100-continue\r\n\r\n", frame.len());

    let (shim, address) = under_openfaas(bundle.path(), &[("write_timeout", "20s")]).await;
    let mut finishes = raw(&address, &begun).await;
    read_until(&mut finishes, "100 Continue").await;
    shim.signal(Signal::TERM);
    wait_until_refused(&address).await;
    finishes.write_all(&frame).await.unwrap();
    assert!(read_to_end(&mut finishes).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(shim.ends().await.code(), Some(0));

    let (shim, address) = under_openfaas(bundle.path(), &[("write_timeout", "200ms")]).await;
    let mut hangs = raw(&address, &begun).await;
    read_until(&mut hangs, "100 Continue").await;
    let started = Instant::now();
    shim.signal(Signal::TERM);
    assert_eq!(shim.ends().await.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(8), "it waited for its own drain deadline");
}

async fn wait_until_refused(address: &str) {
    for _ in 0..2000 {
        if TcpStream::connect(address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it still listens");
}

#[tokio::test]
async fn told_to_stop_it_takes_requests_until_callers_know() {
    let bundle = bundle();
    let (shim, address) = under_openfaas(bundle.path(), &[("healthcheck_interval", "1s")]).await;
    let client = reqwest::Client::new();
    let get = async |path: &str| client.get(format!("http://{address}{path}")).send().await.unwrap().status();
    assert_eq!(get("/_/health").await, 200);
    shim.signal(Signal::TERM);
    for _ in 0..200 {
        if json(client.get(format!("http://{address}/_/health")).send().await.unwrap()).await["state"]
            == "draining"
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(get("/_/ready").await, 503);
    let answer = client.post(format!("http://{address}/")).body(frame_bytes(&[1.0; 4])).send().await.unwrap();
    assert_eq!(values(answer).await, [2.0; 4]);
    assert_eq!(shim.ends().await.code(), Some(0));
}

#[tokio::test]
async fn behind_a_watchdog_its_own_address_wins() {
    let bundle = bundle();
    let mut shim = Shim::start(bundle.path(), |command| {
        // What a function inherits from of-watchdog, which holds the port itself.
        command.env("port", "8080").env("fprocess", "tranche-shim").env("mode", "http");
        command.env("TRANCHE_LISTEN", "127.0.0.1:0").env("upstream_url", "http://127.0.0.1:8082");
    });
    let line = shim.logged("listening").await;
    assert!(line.contains("address=127.0.0.1:"), "{line}");
}

#[tokio::test]
async fn a_platform_that_says_nonsense_is_told_so() {
    let bundle = bundle();
    let shim = Shim::start(bundle.path(), |command| {
        command.env("exec_timeout", "soon");
    });
    assert_eq!(shim.ends().await.code(), Some(2));
}

/// The shim as process 1 of a PID namespace, after a shell that leaves it an orphan.
fn first_process(bundle: &Path) -> Shim {
    let shim = env!("CARGO_BIN_EXE_tranche-shim");
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.env("TRANCHE_LISTEN", format!("unix:{}", bundle.join("function.sock").display()));
    command.args(["--pid", "--fork", "--kill-child", "sh", "-c", &format!("(sleep 0.3 &); exec {shim}")]);
    Shim::spawn(bundle, command)
}

/// The processes that this one started, by their ids as seen from here.
fn children(process: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    listed.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn as_process_one_it_reaps_orphans_and_ends_on_signals() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP] {
        let bundle = bundle();
        let mut shim = first_process(bundle.path());
        shim.logged("loaded").await;
        let id = children(shim.child.id().unwrap())[0];
        for _ in 0..2000 {
            if children(id).is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(children(id), [0; 0], "an orphan that ended is still there");
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
        assert_eq!(shim.ends().await.code(), Some(0), "{signal:?}");
    }
}
