//! The binary itself with tract and real slices, under AWS's Runtime Interface Emulator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../../serving/tests/support/emulator.rs"]
mod emulator;
#[path = "support/onnx.rs"]
mod onnx;
mod support;

use bytes::Bytes;
use emulator::Emulator;
use onnx::{bundle, integers, manifest_path, node};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{frame, frame_bytes};
use tempfile::TempDir;
use tranche_schema::{AnswerWish, FunctionMetrics, LambdaAnswer};
use tranche_transport::lambda::{PAYLOAD_LIMIT, decode_answer, encode_run};
use tranche_transport::{Frame, FrameLimits};

/// `y = x + x` of four elements.
fn doubler() -> TempDir {
    bundle((&[4], &[4]), vec![node("Add", &["x", "x"], "y")], vec![])
}

/// `y` is `x`, once and again: an answer larger than its event.
fn spread(elements: u64) -> TempDir {
    let shape = integers("shape", &[i64::try_from(elements).unwrap()]);
    bundle((&[1], &[elements]), vec![node("Expand", &["x", "shape"], "y")], vec![shape])
}

/// Matrix products for many seconds.
fn slow() -> TempDir {
    const SIDE: u64 = 1024;
    let side = i64::try_from(SIDE).unwrap();
    let mut nodes = vec![node("Expand", &["x", "shape"], "m0")];
    for index in 1..500 {
        let before = format!("m{}", index - 1);
        let output = if index == 499 { "y".to_owned() } else { format!("m{index}") };
        nodes.push(node("MatMul", &[&before, "m0"], &output));
    }
    bundle((&[1], &[SIDE, SIDE]), nodes, vec![integers("shape", &[side, side])])
}

async fn function(bundle: &TempDir, timeout_s: u32) -> Emulator {
    let manifest = manifest_path(bundle);
    let told = [("TRANCHE_MANIFEST", manifest.as_str()), ("TRANCHE_SLICE", "slice-0")];
    Emulator::start(Path::new(env!("CARGO_BIN_EXE_tranche-shim")), timeout_s, &told).await
}

async fn run(emulator: &Emulator, frame: &Frame, wish: &AnswerWish) -> Bytes {
    emulator.invoke(encode_run(frame, wish).unwrap()).await.1
}

fn answer(body: Bytes) -> (LambdaAnswer, Vec<f32>) {
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    let (answer, frame) = decode_answer(body, &FrameLimits::default()).expect(&text);
    let tensors = frame.expect(&text).decode(&FrameLimits::default(), None).unwrap();
    (answer, tensors[0].1.as_slice::<f32>().unwrap().to_vec())
}

fn document(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn a_slice_is_run_and_leaves_a_line_of_metrics_a_request() {
    let bundle = doubler();
    let emulator = function(&bundle, 30).await;
    let ping = emulator.invoke(json!({"tranche": 1, "ask": {"ping": {}}}).to_string()).await;
    assert_eq!((ping.0, document(&ping.1)), (200, json!({"tranche": 1})));
    let mut said = vec![];
    for value in [1.0, 2.0] {
        let (answer, values) = answer(run(&emulator, &frame(&[value; 4]), &AnswerWish::default()).await);
        assert_eq!(values, [2.0 * value; 4]);
        said.push(answer.metrics.unwrap());
    }
    assert_eq!(said.iter().map(|metrics| metrics.cold).collect::<Vec<_>>(), [true, false]);
    let log = emulator.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<&Value> = lines.iter().filter(|line| line["_aws"].is_object()).collect();
    let read = |line: &&Value| serde_json::from_value::<FunctionMetrics>((*line).clone()).unwrap();
    let printed: Vec<FunctionMetrics> = lines.iter().map(read).collect();
    assert_eq!(printed, said, "{log}");
    assert!(lines[0]["load_ms"].as_f64().unwrap() > 0.0);
    assert_eq!((&lines[0]["cold_starts"], &lines[1]["cold_starts"]), (&json!(1), &json!(0)));
    assert_eq!(log.matches("REPORT RequestId").count(), 3, "{log}");
}

#[tokio::test]
async fn wrong_requests_are_lambdas_error_documents() {
    let bundle = doubler();
    let emulator = function(&bundle, 30).await;
    let body = run(&emulator, &frame(&[1.0; 3]), &AnswerWish::default()).await;
    insta::assert_snapshot!(document(&body), @r#"{"errorType":"tranche.bad-input","errorMessage":"input `x` is float32 [3], the slice takes float32 [4] (send the slice's inputs as the bundle's manifest lists them)","stackTrace":[]}"#);
    let body = emulator.invoke("{}").await.1;
    insta::assert_snapshot!(document(&body), @r#"{"errorType":"tranche.bad-event","errorMessage":"the event is not as expected: missing field `tranche` at line 1 column 2 (see docs/formats/lambda.md)","stackTrace":[]}"#);
}

/// The emulator ends the function at its timeout, as Lambda does, and would say so.
#[tokio::test]
async fn a_run_that_takes_too_long_is_answered_before_the_function_is_ended() {
    let bundle = slow();
    let emulator = function(&bundle, 2).await;
    let ping = json!({"tranche": 1, "ask": {"ping": {}}}).to_string();
    assert_eq!(emulator.invoke(ping.clone()).await.0, 200, "{}", emulator.log());
    let began = Instant::now();
    let body = run(&emulator, &frame(&[1.0]), &AnswerWish::default()).await;
    assert_eq!(document(&body)["errorType"], "tranche.deadline", "{}", emulator.log());
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(emulator.invoke(ping).await.0, 200);
    assert_eq!(emulator.log().matches("Init Duration").count(), 1, "it is the same process");
}

/// Answers up to the limit arrive; larger ones are refused by the function itself.
#[tokio::test]
async fn the_largest_answers_arrive_and_larger_ones_are_refused() {
    // Base64 makes 4 bytes of 3; names, shapes and metrics take less than 1 KiB.
    let most = PAYLOAD_LIMIT / 4 * 3;
    for (elements, fits) in [((most - 1024) / 4, true), (most / 4, false)] {
        let bundle = spread(elements);
        let emulator = function(&bundle, 30).await;
        let body = run(&emulator, &frame(&[7.0]), &AnswerWish::default()).await;
        if fits {
            assert!(body.len() as u64 > PAYLOAD_LIMIT - 1024 && body.len() as u64 <= PAYLOAD_LIMIT);
            assert!(answer(body).1.iter().all(|&value| value == 7.0));
        } else {
            let document = document(&body);
            assert_eq!(document["errorType"], "tranche.too-large", "{document}");
            let wish = AnswerWish { stream: true, ..AnswerWish::default() };
            let streamed = run(&emulator, &frame(&[7.0]), &wish).await;
            assert_eq!(answer(streamed).1.len() as u64, elements);
        }
    }
}

#[tokio::test]
async fn a_slice_that_cannot_be_loaded_is_said_at_initialization() {
    let bundle = doubler();
    std::fs::write(bundle.path().join("slice-0.onnx"), frame_bytes(&[1.0])).unwrap();
    let emulator = function(&bundle, 10).await;
    let document = document(&emulator.invoke("{}").await.1);
    assert_eq!(document["errorType"], "tranche.load-failed", "{}", emulator.log());
    assert!(document["errorMessage"].as_str().unwrap().contains("slice-0.onnx"), "{document}");
}

#[tokio::test]
async fn a_process_that_is_not_told_its_slice_says_so() {
    let program = Path::new(env!("CARGO_BIN_EXE_tranche-shim"));
    let emulator = Emulator::start(program, 10, &[]).await;
    let document = document(&emulator.invoke("{}").await.1);
    assert!(document["errorMessage"].as_str().unwrap().contains("--manifest"), "{document}");
}
