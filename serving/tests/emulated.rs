//! The Runtime API's client under AWS's own Runtime Interface Emulator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/emulator.rs"]
mod emulator;

use emulator::Emulator;
use serde_json::{Value, json};
use std::path::PathBuf;
use tranche_serving::lambda::PAYLOAD_LIMIT;

/// The example, which cargo builds with the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/lambda_echo");
    assert!(path.is_file(), "{} is not built: run all of this package's tests", path.display());
    path
}

async fn ask(emulator: &Emulator, event: Value) -> (u16, Value) {
    let (status, body) = emulator.invoke(event.to_string()).await;
    let value = serde_json::from_slice(&body);
    (status, value.unwrap_or_else(|_| panic!("{status} {body:?}: {}", emulator.log())))
}

#[tokio::test]
async fn events_are_answered_one_after_the_other() {
    let emulator = Emulator::start(&program(), 10, &[]).await;
    for event in [json!({"a": 1}), json!([2]), json!("three")] {
        assert_eq!(ask(&emulator, event.clone()).await, (200, event));
    }
}

#[tokio::test]
async fn failures_reach_the_caller_and_the_process_goes_on() {
    let emulator = Emulator::start(&program(), 10, &[]).await;
    let (_, document) = ask(&emulator, json!({"fail": "the engine stopped"})).await;
    insta::assert_snapshot!(document, @r#"{"errorType":"tranche.engine-failed","errorMessage":"the engine stopped (try again)","stackTrace":[]}"#);
    assert_eq!(ask(&emulator, json!(1)).await, (200, json!(1)));
}

#[tokio::test]
async fn the_largest_answer_passes_and_one_byte_more_is_refused_before_it_is_sent() {
    let emulator = Emulator::start(&program(), 30, &[]).await;
    let (status, body) = emulator.invoke(json!({"bytes": PAYLOAD_LIMIT}).to_string()).await;
    assert_eq!((status, body.len()), (200, PAYLOAD_LIMIT));
    let (_, document) = ask(&emulator, json!({"bytes": PAYLOAD_LIMIT + 1})).await;
    insta::assert_snapshot!(document, @r#"{"errorType":"tranche.too-large","errorMessage":"the answer has 6291557 bytes, Lambda takes 6291556 (ask for a streamed answer, or give the answer an object store to put large outputs into)","stackTrace":[]}"#);
}

#[tokio::test]
async fn streamed_answers_arrive_and_a_broken_one_ends_early() {
    let emulator = Emulator::start(&program(), 30, &[]).await;
    let (status, body) = emulator.invoke(json!({"stream": 200_000}).to_string()).await;
    assert_eq!((status, body.len()), (200, 200_000));
    let (status, body) = emulator.invoke(json!({"break": 200_000}).to_string()).await;
    // The emulator passes on what came before the failure and leaves the trailers out.
    assert_eq!((status, body.len()), (200, 200_000));
    assert_eq!(ask(&emulator, json!(1)).await, (200, json!(1)));
}

#[tokio::test]
async fn a_function_that_is_too_slow_is_ended_and_begins_again() {
    let emulator = Emulator::start(&program(), 1, &[]).await;
    let (_, body) = emulator.invoke(json!({"sleep_ms": 5_000}).to_string()).await;
    assert!(String::from_utf8_lossy(&body).contains("timed out"), "{body:?}");
    assert_eq!(ask(&emulator, json!(1)).await, (200, json!(1)));
}

#[tokio::test]
async fn a_process_that_cannot_begin_says_why() {
    let emulator = Emulator::start(&program(), 10, &[("INIT_ERROR", "weights are missing")]).await;
    let (_, document) = ask(&emulator, json!(1)).await;
    assert_eq!(document["errorType"], "tranche.load-failed", "{}", emulator.log());
    assert_eq!(document["errorMessage"], "weights are missing");
}
