//! A function on AWS Lambda, run by a double of the Runtime API.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/lambda.rs"]
mod lambda;
#[path = "../../serving/tests/support/runtime_api.rs"]
mod runtime_api;
mod support;

use lambda::{Runtime, answer, failure, ping, run, run_wishing, values};
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{FAIL, Gate, PANIC, Setup, frame};
use tranche_schema::{AnswerWish, Channel, Codec};
use tranche_serving::lambda::Initialization;
use tranche_transport::Payload;

fn loading() -> Setup {
    let mut setup = Setup::new();
    setup.engine.load = Gate::new(false);
    setup
}

fn holding() -> Setup {
    let mut setup = Setup::new();
    setup.engine.run = Gate::new(false);
    setup
}

#[tokio::test]
async fn a_frame_is_answered_with_a_frame_and_its_metrics() {
    let runtime = Runtime::start(Setup::new()).await;
    let (first, output) = answer(&runtime.ask(run(&frame(&[1.0, 2.0, 3.0, 4.0]))).await);
    assert_eq!(values(&output), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(output.header, frame(&[0.0; 4]).header);
    let metrics = first.metrics.unwrap();
    assert_eq!((metrics.slice.as_str(), metrics.attempt, metrics.cold), ("slice-0", 1, true));
    assert_eq!(metrics.request_id, "07".repeat(16));
    assert_eq!((metrics.input_bytes.0, metrics.output_bytes.0), (16, 16));
    assert!(metrics.billed_ms.0 >= metrics.decode_ms.0 + metrics.run_ms.0 + metrics.encode_ms.0);
    let (second, _) = answer(&runtime.ask(run(&frame(&[0.0; 4]))).await);
    assert!(!second.metrics.unwrap().cold);
    assert_eq!(runtime.finish().await, 0);
}

#[tokio::test]
async fn a_ping_waits_for_the_slice_and_leaves_the_first_run_cold() {
    let runtime = Runtime::start(Setup::new()).await;
    let said = runtime.ask(ping()).await;
    assert_eq!((said.kind(), said.json()), ("response", serde_json::json!({"tranche": 1})));
    let (first, _) = answer(&runtime.ask(run(&frame(&[1.0; 4]))).await);
    assert!(first.metrics.unwrap().cold);
}

#[tokio::test]
async fn events_are_taken_when_the_slice_is_loaded() {
    let runtime = Runtime::start(loading()).await;
    let sent = runtime.double.send(ping());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(runtime.double.polls(), 0, "initialization ended before the slice was loaded");
    runtime.engine.load.open();
    assert_eq!(runtime.double.said_of(&sent).await.kind(), "response");
}

/// Lambda starts an initialization again that takes more than ten seconds.
#[tokio::test]
async fn a_load_that_takes_longer_than_initialization_may_is_waited_for_by_the_first_request() {
    let runtime = Runtime::start(
        loading().options(|options| options.lambda.init_wait = Some(Duration::from_millis(50))),
    )
    .await;
    runtime.double.polled(1).await;
    let early = runtime.double.send(run(&frame(&[5.0; 4])));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(runtime.double.calls().is_empty());
    runtime.engine.load.open();
    let (said, output) = answer(&runtime.double.said_of(&early).await);
    assert_eq!(values(&output), [10.0; 4]);
    assert!(said.metrics.unwrap().wait_ms.0 > 0.0);
}

#[tokio::test]
async fn a_slice_that_cannot_be_loaded_ends_initialization() {
    let mut setup = Setup::new();
    setup.engine.refusal = Some("operator Foo is unknown");
    let runtime = Runtime::start(setup).await;
    let (code, message) = failure(&runtime.double.said_at("/runtime/init/error").await);
    assert_eq!(code, "load-failed");
    assert!(message.contains("operator Foo is unknown"), "{message}");
    assert_eq!((runtime.double.polls(), runtime.ended().await), (0, 20));
}

#[tokio::test]
async fn a_manifest_without_the_slice_ends_it_too() {
    let runtime = Runtime::start(Setup::new().options(|options| options.slice = "slice-9".to_owned())).await;
    let (_, message) = failure(&runtime.double.said_at("/runtime/init/error").await);
    assert!(message.contains("slice-9") && message.contains("its slices are slice-0"), "{message}");
    assert_eq!(runtime.ended().await, 20);
}

/// After initialization, the request is told, and the process ends for another one to try.
#[tokio::test]
async fn a_late_load_that_fails_is_said_to_the_request_that_waits() {
    let mut setup = loading();
    setup.engine.refusal = Some("operator Foo is unknown");
    let setup = setup.options(|options| options.lambda.init_wait = Some(Duration::from_millis(20)));
    let runtime = Runtime::start(setup).await;
    let early = runtime.double.send(run(&frame(&[5.0; 4])));
    runtime.double.polled(1).await;
    runtime.engine.load.open();
    let (code, message) = failure(&runtime.double.said_of(&early).await);
    assert_eq!(code, "load-failed");
    assert!(message.contains("operator Foo"), "{message}");
    assert_eq!(runtime.ended().await, 20);
}

#[tokio::test]
async fn wrong_events_are_refused_with_a_code() {
    let runtime = Runtime::start(Setup::new()).await;
    let mut other = frame(&[1.0; 4]);
    other.header.slice = "slice-1".to_owned();
    let mut object = frame(&[1.0; 4]);
    object.tensors[0].payload = Payload::Object(tranche_transport::ObjectReference {
        uri: "https://elsewhere/x".to_owned(),
        etag: String::new(),
    });
    let text = |json: &str| bytes::Bytes::copy_from_slice(json.as_bytes());
    let cases = [
        ("bad-event", "expected value", text("?")),
        ("bad-event", "missing field `ask`", text("{\"tranche\": 1}")),
        ("bad-event", "unknown field `more`", text("{\"tranche\": 1, \"ask\": {\"ping\": {}}, \"more\": 1}")),
        (
            "bad-event",
            "unknown field `frames`",
            text("{\"tranche\": 1, \"ask\": {\"run\": {\"frames\": \"\"}}}"),
        ),
        ("bad-event", "version 2", text("{\"tranche\": 2, \"ask\": {\"ping\": {}}}")),
        (
            "bad-event",
            "32 hexadecimal digits",
            text(
                "{\"tranche\": 1, \"ask\": {\"run-stored\": {\"request\": {\"request\": \"07\", \"attempt\": 1, \"store\": {\"bucket\": \"b\", \"prefix\": \"p\"}}}}}",
            ),
        ),
        ("bad-frame", "no base64", text("{\"tranche\": 1, \"ask\": {\"run\": {\"frame\": \"!\"}}}")),
        (
            "bad-frame",
            "not a tranche frame",
            text("{\"tranche\": 1, \"ask\": {\"run\": {\"frame\": \"d2hhdCBpcyB0aGlzPyBubyBmcmFtZQ==\"}}}"),
        ),
        ("wrong-slice", "slice-1", run(&other)),
        ("bad-input", "input `x` is float32 [3]", run(&frame(&[1.0; 3]))),
        ("bad-input", "https://elsewhere/x, which is no object", run(&object)),
    ];
    for (code, message, event) in cases {
        let (found, said) = failure(&runtime.ask(event).await);
        assert_eq!(found, code, "{said}");
        assert!(said.contains(message), "{said}");
    }
    assert_eq!(values(&answer(&runtime.ask(run(&frame(&[1.0; 4]))).await).1), [2.0; 4]);
}

/// A margin before Lambda ends the process; the run's end is dropped.
#[tokio::test]
async fn a_run_that_cannot_end_in_time_is_answered_before_lambda_does() {
    let setup = holding().options(|options| options.lambda.deadline_margin = Duration::from_millis(500));
    let runtime = Runtime::start(setup).await;
    let began = std::time::Instant::now();
    let said = runtime.ask_within(run(&frame(&[1.0; 4])), Duration::from_millis(700)).await;
    assert_eq!(failure(&said).0, "deadline");
    assert!(began.elapsed() < Duration::from_millis(700));
    // What needs no run is answered meanwhile.
    assert_eq!(runtime.ask(ping()).await.kind(), "response");
    runtime.engine.run.open();
    assert_eq!(values(&answer(&runtime.ask(run(&frame(&[3.0; 4]))).await).1), [6.0; 4]);
    assert_eq!(*runtime.engine.order.lock().unwrap(), [1.0, 3.0]);
    assert_eq!(runtime.finish().await, 0);
}

#[tokio::test]
async fn a_request_has_no_more_time_than_its_frame_says() {
    let runtime = Runtime::start(holding()).await;
    let mut short = frame(&[1.0; 4]);
    short.header.deadline = Some(Duration::from_millis(30));
    assert_eq!(failure(&runtime.ask(run(&short)).await).0, "deadline");
    runtime.engine.run.open();
}

/// Else every later request of this process would wait in vain.
#[tokio::test]
async fn a_run_that_hangs_over_two_requests_ends_the_process() {
    let setup = holding();
    let gate = setup.engine.run.clone();
    let runtime = Runtime::start(setup).await;
    for value in [1.0, 2.0] {
        let said = runtime.ask_within(run(&frame(&[value; 4])), Duration::from_millis(300)).await;
        assert_eq!(failure(&said).0, "deadline");
    }
    assert_eq!(runtime.ended().await, 50);
    gate.open();
}

#[tokio::test]
async fn an_engine_that_fails_is_said_and_goes_on() {
    let runtime = Runtime::start(Setup::new()).await;
    let (code, message) = failure(&runtime.ask(run(&frame(&[FAIL; 4]))).await);
    assert_eq!(code, "engine-failed");
    assert!(message.contains("asked to fail"), "{message}");
    assert_eq!(values(&answer(&runtime.ask(run(&frame(&[1.0; 4]))).await).1), [2.0; 4]);
    assert_eq!(runtime.finish().await, 0);
}

#[tokio::test]
async fn an_engine_that_panics_is_said_and_ends_the_process() {
    let runtime = Runtime::start(Setup::new()).await;
    let (code, message) = failure(&runtime.ask(run(&frame(&[PANIC; 4]))).await);
    assert_eq!(code, "engine-failed");
    assert!(message.contains("panicked"), "{message}");
    assert_eq!(runtime.ended().await, 101);
}

#[tokio::test]
async fn a_streamed_answer_is_json_zeros_and_the_frame_as_it_is() {
    let runtime = Runtime::start(Setup::new()).await;
    let wish = AnswerWish { stream: true, ..AnswerWish::default() };
    let said = runtime.ask(run_wishing(&frame(&[1.0; 4]), &wish)).await;
    assert_eq!(said.headers["lambda-runtime-function-response-mode"], "streaming");
    let (json, frame) = said.body.split_at(said.body.iter().position(|&byte| byte == 0).unwrap());
    assert!(json.starts_with(b"{\"tranche\":1,\"metrics\":{") && json.ends_with(b"}"));
    assert!(frame.starts_with(b"\0\0\0\0\0\0\0\0TRNF"));
    assert_eq!(values(&answer(&said).1), [2.0; 4]);
}

#[tokio::test]
async fn an_answer_beyond_its_limit_is_refused_where_there_is_no_store() {
    let mut setup = Setup::new();
    setup.manifest = support::manifest(&[4096], Codec::Raw, Channel::Inline);
    let runtime = Runtime::start(setup).await;
    let wish = AnswerWish { max_bytes: Some(16_384), ..AnswerWish::default() };
    let (code, message) = failure(&runtime.ask(run_wishing(&frame(&[1.0; 4096]), &wish)).await);
    assert_eq!(code, "too-large");
    assert!(message.contains("the limit is 16384"), "{message}");
    assert_eq!(runtime.engine.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn under_snap_start_a_loaded_process_waits_to_be_restored() {
    let setup = loading();
    let gate = setup.engine.load.clone();
    let runtime =
        Runtime::start_with(setup, Initialization::SnapStart, Box::new(|| panic!("no store is needed")))
            .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(runtime.double.calls().is_empty(), "a snapshot without the slice");
    gate.open();
    assert!(runtime.double.said_at("/runtime/restore/next").await.body.is_empty());
    assert_eq!(runtime.ask(ping()).await.kind(), "response");
}
