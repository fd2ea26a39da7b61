//! The binary itself, with tract and a real model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use support::{client, frame_bytes, json, metrics, values};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
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
        let socket = bundle.join("function.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-shim"));
        command
            .env("TRANCHE_MANIFEST", bundle.join(Manifest::FILE))
            .env("TRANCHE_SLICE", "slice-0")
            .env("TRANCHE_LISTEN", format!("unix:{}", socket.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        change(&mut command);
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
