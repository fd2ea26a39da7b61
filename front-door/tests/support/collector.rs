//! A collector of traces that keeps what it gets.

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::clients::python;

/// Ends with the test.
pub struct Collector {
    pub url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// Answers with this status.
    pub async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let task = tokio::spawn(serve(listener, status, Arc::clone(&bodies)));
        Self { url, bodies, task }
    }

    /// Exports that have come.
    pub fn count(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    /// What others' messages make of them.
    pub async fn spans(&self) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let bodies = self.bodies.lock().unwrap().clone();
        let write = |(index, body): (usize, Bytes)| {
            let path = folder.path().join(index.to_string());
            std::fs::write(&path, body).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let files: Vec<String> = bodies.into_iter().enumerate().map(write).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        serde_json::from_str(&python("spans.py", &files).await).unwrap()
    }
}

async fn serve(listener: TcpListener, status: u16, bodies: Arc<Mutex<Vec<Bytes>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let bodies = Arc::clone(&bodies);
        tokio::spawn(async move {
            let service = service_fn(move |request| take(request, status, Arc::clone(&bodies)));
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    status: u16,
    bodies: Arc<Mutex<Vec<Bytes>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    bodies.lock().unwrap().push(body);
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}
