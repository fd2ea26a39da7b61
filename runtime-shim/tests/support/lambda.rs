//! A slice's process as a custom runtime, with an engine whose timing the test decides.

#![allow(dead_code, reason = "each test file uses its part")]

use super::runtime_api::{Call, RuntimeApiDouble};
use super::support::{Doubler, Setup};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tranche_schema::{
    AnswerWish, Document as _, LAMBDA_EVENT_VERSION, LambdaAnswer, LambdaAsk, LambdaEvent, Manifest,
};
use tranche_serving::lambda::{Initialization, RuntimeApi};
use tranche_shim::{AwsOpener, Listen, ShimError, ShimOptions, serve_lambda};
use tranche_transport::lambda::{decode_answer, encode_event, encode_run};
use tranche_transport::{Frame, FrameLimits};

pub struct Runtime {
    pub double: RuntimeApiDouble,
    pub engine: Doubler,
    _folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<u8, ShimError>>,
}

impl Runtime {
    pub async fn start(setup: Setup) -> Self {
        Self::start_with(setup, Initialization::OnDemand, Box::new(|| panic!("no store is needed"))).await
    }

    pub async fn start_with(setup: Setup, initialization: Initialization, aws: AwsOpener) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Manifest::FILE);
        setup.manifest.write(&path).unwrap();
        let slice = setup.manifest.slices[0].name.clone();
        let mut options = ShimOptions::new(path, slice, Listen::Unix("/nowhere".into()));
        (setup.change)(&mut options);
        let double = RuntimeApiDouble::start("").await;
        let api = RuntimeApi::new(&double.address, initialization).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let engine = setup.engine.clone();
        let task = tokio::spawn(serve_lambda(
            options,
            Box::new(move |_, _| Ok(Arc::new(engine))),
            api,
            aws,
            async {
                let _ = stopped.await;
            },
        ));
        Self { double, engine: setup.engine, _folder: folder, stop: Some(stop), task }
    }

    /// What is said of an event.
    pub async fn ask(&self, payload: impl Into<bytes::Bytes>) -> Call {
        self.double.said_of(&self.double.send(payload)).await
    }

    pub async fn ask_within(&self, payload: impl Into<bytes::Bytes>, time: Duration) -> Call {
        self.double.said_of(&self.double.send_within(payload, time)).await
    }

    pub async fn finish(mut self) -> u8 {
        let _ = self.stop.take().unwrap().send(());
        self.ended().await
    }

    /// Waits for its exit code without telling it anything.
    pub async fn ended(self) -> u8 {
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it runs on").unwrap().unwrap()
    }
}

pub fn ping() -> bytes::Bytes {
    encode_event(&LambdaEvent { tranche: LAMBDA_EVENT_VERSION, ask: LambdaAsk::Ping {} }).unwrap()
}

pub fn run(frame: &Frame) -> bytes::Bytes {
    run_wishing(frame, &AnswerWish::default())
}

pub fn run_wishing(frame: &Frame, wish: &AnswerWish) -> bytes::Bytes {
    encode_run(frame, wish).unwrap()
}

/// The answer and its frame.
pub fn answer(call: &Call) -> (LambdaAnswer, Frame) {
    assert_eq!(call.kind(), "response", "{}", String::from_utf8_lossy(&call.body));
    let (answer, frame) = decode_answer(call.body.clone(), &FrameLimits::default()).unwrap();
    (answer, frame.expect("a frame"))
}

/// The first tensor's values.
pub fn values(frame: &Frame) -> Vec<f32> {
    let tensor = frame.tensors[0].decode(&FrameLimits::default(), None).unwrap();
    tensor.as_slice::<f32>().unwrap().to_vec()
}

/// `errorType` without `tranche.`, and the message.
pub fn failure(call: &Call) -> (String, String) {
    assert_eq!(call.kind(), "error", "{}", String::from_utf8_lossy(&call.body));
    let document = call.json();
    let kind = document["errorType"].as_str().unwrap().strip_prefix("tranche.").unwrap().to_owned();
    (kind, document["errorMessage"].as_str().unwrap().to_owned())
}
