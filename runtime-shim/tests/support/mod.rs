//! A bundle of one slice, an engine whose timing the test decides, and a server on a socket.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tranche_engine::{Engine, EngineError, LoadOptions, NodeTime, OutputBuffer, Session};
use tranche_schema::{
    ByteCount, Channel, Codec, Digest, Document as _, Edge, ElementType, FunctionMetrics, FunctionSize,
    Manifest, MilliCpu, ModelIdentity, SliceManifest, SlicePrediction, Tensor, TensorSpec, TensorView,
};
use tranche_shim::{Listen, ShimError, ShimOptions, serve};
use tranche_transport::{CodedTensor, Frame, FrameLimits, METRICS_HEADER, Placement, RequestHeader};

pub const SLICE: &str = "slice-0";

pub fn spec(name: &str, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type: ElementType::Float32, shape: shape.to_vec() }
}

/// A manifest whose one slice makes `y` of `x`, both of this shape.
pub fn manifest(shape: &[u64], codec: Codec, channel: Channel) -> Manifest {
    let (x, y) = (spec("x", shape), spec("y", shape));
    Manifest {
        header: Manifest::header(),
        model: ModelIdentity { name: "model".to_owned(), digest: Digest::of(b"model") },
        plan_digest: Digest::of(b"plan"),
        tranche_version: "0.1.0".to_owned(),
        engine: "tract".to_owned(),
        inputs: vec![x.clone()],
        outputs: vec![y.clone()],
        slices: vec![SliceManifest {
            name: SLICE.to_owned(),
            model: "slice-0.onnx".to_owned(),
            weights: vec![],
            members: Vec::new(),
            inputs: vec![x.clone()],
            outputs: vec![y.clone()],
            size: FunctionSize { memory_bytes: ByteCount::mebibytes(64), cpu_milli: MilliCpu(1000) },
            threads: 1,
            prediction: SlicePrediction::default(),
        }],
        edges: vec![Edge {
            tensor: y,
            from: Some(SLICE.to_owned()),
            to: vec![],
            to_caller: true,
            codec,
            channel,
        }],
        files: vec![],
    }
}

/// A door that threads wait at until the test opens it.
#[derive(Clone)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new(open: bool) -> Self {
        Self(Arc::new((Mutex::new(open), Condvar::new())))
    }

    pub fn close(&self) {
        *self.0.0.lock().unwrap() = false;
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(closed, Duration::from_secs(20), |open| !*open);
        assert!(!waited.unwrap().1.timed_out(), "nobody opened the gate");
    }
}

/// Doubles its input; loading and running wait for their gates.
#[derive(Clone)]
pub struct Doubler {
    pub load: Gate,
    pub run: Gate,
    pub runs: Arc<AtomicUsize>,
    /// First elements of the inputs, in the order they ran.
    pub order: Arc<Mutex<Vec<f32>>>,
    pub refusal: Option<&'static str>,
}

/// An input that begins with this makes the engine fail, or panic.
pub const FAIL: f32 = -1.0;
pub const PANIC: f32 = -2.0;

impl Doubler {
    pub fn new() -> Self {
        Self {
            load: Gate::new(true),
            run: Gate::new(true),
            runs: Arc::default(),
            order: Arc::default(),
            refusal: None,
        }
    }
}

impl Engine for Doubler {
    fn name(&self) -> &'static str {
        "doubler"
    }

    fn version(&self) -> String {
        "1".to_owned()
    }

    fn load(
        &self,
        model: &Path,
        _: &[TensorSpec],
        _: &[String],
        _: &LoadOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        self.load.pass();
        match self.refusal {
            Some(reason) => Err(EngineError::Load {
                engine: "doubler",
                model: model.to_owned(),
                reason: reason.to_owned(),
            }),
            None => Ok(Box::new(self.clone())),
        }
    }

    fn tensor_specs(
        &self,
        _: &Path,
        _: &[TensorSpec],
        _: &[TensorView<'_>],
        tensors: &[String],
    ) -> Result<Vec<Option<TensorSpec>>, EngineError> {
        Ok(vec![None; tensors.len()])
    }
}

impl Session for Doubler {
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &mut [OutputBuffer<'_>],
    ) -> Result<(), EngineError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.run.pass();
        let input = inputs[0].to_tensor().unwrap();
        let values: &[f32] = input.as_slice().unwrap();
        self.order.lock().unwrap().push(values[0]);
        assert!(values[0] != PANIC, "asked to panic");
        if values[0] == FAIL {
            return Err(EngineError::Run { engine: "doubler", reason: "asked to fail".to_owned() });
        }
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        outputs[0] = OutputBuffer::Engine(Tensor::from_f32(inputs[0].shape.to_vec(), &doubled).ok());
        Ok(())
    }

    fn profile(&mut self, _: &[TensorView<'_>]) -> Result<Vec<NodeTime>, EngineError> {
        Ok(vec![])
    }
}

/// A running function.
pub struct Server {
    pub folder: TempDir,
    pub socket: PathBuf,
    pub client: reqwest::Client,
    pub engine: Doubler,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<u8, ShimError>>,
}

pub struct Setup {
    pub manifest: Manifest,
    pub engine: Doubler,
    pub change: Box<dyn FnOnce(&mut ShimOptions)>,
}

impl Setup {
    pub fn new() -> Self {
        Self {
            manifest: manifest(&[4], Codec::Raw, Channel::Inline),
            engine: Doubler::new(),
            change: Box::new(|_| {}),
        }
    }

    pub fn options(mut self, change: impl FnOnce(&mut ShimOptions) + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    pub async fn start(self) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Manifest::FILE);
        self.manifest.write(&path).unwrap();
        let socket = folder.path().join("function.sock");
        let mut options = ShimOptions::new(path, SLICE, Listen::Unix(socket.clone()));
        (self.change)(&mut options);
        let (stop, stopped) = oneshot::channel();
        let (bound, listening) = oneshot::channel();
        let engine = self.engine.clone();
        let task = tokio::spawn(serve(
            options,
            Box::new(move |_, _| Ok(Arc::new(engine))),
            async {
                let _ = stopped.await;
            },
            |_| bound.send(()).unwrap(),
        ));
        listening.await.expect("it listens");
        Server { client: client(&socket), folder, socket, engine: self.engine, stop: Some(stop), task }
    }
}

pub fn client(socket: &Path) -> reqwest::Client {
    reqwest::Client::builder()
        .unix_socket(socket)
        .timeout(Duration::from_secs(20))
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

impl Server {
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("http://function{path}")).send().await.unwrap()
    }

    pub async fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.client.post("http://function/").body(body).send().await.unwrap()
    }

    /// Posts in the background.
    pub fn posting(&self, frame: &Frame) -> JoinHandle<reqwest::Response> {
        let request = self.client.post("http://function/").body(frame.to_bytes().unwrap());
        tokio::spawn(async move { request.send().await.unwrap() })
    }

    pub fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Tells it to stop unless it was told, and waits for its exit code.
    pub async fn finish(mut self) -> u8 {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.task.await.unwrap().unwrap()
    }

    /// Waits for its exit code without telling it anything.
    pub async fn ended(self) -> u8 {
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap().unwrap()
    }

    /// Waits until so many requests have reached the session.
    pub async fn runs(&self, count: usize) {
        wait_for(|| self.engine.runs.load(Ordering::SeqCst) >= count).await;
    }

    /// Waits until so many requests are in flight.
    pub async fn in_flight(&self, count: u64) {
        for _ in 0..2000 {
            let state: serde_json::Value = json(self.get("/_/health").await).await;
            if state["in_flight"] == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {count} in flight");
    }
}

pub async fn wait_for_ready(server: &Server) {
    for _ in 0..2000 {
        if server.get("/_/ready").await.status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never ready");
}

pub async fn wait_for(such: impl Fn() -> bool) {
    for _ in 0..2000 {
        if such() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to that");
}

pub fn frame(values: &[f32]) -> Frame {
    let tensor = Tensor::from_f32(vec![values.len() as u64], values).unwrap();
    Frame {
        header: RequestHeader::new([7; 16], SLICE),
        tensors: vec![CodedTensor::encode("x", &tensor, Codec::Raw, Placement::Inline).unwrap()],
    }
}

pub fn frame_bytes(values: &[f32]) -> bytes::Bytes {
    frame(values).to_bytes().unwrap()
}

pub async fn json(response: reqwest::Response) -> serde_json::Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

pub fn metrics(response: &reqwest::Response) -> FunctionMetrics {
    serde_json::from_slice(response.headers()[METRICS_HEADER].as_bytes()).unwrap()
}

/// The answer's frame, of a response that must be one.
pub async fn answer(response: reqwest::Response) -> Frame {
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    Frame::parse(response.bytes().await.unwrap(), &FrameLimits::default()).unwrap()
}

pub async fn values(response: reqwest::Response) -> Vec<f32> {
    let tensors = answer(response).await.decode(&FrameLimits::default(), None).unwrap();
    tensors[0].1.as_slice::<f32>().unwrap().to_vec()
}
