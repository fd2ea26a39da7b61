//! Tensors in an object store, and requests that go on by themselves, over MiniStack's S3.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/lambda.rs"]
mod lambda;
#[path = "support/ministack.rs"]
mod ministack;
#[path = "../../serving/tests/support/runtime_api.rs"]
mod runtime_api;
mod support;

use bytes::Bytes;
use lambda::{Runtime, answer, failure, run_wishing, values};
use ministack::{BUCKET, Cloud, store};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{FAIL, Gate, Setup, frame, manifest, spec};
use tranche_schema::{
    AnswerWish, Channel, Codec, LAMBDA_EVENT_VERSION, LambdaAsk, LambdaEvent, LambdaItinerary, LambdaStop,
    StoredRequest,
};
use tranche_serving::lambda::Initialization;
use tranche_transport::lambda::{decode_event, encode_event, parse_object_uri};
use tranche_transport::{Frame, FrameLimits, ObjectReference, Payload};

const REQUEST: &str = "07070707070707070707070707070707";
const LONG: Duration = Duration::from_secs(60);

async fn slice(cloud: &Cloud, name: &str, reads: &[&str], writes: &str) -> Runtime {
    start(cloud, Setup::new(), name, reads, writes).await
}

async fn start(cloud: &Cloud, mut setup: Setup, name: &str, reads: &[&str], writes: &str) -> Runtime {
    let bundle = &mut setup.manifest.slices[0];
    bundle.name = name.to_owned();
    bundle.inputs = reads.iter().map(|name| spec(name, &[4])).collect();
    bundle.outputs = vec![spec(writes, &[4])];
    Runtime::start_with(setup, Initialization::OnDemand, cloud.opener()).await
}

/// A frame of one tensor as it lies in the store.
fn stored(name: &str, values: &[f32]) -> Bytes {
    let mut frame = frame(values);
    frame.tensors[0].spec.name = name.to_owned();
    frame.to_bytes().unwrap()
}

async fn put_tensor(cloud: &Cloud, name: &str, values: &[f32]) {
    cloud.put(&format!("toy/{REQUEST}/tensors/{name}"), stored(name, values)).await;
}

async fn read_tensor(cloud: &Cloud, name: &str) -> Vec<f32> {
    let bytes = cloud.get(&format!("toy/{REQUEST}/tensors/{name}")).await.expect("it is not there");
    values(&Frame::parse(bytes, &FrameLimits::default()).unwrap())
}

fn stop(slice: &str, reads: &[&str], writes: &[&str]) -> LambdaStop {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    LambdaStop {
        slice: slice.to_owned(),
        function: format!("toy-{slice}:live"),
        reads: names(reads),
        writes: names(writes),
    }
}

fn itinerary(stops: Vec<LambdaStop>, output: &str) -> LambdaItinerary {
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + LONG;
    LambdaItinerary {
        stops,
        outputs: vec![output.to_owned()],
        deadline_ms: u64::try_from(deadline.as_millis()).unwrap(),
    }
}

fn event(itinerary: Option<LambdaItinerary>) -> Bytes {
    let request =
        StoredRequest { request: REQUEST.to_owned(), attempt: 1, store: store(), traceparent: None };
    let ask = LambdaAsk::RunStored { request, itinerary };
    encode_event(&LambdaEvent { tranche: LAMBDA_EVENT_VERSION, ask }).unwrap()
}

#[tokio::test]
async fn objects_of_a_frame_are_read_and_outputs_that_are_too_large_are_written() {
    let cloud = Cloud::start().await;
    let mut setup = Setup::new();
    setup.manifest = manifest(&[4096], Codec::Raw, Channel::Inline);
    let runtime = Runtime::start_with(setup, Initialization::OnDemand, cloud.opener()).await;
    let mut request = frame(&[3.0; 4096]);
    let Payload::Inline(bytes) = request.tensors[0].payload.clone() else { unreachable!() };
    let etag = cloud.put("toy/x", bytes).await;
    let uri = format!("s3://{BUCKET}/toy/x");
    request.tensors[0].payload = Payload::Object(ObjectReference { uri: uri.clone(), etag });
    let wish = AnswerWish { max_bytes: Some(2048), store: Some(store()), ..AnswerWish::default() };
    let said = runtime.ask(run_wishing(&request, &wish)).await;
    assert!(said.body.len() <= 2048);
    let (said, mut output) = answer(&said);
    let Payload::Object(object) = output.tensors[0].payload.clone() else { panic!("{output:?}") };
    let (bucket, key) = parse_object_uri(&object.uri).unwrap();
    let checksum = output.tensors[0].checksum;
    assert_eq!((bucket, key), (BUCKET, &*format!("toy/{REQUEST}/passing/slice-0-1/{checksum:016x}-y")));
    output.tensors[0].payload = Payload::Inline(cloud.get(key).await.unwrap());
    assert_eq!(values(&output), [6.0; 4096]);
    let metrics = said.metrics.unwrap();
    assert_eq!((metrics.input_coded_bytes.0, metrics.output_coded_bytes.0), (16_384, 16_384));
    assert!(metrics.billed_ms.0 >= metrics.decode_ms.0 + metrics.run_ms.0 + metrics.encode_ms.0);

    // Another version of the object, one that is missing, and a bucket that is.
    for (uri, etag, code) in [
        (uri.as_str(), "\"0123456789abcdef0123456789abcdef\"", "store-failed"),
        ("s3://tensors/toy/none", "", "bad-input"),
        ("s3://nowhere/x", "", "store-failed"),
    ] {
        let object = ObjectReference { uri: uri.to_owned(), etag: etag.to_owned() };
        request.tensors[0].payload = Payload::Object(object);
        let (found, message) = failure(&runtime.ask(run_wishing(&request, &wish)).await);
        assert_eq!(found, code, "{message}");
    }
}

#[tokio::test]
async fn a_stored_request_is_read_run_and_written() {
    let cloud = Cloud::start().await;
    let runtime = slice(&cloud, "a", &["x"], "h").await;
    let (code, message) = failure(&runtime.ask(event(None)).await);
    assert_eq!(code, "bad-input", "{message}");
    put_tensor(&cloud, "x", &[1.0, 2.0, 3.0, 4.0]).await;
    let said = runtime.ask(event(None)).await;
    assert_eq!(said.kind(), "response", "{}", said.json());
    assert_eq!(said.json()["metrics"]["slice"], "a");
    assert_eq!(read_tensor(&cloud, "h").await, [2.0, 4.0, 6.0, 8.0]);
    assert!(cloud.invocations().is_empty());
    let prefix = format!("toy/{REQUEST}");
    assert_eq!(cloud.keys().await, [format!("{prefix}/tensors/h"), format!("{prefix}/tensors/x")]);
}

#[tokio::test]
async fn a_request_goes_on_by_itself_to_its_answer() {
    let cloud = Cloud::start().await;
    let (first, second) = (slice(&cloud, "a", &["x"], "h").await, slice(&cloud, "b", &["h"], "y").await);
    put_tensor(&cloud, "x", &[1.0; 4]).await;
    let way = itinerary(vec![stop("b", &["h"], &["y"])], "y");
    assert_eq!(first.ask(event(Some(way))).await.kind(), "response");
    let [(function, payload)] = cloud.invocations().try_into().unwrap();
    assert_eq!(function, "toy-b:live");
    let LambdaAsk::RunStored { request, itinerary } = decode_event(&payload).unwrap().ask else { panic!() };
    assert_eq!(itinerary.unwrap().stops, []);
    // The trace that Lambda began goes on with the request.
    assert!(request.traceparent.unwrap().contains("5759e988bd862e3fe1be46a994272793"));
    assert_eq!(cloud.get(&format!("toy/{REQUEST}/answer")).await, None);
    assert_eq!(second.ask(payload).await.kind(), "response");
    assert_eq!(read_tensor(&cloud, "y").await, [4.0; 4]);
    let json = |bytes: Option<Bytes>| serde_json::from_slice::<serde_json::Value>(&bytes.unwrap()).unwrap();
    let answer = json(cloud.get(&format!("toy/{REQUEST}/answer")).await);
    assert_eq!(answer, serde_json::json!({"tranche": 1}));
    for slice in ["a", "b"] {
        let metrics = json(cloud.get(&format!("toy/{REQUEST}/metrics/{slice}")).await);
        assert_eq!(metrics["slice"], slice);
    }
    assert_eq!(cloud.invocations().len(), 1);
}

#[tokio::test]
async fn an_event_delivered_twice_runs_once_and_is_handed_on_once() {
    let cloud = Cloud::start().await;
    let first = slice(&cloud, "a", &["x"], "h").await;
    put_tensor(&cloud, "x", &[1.0; 4]).await;
    let event = event(Some(itinerary(vec![stop("b", &["h"], &["y"])], "y")));
    let id = first.double.send(event.clone());
    assert_eq!(first.double.said_of(&id).await.kind(), "response");
    assert_eq!(first.ask(event.clone()).await.kind(), "response");
    assert_eq!((first.engine.runs.load(Ordering::SeqCst), cloud.invocations().len()), (1, 1));

    // Lambda delivers under the same id what may have failed: the claim is this invocation's own,
    // and its stop is invoked until its outputs are there.
    let again = async |polls: usize| {
        first.double.deliver(&id, event.clone(), LONG);
        first.double.polled(polls).await;
    };
    again(4).await;
    assert_eq!(cloud.invocations().len(), 2);
    put_tensor(&cloud, "y", &[4.0; 4]).await;
    again(5).await;
    assert_eq!((first.engine.runs.load(Ordering::SeqCst), cloud.invocations().len()), (1, 2));
}

/// x → a → h, x → b → g, h and g → c → y.
#[tokio::test]
async fn of_two_parallel_slices_one_goes_on_to_the_third() {
    let cloud = Cloud::start().await;
    let hold = || {
        let mut setup = Setup::new();
        setup.engine.run = Gate::new(false);
        setup
    };
    let a = start(&cloud, hold(), "a", &["x"], "h").await;
    let b = start(&cloud, hold(), "b", &["x"], "g").await;
    let c = slice(&cloud, "c", &["h", "g"], "y").await;
    put_tensor(&cloud, "x", &[1.0; 4]).await;
    let last = stop("c", &["h", "g"], &["y"]);
    // As the driver begins two at once: neither is among the stops that are left.
    let to_a = a.double.send(event(Some(itinerary(vec![last.clone()], "y"))));
    let to_b = b.double.send(event(Some(itinerary(vec![last], "y"))));
    for runtime in [&a, &b] {
        support::wait_for(|| runtime.engine.runs.load(Ordering::SeqCst) == 1).await;
    }
    assert!(cloud.invocations().is_empty());
    a.engine.run.open();
    assert_eq!(a.double.said_of(&to_a).await.kind(), "response");
    assert!(cloud.invocations().is_empty(), "one of its inputs is missing");
    b.engine.run.open();
    assert_eq!(b.double.said_of(&to_b).await.kind(), "response");
    let [(function, payload)] = cloud.invocations().try_into().unwrap();
    assert_eq!(function, "toy-c:live");
    assert_eq!(c.ask(payload).await.kind(), "response");
    assert_eq!(read_tensor(&cloud, "y").await, [4.0; 4]);
    assert!(cloud.get(&format!("toy/{REQUEST}/answer")).await.is_some());
}

/// Both write, both find everything there, one makes the claim.
#[tokio::test]
async fn of_two_slices_that_end_together_one_goes_on() {
    let cloud = Cloud::start().await;
    let (a, b) = (slice(&cloud, "a", &["x"], "h").await, slice(&cloud, "b", &["x"], "g").await);
    for round in 1..=5 {
        // What a first delivery has written: both go on at once.
        for name in ["x", "h", "g"] {
            put_tensor(&cloud, name, &[1.0; 4]).await;
        }
        let last = LambdaStop { slice: format!("c{round}"), ..stop("c", &["h", "g"], &["y"]) };
        let way = itinerary(vec![last], "y");
        let sent = [&a, &b].map(|runtime| (runtime, runtime.double.send(event(Some(way.clone())))));
        for (runtime, id) in sent {
            assert_eq!(runtime.double.said_of(&id).await.kind(), "response");
        }
        assert_eq!(cloud.invocations().len(), round);
    }
}

#[tokio::test]
async fn a_failure_that_is_final_is_written_as_the_answer() {
    let cloud = Cloud::start().await;
    let runtime = slice(&cloud, "a", &["x"], "h").await;
    put_tensor(&cloud, "x", &[FAIL; 4]).await;
    let way = itinerary(vec![stop("b", &["h"], &["y"])], "y");
    // Another delivery would end in the same way, so none is asked for.
    assert_eq!(runtime.ask(event(Some(way))).await.kind(), "response");
    let answer = cloud.get(&format!("toy/{REQUEST}/answer")).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    insta::assert_snapshot!(answer, @r#"{"tranche":1,"failure":{"slice":"a","code":"engine-failed","message":"doubler failed while running: asked to fail","hint":"try the other engine (`--engine`), and check the input shapes"}}"#);
    assert!(cloud.invocations().is_empty());
}

#[tokio::test]
async fn a_stop_that_is_missing_is_a_final_failure_too() {
    let cloud = Cloud::start().await;
    let runtime = slice(&cloud, "a", &["x"], "h").await;
    put_tensor(&cloud, "x", &[1.0; 4]).await;
    let mut way = itinerary(vec![stop("b", &["h"], &["y"])], "y");
    way.stops[0].function = "missing".to_owned();
    assert_eq!(runtime.ask(event(Some(way))).await.kind(), "response");
    let answer = cloud.get(&format!("toy/{REQUEST}/answer")).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["failure"]["code"], "hand-off-failed", "{answer}");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_left_to_another_delivery() {
    let cloud = Cloud::start().await;
    let mut setup = Setup::new();
    setup.engine.run = Gate::new(false);
    let runtime = start(&cloud, setup, "a", &["x"], "h").await;
    put_tensor(&cloud, "x", &[1.0; 4]).await;
    let way = itinerary(vec![stop("b", &["h"], &["y"])], "y");
    let said = runtime.ask_within(event(Some(way.clone())), Duration::from_secs(2)).await;
    assert_eq!(failure(&said).0, "deadline");
    assert_eq!(cloud.get(&format!("toy/{REQUEST}/answer")).await, None);
    runtime.engine.run.open();
    assert_eq!(runtime.ask(event(Some(way.clone()))).await.kind(), "response");
    assert_eq!(cloud.invocations().len(), 1);

    // A request that was given up is not run, and not delivered again.
    let runs = runtime.engine.runs.load(Ordering::SeqCst);
    let over = LambdaItinerary { deadline_ms: 1, ..way };
    assert_eq!(runtime.ask(event(Some(over))).await.json(), serde_json::json!({"tranche": 1}));
    assert_eq!(runtime.engine.runs.load(Ordering::SeqCst), runs);
}
