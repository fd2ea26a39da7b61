//! Requests that go from slice to slice by themselves, begun by the real driver.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../../driver/tests/common/mod.rs"]
mod common;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{Doubler, manifest, spec, wait_for};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tranche_driver::{Answer, Call, Callback, Driver, DriverError, Options, RetryPolicy};
use tranche_schema::{Address, Channel, Codec, Deployment, Document as _, Manifest, Tensor};
use tranche_shim::{Listen, ShimError, ShimOptions, serve};

/// A slice's process with an engine that doubles its first input.
struct Shim {
    url: String,
    engine: Doubler,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<u8, ShimError>>,
    _folder: TempDir,
}

impl Shim {
    async fn start(slice: &str, reads: &[&str], writes: &str, address: &str, continue_to: &str) -> Self {
        let engine = Doubler::new();
        let folder = tempfile::tempdir().unwrap();
        let mut bundle = manifest(&[4], Codec::Raw, Channel::Inline);
        bundle.slices[0].name = slice.to_owned();
        bundle.slices[0].inputs = reads.iter().map(|name| spec(name, &[4])).collect();
        bundle.slices[0].outputs = vec![spec(writes, &[4])];
        let path = folder.path().join(Manifest::FILE);
        bundle.write(&path).unwrap();
        let mut options = ShimOptions::new(path, slice, address.parse().unwrap());
        options.continue_to = vec![continue_to.to_owned()];
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, listening) = oneshot::channel();
        let own = engine.clone();
        let task = tokio::spawn(serve(
            options,
            Box::new(move |_, _| Ok(Arc::new(own))),
            async {
                let _ = stopped.await;
            },
            |address| bound.send(address).unwrap(),
        ));
        let Listen::Tcp(bound) = listening.await.unwrap() else { unreachable!() };
        Self { url: format!("http://{bound}"), engine, stop: Some(stop), task, _folder: folder }
    }
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// `first` makes `y` = 2 `x`; `second` reads `y` and `x` and makes `z` = 2 `y`.
fn chain(first: &str, second: &str) -> Deployment {
    let functions = [
        ("first".to_owned(), own(&["x"]), own(&["y"])),
        ("second".to_owned(), own(&["y", "x"]), own(&["z"])),
    ];
    let mut deployment = common::deployment(&own(&["x"]), &own(&["z"]), &functions);
    deployment.functions[0].address = Address::Http { url: first.to_owned() };
    deployment.functions[1].address = Address::Http { url: second.to_owned() };
    deployment
}

async fn both() -> (Shim, Shim) {
    let first = Shim::start("first", &["x"], "y", "127.0.0.1:0", "http://127.0.0.1").await;
    let second = Shim::start("second", &["y", "x"], "z", "127.0.0.1:0", "http://127.0.0.1").await;
    (first, second)
}

fn quick() -> Options {
    let retry =
        RetryPolicy { first_wait: Duration::from_millis(5), max_attempts: 3, ..RetryPolicy::default() };
    Options { deadline: Duration::from_secs(10), retry, ..Options::default() }
}

async fn invoke(deployment: Deployment, x: f32, options: Options) -> Result<Answer, DriverError> {
    let callback = Callback::listen("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let x = Tensor::from_f32(vec![4], &[x; 4]).unwrap();
    let driver = Driver::connect(deployment, options).unwrap();
    driver.invoke_onward(vec![("x".to_owned(), x)], &Call::default(), &callback).await
}

#[tokio::test]
async fn outputs_go_on_and_end_at_the_callback() {
    let (first, second) = both().await;
    let answer = invoke(chain(&first.url, &second.url), 1.5, quick()).await.unwrap();
    assert_eq!(answer.outputs, [("z".to_owned(), Tensor::from_f32(vec![4], &[6.0; 4]).unwrap())]);
    let slices: Vec<_> =
        answer.bill.slices.iter().map(|slice| (slice.slice.as_str(), slice.attempts)).collect();
    assert_eq!(slices, [("first", 1), ("second", 1)]);
    let measured = &answer.bill.slices[1].measured;
    assert_eq!(measured.request_id, answer.request_id);
    assert_eq!(measured.call_id.as_deref(), Some(format!("{}-second-1", answer.request_id).as_str()));
    assert_eq!(measured.input_bytes.0, 32, "y and the carried x");
}

#[tokio::test]
async fn a_failure_on_the_way_comes_back_with_its_name() {
    let (first, second) = both().await;
    let error = invoke(chain(&first.url, &second.url), support::FAIL / 2.0, quick()).await.unwrap_err();
    insta::assert_snapshot!(error, @"function `second` failed at the first try: HTTP 500: doubler failed while running: asked to fail");
    assert_eq!(second.engine.runs.load(Ordering::SeqCst), 1, "it is not tried again");
}

#[tokio::test]
async fn functions_call_only_what_they_may() {
    let first = Shim::start("first", &["x"], "y", "127.0.0.1:0", "http://gateway:8080").await;
    let error = invoke(chain(&first.url, "http://127.0.0.1:9"), 1.0, quick()).await.unwrap_err();
    assert!(error.to_string().contains("this function may not call http://127.0.0.1:9"), "{error}");
    assert!(error.hint().contains("TRANCHE_CONTINUE_TO"), "{}", error.hint());
    assert_eq!(first.engine.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_next_stop_that_is_not_there_is_tried_a_few_times() {
    let first = Shim::start("first", &["x"], "y", "127.0.0.1:0", "http://127.0.0.1").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let running = tokio::spawn(invoke(chain(&first.url, &url), 1.0, quick()));
    wait_for(|| first.engine.runs.load(Ordering::SeqCst) == 1).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let _late = Shim::start("second", &["y", "x"], "z", &free.to_string(), "http://127.0.0.1").await;
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.outputs[0].1.as_slice::<f32>().unwrap(), [4.0; 4]);

    let nobody = invoke(chain(&first.url, "http://127.0.0.1:9"), 1.0, quick()).await.unwrap_err();
    assert!(nobody.to_string().contains("function `first` failed"), "{nobody}");
    assert!(nobody.to_string().contains("cannot hand on to http://127.0.0.1:9/"), "{nobody}");
}

#[tokio::test]
async fn told_to_stop_it_still_hands_on_what_it_took() {
    let (mut held, mut second) = both().await;
    let gate = second.engine.run.clone();
    gate.close();
    let running = tokio::spawn(invoke(chain(&held.url, &second.url), 1.0, quick()));
    wait_for(|| second.engine.runs.load(Ordering::SeqCst) == 1).await;
    held.stop.take().unwrap().send(()).unwrap();
    assert_eq!(held.task.await.unwrap().unwrap(), 0, "it had handed on already");
    second.stop.take().unwrap().send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.task.is_finished(), "a request is on its way in it");
    gate.open();
    assert_eq!(running.await.unwrap().unwrap().outputs[0].1.as_slice::<f32>().unwrap(), [4.0; 4]);
    assert_eq!(second.task.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn deadlines_hold_on_the_way() {
    let (first, second) = both().await;
    let gate = second.engine.run.clone();
    gate.close();
    let options = Options { deadline: Duration::from_millis(400), ..quick() };
    let error = invoke(chain(&first.url, &second.url), 1.0, options).await.unwrap_err();
    gate.open();
    let text = error.to_string();
    assert!(text.contains("no answer within 0.4 s") || text.contains("the deadline passed"), "{text}");
}

/// Takes every request and forgets it, as a function does that dies.
async fn forgetful() -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU32::new(0));
    let taken = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 65536]).await;
            taken.fetch_add(1, Ordering::SeqCst);
            let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_request_that_got_lost_is_sent_again() {
    let (url, taken) = forgetful().await;
    let options = Options { attempt_timeout: Some(Duration::from_millis(100)), ..quick() };
    let error = invoke(chain(&url, "http://127.0.0.1:9"), 1.0, options).await.unwrap_err();
    assert!(error.to_string().contains("failed 3 times: it took the request, but no answer"), "{error}");
    assert_eq!(taken.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn local_functions_are_walked_and_not_chained() {
    let mut deployment = chain("http://127.0.0.1:9", "http://127.0.0.1:9");
    deployment.functions[1].address = Address::Unix { path: "/nowhere".into() };
    let error = invoke(deployment, 1.0, quick()).await.unwrap_err();
    assert!(error.to_string().contains("`second` has no URL"), "{error}");
}
