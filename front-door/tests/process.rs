//! The binary itself, told everything through the environment as of-watchdog tells it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::{X, Y, functions, read, values};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tranche_schema::Document as _;

struct Process {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

fn start(deployment: &Path, variables: &[(&str, &str)]) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tranche-front-door"))
        .env("TRANCHE_DEPLOYMENT", deployment)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap()).lines();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    Process { child, out, log }
}

impl Process {
    async fn address(&mut self) -> String {
        let found = async {
            loop {
                let line = self.log.next_line().await.unwrap().expect("the log ended");
                if let Some((_, rest)) = line.split_once("address=") {
                    return rest.split_whitespace().next().unwrap().to_owned();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("it does not listen")
    }

    async fn ended(&mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.unwrap().unwrap().code()
    }
}

#[tokio::test]
async fn it_serves_and_ends_when_told() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployment.json");
    deployment.write(&path).unwrap();
    let mut process = start(&path, &[("port", "0"), ("exec_timeout", "30s"), ("write_timeout", "5s")]);
    let address = process.address().await.replace("0.0.0.0", "127.0.0.1");
    let client = reqwest::Client::new();
    let request = client.post(format!("http://{address}/")).header("x-call-id", "call-1").body(X);
    let (status, answer) = read(request.send().await.unwrap()).await;
    assert_eq!((status, values(&answer)), (200, Y.to_vec()));
    let line: serde_json::Value =
        serde_json::from_str(&process.out.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((&line["status"], &line["call_id"]), (&200.into(), &"call-1".into()));
    assert_eq!((&line["request_id"], &line["retries"]), (&answer["request_id"], &0.into()));
    assert_eq!(line["body_bytes"], X.len());
    let id = i32::try_from(process.child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test]
async fn the_environment_may_hold_the_token() {
    let (deployment, _functions) = functions("toy", vec![]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deployment.json");
    deployment.write(&path).unwrap();
    let listen = ("TRANCHE_LISTEN", "127.0.0.1:0");
    let mut process = start(&path, &[listen, ("TRANCHE_TOKEN", "s3cret")]);
    let url = format!("http://{}/v2", process.address().await);
    let client = reqwest::Client::new();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    let sent = client.get(&url).header("authorization", "Bearer s3cret").send().await.unwrap();
    assert_eq!(sent.status(), 200);
    assert_eq!(start(&path, &[listen, ("TRANCHE_TOKEN", "")]).ended().await, Some(2));
    assert_eq!(start(&path, &[listen, ("TRANCHE_TOKEN_FILE", "/nowhere")]).ended().await, Some(2));
}

#[tokio::test]
async fn what_it_cannot_begin_with_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("deployment.json");
    let mut process = start(&missing, &[("TRANCHE_LISTEN", "127.0.0.1:0")]);
    assert_eq!(process.ended().await, Some(2));
    let mut process = start(&missing, &[("port", "http")]);
    assert_eq!(process.ended().await, Some(2));
    let mut process = start(&missing, &[]);
    assert_eq!(process.ended().await, Some(2), "no address");
}
