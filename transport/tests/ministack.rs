//! The AWS client against MiniStack, an implementation of AWS's API that is not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use bytes::Bytes;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tranche_transport::aws::{AwsClient, InvocationKind, PutCondition, PutOutcome};

const TIME: Duration = Duration::from_secs(20);
const BUCKET: &str = "tensors";

#[tokio::test]
async fn objects_are_written_once_read_listed_and_deleted() {
    let stack = MiniStack::start().await;
    let client = &stack.client;
    let put = |key: &'static str, body: &'static str, condition| {
        client.put_object(BUCKET, key, Bytes::from_static(body.as_bytes()), condition, TIME)
    };
    let PutOutcome::Written { etag } = put("p/r/a b", "one", PutCondition::IfAbsent).await.unwrap() else {
        panic!("it was there already")
    };
    assert_eq!(put("p/r/a b", "two", PutCondition::IfAbsent).await.unwrap(), PutOutcome::Exists);
    let get = |key: &'static str, etag: Option<String>| async move {
        client.get_object(BUCKET, key, etag.as_deref(), 100, TIME).await
    };
    assert_eq!(get("p/r/a b", Some(etag.clone())).await.unwrap().unwrap().as_ref(), b"one");
    assert_eq!(get("p/r/none", None).await.unwrap(), None);
    assert_eq!(client.head_object(BUCKET, "p/r/a b", TIME).await.unwrap(), Some(3));
    assert_eq!(client.head_object(BUCKET, "p/r/none", TIME).await.unwrap(), None);

    put("p/r/a b", "three", PutCondition::Any).await.unwrap();
    let error = get("p/r/a b", Some(etag)).await.unwrap_err();
    assert_eq!(error.status(), Some(412), "{error}");

    put("p/r/x&<y>", "four", PutCondition::Any).await.unwrap();
    put("p/s/other", "five", PutCondition::Any).await.unwrap();
    let keys = |prefix: &'static str| async move {
        let listed = client.list_objects(BUCKET, prefix, TIME).await.unwrap();
        listed.into_iter().map(|object| (object.key, object.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(keys("p/r/").await, [("p/r/a b".to_owned(), 5), ("p/r/x&<y>".to_owned(), 4)]);
    client.delete_objects(BUCKET, &["p/r/a b", "p/r/x&<y>", "p/r/none"], TIME).await.unwrap();
    assert_eq!(keys("p/r/").await, []);
    assert_eq!(keys("p/").await, [("p/s/other".to_owned(), 4)]);
}

#[tokio::test]
async fn a_missing_bucket_and_a_missing_function_are_said() {
    let stack = MiniStack::start().await;
    let error = stack.client.get_object("nowhere", "k", None, 9, TIME).await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"), "{error}");
    for kind in [InvocationKind::RequestResponse, InvocationKind::Event] {
        let payload = Bytes::from_static(b"{}");
        let error = stack.client.invoke("none", Some("live"), payload, kind, TIME).await.unwrap_err();
        assert_eq!((error.status(), error.is_transient()), (Some(404), false), "{error}");
        assert_eq!(error.code(), Some("ResourceNotFoundException"), "{error}");
    }
}

/// The server, with a bucket; ends with the test.
struct MiniStack {
    client: AwsClient,
    process: Child,
    _folder: TempDir,
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl MiniStack {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .env("STATE_DIR", folder.path().join("state"))
            .env("BIND_HOST", "127.0.0.1")
            .env("MINISTACK_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            .env("LAMBDA_EXECUTOR", "local")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = support::client(&format!("http://127.0.0.1:{port}"));
        let stack = Self { client, process, _folder: folder };
        stack.wait(port).await;
        stack
    }

    /// Until it takes the bucket.
    async fn wait(&self, port: u16) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if create_bucket(port).is_some_and(|head| head.starts_with("HTTP/1.1 200")) {
                return;
            }
            assert!(Instant::now() < until, "MiniStack did not start within a minute");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// MiniStack asks for no signature.
fn create_bucket(port: u16) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!(
        "PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = vec![0; 64];
    let count = stream.read(&mut head).ok()?;
    Some(String::from_utf8_lossy(&head[..count]).into_owned())
}

fn program() -> PathBuf {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let program = peers.join("python/bin/ministack");
    assert!(program.exists(), "{} is missing: run `cargo xtask peers`", program.display());
    program
}
