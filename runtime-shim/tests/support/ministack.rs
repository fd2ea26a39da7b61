//! MiniStack's S3, an implementation that is not ours, and a double of Lambda's Invoke beside it.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tranche_schema::ObjectStore;
use tranche_shim::AwsOpener;
use tranche_transport::aws::{AwsClient, AwsConfig, Credentials, PutCondition};
use url::Url;

pub const BUCKET: &str = "tensors";
pub const TIME: Duration = Duration::from_secs(30);

pub fn store() -> ObjectStore {
    ObjectStore { bucket: BUCKET.to_owned(), prefix: "toy".to_owned() }
}

/// The server, with a bucket; ends with the test.
pub struct Cloud {
    pub client: AwsClient,
    /// Functions invoked as events, with what they were sent.
    pub invoked: Arc<Mutex<Vec<(String, Bytes)>>>,
    config: AwsConfig,
    process: Child,
    _folder: TempDir,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Cloud {
    pub async fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/python/bin/ministack");
        assert!(program.is_file(), "{} is not there: run `cargo xtask peers`", program.display());
        let folder = TempDir::new().unwrap();
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
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
        let invoked = Arc::default();
        let lambda = invoke_double(Arc::clone(&invoked)).await;
        let config = AwsConfig {
            region: "us-east-1".to_owned(),
            credentials: Credentials {
                access_key_id: "test".to_owned(),
                secret_access_key: "test".into(),
                session_token: None,
            },
            lambda_endpoint: Url::parse(&lambda).ok(),
            s3_endpoint: Url::parse(&format!("http://127.0.0.1:{port}")).ok(),
        };
        let client = AwsClient::new(config.clone()).unwrap();
        let cloud = Self { client, invoked, config, process, _folder: folder };
        cloud.make_bucket(port).await;
        cloud
    }

    /// Until it is there. MiniStack tells services by the signature's scope, and checks none.
    async fn make_bucket(&self, port: u16) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let put = reqwest::Client::new()
                .put(format!("http://127.0.0.1:{port}/{BUCKET}"))
                .header(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request",
                )
                .send()
                .await;
            if put.is_ok_and(|response| response.status() == 200) {
                return;
            }
            assert!(Instant::now() < until, "MiniStack did not start within a minute");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn opener(&self) -> AwsOpener {
        let config = self.config.clone();
        Box::new(move || AwsClient::new(config.clone()))
    }

    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> String {
        let put = self.client.put_object(BUCKET, key, bytes.into(), PutCondition::Any, TIME).await.unwrap();
        let tranche_transport::aws::PutOutcome::Written { etag } = put else { panic!("it was not written") };
        etag
    }

    pub async fn get(&self, key: &str) -> Option<Bytes> {
        self.client.get_object(BUCKET, key, None, 64 << 20, TIME).await.unwrap()
    }

    /// All keys, in order.
    pub async fn keys(&self) -> Vec<String> {
        let listed = self.client.list_objects(BUCKET, "", TIME).await.unwrap();
        listed.into_iter().map(|object| object.key).collect()
    }

    pub fn invocations(&self) -> Vec<(String, Bytes)> {
        self.invoked.lock().unwrap().clone()
    }
}

/// Takes events as Lambda does, and keeps them.
async fn invoke_double(invoked: Arc<Mutex<Vec<(String, Bytes)>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let invoked = Arc::clone(&invoked);
            let service = service_fn(move |request| take_event(Arc::clone(&invoked), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

async fn take_event(
    invoked: Arc<Mutex<Vec<(String, Bytes)>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let name = request.uri().path().split('/').nth(3).unwrap_or_default().replace("%3A", ":");
    let kind = request.headers().get("x-amz-invocation-type").cloned();
    assert_eq!(kind.unwrap(), "Event", "nobody waits for another");
    let status = if name.starts_with("missing") { 404 } else { 202 };
    let body = request.into_body().collect().await.unwrap().to_bytes();
    invoked.lock().unwrap().push((name, body));
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}
